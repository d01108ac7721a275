"""The network behind a server: it checks requests, computes them, and names the results as exports do."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_coda.data.images import fitting
from keras_coda.explanations.compiled import compiled_explainer, default_batch_size
from keras_coda.explanations.explain import (
    calibration_of,
    class_names_of,
    explain,
    preparation_of,
    thresholds_of,
    window_of,
)
from keras_coda.explanations.explanation import sigmoid
from keras_coda.explanations.inputs import pixel_reader
from keras_coda.exporters import schema
from keras_coda.serving.requests import signature_request
from keras_coda.utils.checks import check_given_classes, check_images, check_int, require, require_finite_network
from keras_coda.utils.class_names import replace_names
from keras_coda.utils.hashing import digest_of_model

SIGNATURES = (schema.PREDICT, schema.EXPLAIN, schema.EXPLAIN_CLASSES)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


class Key(NamedTuple):
    """What requests must have in common to be computed together."""

    has_maps: bool
    shape: tuple[int, ...]
    targets: int
    has_classes: bool


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that has been checked.

    Attributes:
        signature: one of ``SIGNATURES``.
        arrays: ``images`` (B, H, W, c) float32, and ``classes`` (B, K) int32 if they were given.
        top_k: number of the most probable classes to name or, without ``classes``, to explain.
        of_files: whether the images were decoded from files.
    """

    signature: str
    arrays: dict[str, np.ndarray]
    top_k: int
    of_files: bool

    @property
    def key(self) -> Key:
        """What to compute."""
        images, classes = self.arrays["images"], self.arrays.get("classes")
        has_maps = self.signature != schema.PREDICT
        targets = (self.top_k if classes is None else classes.shape[1]) if has_maps else 0
        return Key(has_maps, images.shape[1:], targets, classes is not None)


