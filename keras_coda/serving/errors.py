# ruff: noqa: N818 - named after the status codes of gRPC
"""What can go wrong between a caller and a model server, one class for each thing to do about it."""

import importlib


class ServingError(RuntimeError):
    """A request to a model server that gave no answer to rely on; its message holds the server's own words.

    Raised itself for what none of its subclasses names: a server that is broken or does not permit the request.
    """


class InvalidRequest(ServingError, ValueError):
    """The server refuses what was sent: change the request. Sending it again does not help."""


class ModelNotFound(ServingError):
    """The server knows no such model, or does not serve this version of it."""


class DeadlineExceeded(ServingError):
    """No whole answer came within the ``timeout`` of the call."""


class Unavailable(ServingError):
    """The server cannot be reached, went away, or turns requests away for now; retries were of no avail."""


class InvalidAnswer(ServingError):
    """The answer is not what the signatures of this package give: outputs that are missing, misshapen, not finite."""


class IncompleteMaps(InvalidAnswer):
    """Contributions that do not sum to their logit: they were altered on the way, or are no exact explanation."""


def optional(module: str):
    """Import a module of the extra ``serving``, or raise the ``ImportError`` that names the extra."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"This client of a model server needs a package that is missing. Received: {error}. "
            'Install it: pip install "keras-coda[serving]".'
        ) from error
