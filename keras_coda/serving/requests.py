"""Requests to a model server: arguments checked on this side, before anything is sent."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_coda.serving.errors import InvalidRequest
from keras_coda.serving.metadata import ModelMetadata
from keras_coda.utils.checks import check_classes, check_images, is_float, require, to_numpy

# The names of keras_coda.exporters.signatures, which needs Keras; a client does not.
PREDICT, EXPLAIN, EXPLAIN_CLASSES, BYTES = "serving_default", "contributions", "contributions_for_classes", "_bytes"
_INT32 = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Request:
    """A signature and its inputs.

    Attributes:
        signature: name.
        inputs: arrays by name: ``images`` (B, H, W, c) float32, or ``image_bytes`` (B,) of bytes; ``classes`` (B, K)
            int32.
    """

    signature: str
    inputs: dict[str, np.ndarray]

    @property
    def images(self) -> np.ndarray | None:
        """The images, None if files are sent."""
        return self.inputs.get("images")

    @property
    def classes(self) -> np.ndarray | None:
        """The classes asked for, None for the most probable."""
        return self.inputs.get("classes")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def predict_request(images) -> Request:
    """Check images or image files and ask for predictions; see :class:`keras_coda.serving.RestClient`."""
    name, array = _checked(images)
    return Request(_twin(PREDICT, name), {name: array})


def explain_request(images, classes=None) -> Request:
    """Check images or image files and classes, and ask for maps; see :class:`keras_coda.serving.RestClient`."""
    name, array = _checked(images)
    if classes is None:
        return Request(_twin(EXPLAIN, name), {name: array})
    checked, _ = check_classes(classes, None, len(array), _INT32)  # how many there are the server knows
    return Request(_twin(EXPLAIN_CLASSES, name), {name: array, "classes": checked})


def check_offered(request: Request, metadata: ModelMetadata) -> None:
    """Raise what a server would not notice, or tell in the words of its graph: it does not check shapes itself.

    Raises:
        InvalidRequest: for a signature that the model has not, and inputs of another shape or name.
    """
    offered = metadata.signatures.get(request.signature)
    model = f"version {metadata.version} of '{metadata.name}'"
    if offered is None:
        raise InvalidRequest(
            f"The model must have the signature '{request.signature}'. Received: {model}, with "
            f"{', '.join(metadata.signatures) or 'none'}. Was it exported by `model.export`?"
        )
    if offered.inputs.keys() != request.inputs.keys():
        raise InvalidRequest(
            f"'{request.signature}' must have the inputs {sorted(request.inputs)}. Received: {model}, with "
            f"{sorted(offered.inputs)}. Was it exported by `model.export`?"
        )
    for name, array in request.inputs.items():
        expected = offered.inputs[name]
        if not expected.fits(array.shape):
            shape = ", ".join("any" if size is None else str(size) for size in expected.shape)
            raise InvalidRequest(f"`{name}` must have shape ({shape}) for {model}. Received: shape={array.shape}")


def _twin(signature, name):
    return signature + BYTES if name == "image_bytes" else signature


def _checked(images) -> tuple[str, np.ndarray]:
    """Return the input's name and the array to send."""
    if isinstance(images, (str, bytes, os.PathLike)):
        images = [images]
    is_sequence = isinstance(images, (list, tuple))
    if is_sequence and any(isinstance(image, (str, bytes, os.PathLike)) for image in images):
        files = np.empty(len(images), dtype=object)
        files[:] = [_contents(image) for image in images]
        return "image_bytes", files
    return "images", _pixels(images)


def _contents(file):
    """Return the bytes of an image file; whether they are an image, the server finds out."""
    rule = "Images must be an array, or paths and contents of image files"
    require(isinstance(file, (str, bytes, os.PathLike)), rule, "Do not mix them", type=type(file).__name__)
    if isinstance(file, bytes):
        require(file, "Image files must not be empty", images=file)
        return file
    try:
        contents = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise ValueError(f"Image files must be readable. Received: '{file}' ({error.strerror})") from error
    require(contents, "Image files must not be empty", images=os.fspath(file))
    return contents


def _pixels(images):
    try:
        array = to_numpy(images)
    except ValueError as error:  # NumPy's own words are of "inhomogeneous shapes"
        raise ValueError(f"Images must all have one shape. Received: rows of several ({error})") from error
    if array.ndim == 4 and array.size and (is_float(array.dtype) or np.issubdtype(array.dtype, np.integer)):
        is_outside = (array < 0) | (array > 255)
        require(
            not is_outside.any(),
            "Pixels must be in [0, 255]",
            "Undo the normalization that was applied to them; the network does its own",
            images=[int(index) for index in np.flatnonzero(is_outside.any(axis=(1, 2, 3)))[:10]],
            low=array.min().item(),
            high=array.max().item(),
        )
    return check_images(array, None)
