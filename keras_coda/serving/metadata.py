"""What a server tells about a model: the versions it has loaded, their signatures and their state."""

import contextlib
import dataclasses
from collections.abc import Mapping

from keras_coda.exporters.protos import SignatureMetadata as SignatureMetadata
from keras_coda.exporters.protos import TensorMetadata as TensorMetadata
from keras_coda.exporters.protos import signatures_from_json
from keras_coda.serving.errors import InvalidAnswer


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model.

    Attributes:
        version: int.
        state: ``"START"``, ``"LOADING"``, ``"AVAILABLE"``, ``"UNLOADING"`` or ``"END"``.
        error: why it could not be loaded; empty if nothing went wrong.
    """

    version: int
    state: str
    error: str = ""


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """Name and version of the model that answers, and its signatures by name."""

    name: str
    version: int
    signatures: Mapping[str, SignatureMetadata]


def read_status(answer: Mapping) -> tuple[VersionStatus, ...]:
    """Read a ``GetModelStatusResponse`` in its JSON form, newest version first.

    Raises:
        InvalidAnswer: if it has another form.
    """
    with _reading("status"):
        found = [_version_status(entry) for entry in answer["model_version_status"]]
    return tuple(sorted(found, key=lambda status: -status.version))


def read_metadata(answer: Mapping) -> ModelMetadata:
    """Read a ``GetModelMetadataResponse`` in its JSON form.

    Raises:
        InvalidAnswer: if it has another form.
    """
    with _reading("metadata"):
        spec, signatures = answer["model_spec"], answer["metadata"]["signature_def"]["signature_def"]
        return ModelMetadata(str(spec["name"]), int(spec["version"]), signatures_from_json(signatures))


@contextlib.contextmanager
def _reading(what):
    try:
        yield
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise InvalidAnswer(f"The server must give the {what} of a model. Received: {error!r} in its answer") from error


def _version_status(entry):
    """Read one entry; the JSON form of a proto leaves out what is zero or empty."""
    status = entry.get("status", {})
    is_fine = status.get("error_code", "OK") in ("OK", 0)
    error = "" if is_fine else str(status.get("error_message") or f"error {status['error_code']}")
    return VersionStatus(int(entry.get("version", 0)), str(entry.get("state", "UNKNOWN")), error)
