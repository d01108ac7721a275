"""What a model server says of a model: which versions it holds, and what they take and give."""

import contextlib
import dataclasses
from collections.abc import Mapping

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
class TensorMetadata:
    """An input or output: ``dtype`` (``"float32"``, ``"int32"``, ``"string"``) and ``shape``, None where any will do.

    An unknown rank is None for the whole shape.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of that shape may be sent."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want in (None, got) for want, got in zip(self.shape, shape, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class SignatureMetadata:
    """Inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorMetadata]
    outputs: Mapping[str, TensorMetadata]


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """What the version that answers takes and gives: ``name``, ``version`` and ``signatures`` by name."""

    name: str
    version: int
    signatures: Mapping[str, SignatureMetadata]


_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}


def read_status(answer: Mapping) -> tuple[VersionStatus, ...]:
    """Read a ``GetModelStatusResponse`` in its JSON form, newest version first.

    Raises:
        InvalidAnswer: if it is none.
    """
    with _reading("status"):
        found = [_version_status(entry) for entry in answer["model_version_status"]]
    return tuple(sorted(found, key=lambda status: -status.version))


def read_metadata(answer: Mapping) -> ModelMetadata:
    """Read a ``GetModelMetadataResponse`` in its JSON form.

    Raises:
        InvalidAnswer: if it is none.
    """
    with _reading("metadata"):
        spec, signatures = answer["model_spec"], answer["metadata"]["signature_def"]["signature_def"]
        found = {
            name: SignatureMetadata(_tensors(signature.get("inputs", {})), _tensors(signature.get("outputs", {})))
            for name, signature in sorted(signatures.items())
            if not name.startswith("__")  # __saved_model_init_op initializes variables
        }
        return ModelMetadata(str(spec["name"]), int(spec["version"]), found)


@contextlib.contextmanager
def _reading(what):
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidAnswer(f"The server must give the {what} of a model. Received: {error!r} in its answer") from error


# Protocol buffers leave out what is zero or empty.


def _version_status(entry):
    status = entry.get("status", {})
    is_fine = status.get("error_code", "OK") in ("OK", 0)
    error = "" if is_fine else status.get("error_message") or f"error {status['error_code']}"
    return VersionStatus(int(entry.get("version", 0)), str(entry.get("state", "UNKNOWN")), error)


def _tensors(infos):
    found = {}
    for name, info in infos.items():
        dtype = info["dtype"]
        dtype = _DTYPES.get(dtype, dtype.removeprefix("DT_").lower())
        found[name] = TensorMetadata(dtype, _shape(info.get("tensor_shape", {})))
    return found


def _shape(shape):
    if shape.get("unknown_rank"):
        return None
    sizes = [int(dimension.get("size", 0)) for dimension in shape.get("dim", ())]
    return tuple(None if size == -1 else size for size in sizes)
