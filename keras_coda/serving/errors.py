# ruff: noqa: N818 - named after the status codes of gRPC
"""Errors of calls to a model server: one class for each way to react."""


class ServingError(RuntimeError):
    """A request to a model server had no valid answer; the message holds the server's own message.

    The class itself is raised if no subclass fits: the server is broken, or does not permit the request.
    """


class InvalidRequest(ServingError, ValueError):
    """The server refuses what was sent: change the request. Sending it again does not help."""


class ModelNotFound(ServingError):
    """The server knows no such model, or does not serve this version of it."""


class DeadlineExceeded(ServingError):
    """No whole answer came within the ``timeout`` of the call."""


class Unavailable(ServingError):
    """The server cannot be reached, went away, or turns requests away for now; trying again did not help."""


class InvalidAnswer(ServingError):
    """The answer does not fit the signature: outputs are missing, have a wrong shape or type, or are not finite."""


class AnswerTooLarge(InvalidAnswer):
    """The answer is larger than the outputs of the signature can be."""


class IncompleteMaps(InvalidAnswer):
    """Contributions do not sum to their logit: they were altered on the way, or are no exact explanation."""
