"""Requests to a model server: arguments are checked by the client, before anything is sent."""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_coda.exporters import schema
from keras_coda.serving.errors import InvalidRequest
from keras_coda.serving.metadata import ModelMetadata
from keras_coda.utils.checks import check_given_classes, check_images, is_float, require, to_numpy

_INT32 = 2**31 - 1
_SMALL, _LARGE = 2**23, 2**31 - 1  # bytes: an answer may always be this large, and never larger (gRPC's own limit)
_PER_NUMBER = 32  # bytes, more than JSON takes for a number or a short name


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
        """The images; None if image files are sent."""
        return self.inputs.get("images")

    @property
    def classes(self) -> np.ndarray | None:
        """The classes asked for; None for the most probable."""
        return self.inputs.get("classes")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def predict_request(images) -> Request:
    """Check images or image files and ask for predictions; see :meth:`keras_coda.serving.Client.predict`."""
    return signature_request(schema.PREDICT, images, {})


def explain_request(images, classes=None) -> Request:
    """Check images or image files and classes, and ask for maps; see :meth:`keras_coda.serving.Client.explain`."""
    if classes is None:
        return signature_request(schema.EXPLAIN, images, {})
    return signature_request(schema.EXPLAIN_CLASSES, images, {"classes": classes})


def signature_request(signature: str, images, others: Mapping) -> Request:
    """Check images or image files and the other inputs of a signature; see :meth:`keras_coda.serving.Client.call`."""
    require(
        signature in schema.SIGNATURES, f"`signature` must be one of {list(schema.SIGNATURES)}", signature=signature
    )
    expected = schema.SIGNATURES[signature].inputs
    rule = f"The inputs of '{signature}' must be {list(expected)}"
    require({"images", *others} == set(expected), rule, inputs=["images", *others])
    name, array = _checked(images)
    inputs = {name: array}
    for key, values in others.items():
        if key == "classes":  # the server knows how many there are
            inputs[key] = check_given_classes(values, len(array), _INT32)
        else:
            inputs[key] = np.asarray(values, object if expected[key].dtype == "string" else expected[key].dtype)
    return Request(signature if name == "images" else signature + schema.BYTES, inputs)


def check_offered(request: Request, metadata: ModelMetadata) -> None:
    """Compare a request with the signatures of the model: a server itself does not check shapes.

    Raises:
        InvalidRequest: for a signature that the model does not have, and inputs of another shape or name.
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
            shape = ", ".join("any" if size is None else str(size) for size in expected.shape or ())
            raise InvalidRequest(f"`{name}` must have shape ({shape}) for {model}. Received: shape={array.shape}")


def largest_answer(request: Request, metadata: ModelMetadata) -> int:
    """Return how many bytes the answer to a request may have, as JSON or in memory.

    Args:
        request: one that :func:`check_offered` has accepted.
        metadata: of the model.
    """
    expected, offered = schema.signatures()[request.signature], metadata.signatures[request.signature]
    sizes: dict[str, int | None] = {}
    for name, array in request.inputs.items():
        schema.match(expected.inputs[name].axes, array.shape, sizes)
    tensors = {name: tensor for name, tensor in expected.outputs.items() if name in offered.outputs}
    outputs = {name: schema.axes_of(name, tensor, tensors) for name, tensor in tensors.items()}
    for name, axes in outputs.items():
        for letter, size in zip(axes, offered.outputs[name].shape or (), strict=False):
            if size is not None:
                sizes.setdefault(letter, size)
    numbers = sum(math.prod(sizes.get(letter) or _LARGE for letter in axes) for axes in outputs.values())
    return min(max(_SMALL, _PER_NUMBER * numbers), _LARGE)


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
    """Return the bytes of an image file; the server finds out whether they are an image."""
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
    except ValueError as error:  # NumPy's message is about "inhomogeneous shapes"
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