class Network:
    """A model with the name under which it is served, and the limits of requests.

    Args:
        model: any explainable Keras model, see :func:`keras_coda.explain`.
        name: of the model in the addresses of the server.
        version: number of the model in the addresses of the server.
        top_k: how many of the most probable classes an answer has, unless the request says otherwise.
        max_images: of a request.
        max_side: longest side of images for a network that takes any size; image files are reduced to it. None: any.

    Raises:
        ValueError: for a model that cannot be explained, and numbers and names that do not fit.
    """

    def __init__(
        self,
        model: keras.Model,
        name: str,
        *,
        version: int = 1,
        top_k: int = 1,
        max_images: int = 64,
        max_side: int | None = 512,
    ):
        self.model, self.name, self.version = model, name, check_int("version", version)
        require(_NAME.fullmatch(name), "`name` must be letters, digits, `_`, `.` and `-`", "Choose another", name=name)
        self._explainer = compiled_explainer(model)
        self.decomposition = self._explainer.decomposition
        self.num_classes = self.decomposition.num_classes
        rule = f"`top_k` must not exceed the {self.num_classes} classes"
        require(check_int("top_k", top_k) <= self.num_classes, rule, top_k=top_k)
        self.top_k, self.max_images = top_k, check_int("max_images", max_images)
        self.class_names = class_names_of(model) or tuple(map(str, range(self.num_classes)))
        self.window, self.preparation = window_of(model), preparation_of(model)
        self.calibration = calibration_of(model)
        *self.size, self.channels = self.decomposition.input_shape
        has_size = self.preparation is not None or None not in self.size
        self.max_side = None if has_size or max_side is None else check_int("max_side", max_side)
        self.takes_files = self.channels in (1, 3)
        self.digest = digest_of_model(model)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """From which probability on an image has each of several labels; None for one label per image."""
        return thresholds_of(self.model, self.num_classes)

    def warm_up(self) -> None:
        """Compute one image by each signature, so that the first callers need not wait.

        Raises:
            NonFiniteNetworkError: a ``ValueError``, if the network cannot be served because its logits are not finite.
        """
        side = self.max_side or 64
        image = np.full((1, *(size or min(side, 64) for size in self.size), self.channels), 127, "uint8")
        for signature in SIGNATURES:
            classes = [[0] * self.top_k] if signature == schema.EXPLAIN_CLASSES else None
            request = self.request(signature, image, classes)
            self.run(request.key, request.arrays)
        fitting(self.size, self.preparation)(image[0])

    # === Requests ===

    def request(self, signature: str, images: np.ndarray | Sequence[bytes], classes=None, top_k=None) -> Request:
        """Check a request, and decode its image files.

        Args:
            signature: one of ``SIGNATURES``.
            images: (B, H, W, c) numbers in [0, 255], or the contents of image files.
            classes: an index or a name for all images, ``(B,)`` for one per image, or ``(B, K)``; for the signature
                that has them.
            top_k: int, for signatures without classes.

        Raises:
            TypeError, ValueError: for whatever is wrong, in one line.
        """
        require(len(images), "A request must have images", images=0)
        fix = "Send several requests"
        require(len(images) <= self.max_images, f"A request may have {self.max_images} images", fix, images=len(images))
        of_files = not isinstance(images, np.ndarray)
        if of_files:
            rule, fix = "A network whose images have other than 1 or 3 channels takes arrays", "Send `images`"
            require(self.takes_files, rule, fix, channels=self.channels)
        else:
            _require_pixels(images)
        named = {} if classes is None else {"classes": replace_names(classes, self.class_names, self.num_classes)}
        inputs = signature_request(signature, list(images) if of_files else images, named).inputs
        arrays = {}
        if named:  # the number of classes is known here
            require(top_k is None, "Give `classes` or `top_k`, not both", classes=classes, top_k=top_k)
            arrays["classes"] = check_given_classes(inputs["classes"], len(images), self.num_classes)
        top_k = self.top_k if top_k is None else check_int("top_k", top_k)
        rule = f"`top_k` must not exceed the {self.num_classes} classes"
        require(top_k <= self.num_classes, rule, top_k=top_k)
        if named:
            rule = f"An image may have maps of as many classes as there are, {self.num_classes}"
            require(arrays["classes"].shape[1] <= self.num_classes, rule, shape=arrays["classes"].shape)
        pixels = self._decoded(inputs["image_bytes"]) if of_files else inputs["images"]
        arrays["images"] = check_images(pixels, self.channels, tuple(self.size))
        rule, side = f"Images may have up to {self.max_side} pixels on their longer side", max(pixels.shape[1:3])
        require(self.max_side is None or side <= self.max_side, rule, "Reduce them", shape=pixels.shape)
        return Request(signature, arrays, top_k, of_files)

    def _decoded(self, files) -> np.ndarray:
        read, _ = pixel_reader(self.decomposition.input_shape, self.max_side, self.window, self.preparation)
        images = [read(file, name=f"image {index}") for index, file in enumerate(files)]
        shapes = list(dict.fromkeys(image.shape for image in images))
        require(len(shapes) == 1, "Images of a request must have one size", "Send several requests", shapes=shapes[:5])
        return np.stack(images)

    # === Results ===

    def run(self, key: Key, arrays) -> dict[str, np.ndarray]:
        """Compute the logits of images and, if ``key`` says so, maps; all with the batch axis first.

        Raises:
            NotEnoughMemoryError: a ``ValueError``, if less memory is free than this needs.
            NonFiniteNetworkError: a ``ValueError``, if logits or maps are NaN or infinite.
        """
        count = len(arrays["images"])
        if keras.backend.backend() == "jax":  # which compiles for each number of images
            missing = (1 << (count - 1).bit_length()) - count
            arrays = {
                name: np.concatenate([array, array[:1].repeat(missing, axis=0)]) for name, array in arrays.items()
            }
        return {name: array[:count] for name, array in self._run(key, arrays).items()}

    def _run(self, key, arrays):
        images = arrays["images"]
        if not key.has_maps:
            return {"logits": self._logits(images)}
        top_k = None if key.has_classes else key.targets
        options: dict[str, Any] = {"top_k": top_k, "verbose": False, "jit_compile": False}
        explanation = explain(self.model, images, arrays.get("classes"), **options)
        names = ("logits", "classes", "contributions", "residual", "offsets")
        fields = {name: getattr(explanation, name) for name in names}
        return {name: array for name, array in fields.items() if array is not None}

    def _logits(self, images):
        step = default_batch_size(*images.shape[1:3])
        fixed = [(None, *self.decomposition.input_shape)]
        parts = [
            self._explainer.run(self._named_logits, [images[start : start + step]], fixed, False)["logits"]
            for start in range(0, len(images), step)
        ]
        logits = np.concatenate(parts)
        require_finite_network(self.model, logits=logits)
        return logits

    def _named_logits(self, images):
        return {"logits": self.decomposition.logits(images)}

    def outputs(self, request: Request, fields) -> dict[str, np.ndarray]:
        """Return the outputs of the signature by name, as :mod:`keras_coda.exporters.schema` says; strings as str.

        Args:
            request: what was asked.
            fields: what :meth:`run` returned for it.
        """
        signature = schema.SIGNATURES[request.signature]
        signature = schema.of_files(signature) if request.of_files else signature
        logits = fields["logits"]
        probabilities, names = sigmoid(logits), np.array(self.class_names)
        known = {**fields, "probabilities": probabilities, "images": request.arrays["images"]}
        if self.calibration is not None:
            known["calibrated_probabilities"] = self.calibration(logits)
        if request.signature == schema.PREDICT:
            known["top_classes"] = np.argsort(-logits, axis=1, kind="stable")[:, : request.top_k].astype("int32")
            known["top_probabilities"] = np.take_along_axis(probabilities, known["top_classes"], axis=1)
            known["top_class_names"] = names[known["top_classes"]]
            if self.thresholds is not None:
                known["decisions"] = (probabilities >= np.asarray(self.thresholds, "float32")).astype("int32")
        else:
            known["class_names"] = names[fields["classes"]]
            known["bias"] = np.full(len(logits), self.decomposition.bias, "float32")
            if self.decomposition.features is not None:
                known["wrt"] = np.full(len(logits), self.decomposition.features)
        return {name: known[name] for name in signature.outputs if name in known}


def _require_pixels(array):
    """Refuse what is no number, and what :func:`keras_coda.explain` warns of: on a server nobody would see it."""
    require(array.dtype.kind in "iuf", "Pixels must be numbers", "Image files are {'b64': ...}", dtype=str(array.dtype))
    looks_scaled = array.dtype.kind == "f" and array.size and array.min() >= 0 and 0 < array.max() <= 1
    fix = "Multiply them by 255 if they were scaled to [0, 1]; if the images are that dark, send integers"
    require(not looks_scaled, "Pixels must be in [0, 255]", fix, largest=float(array.max(initial=0)))
