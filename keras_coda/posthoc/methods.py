"""tf-explain's methods as explainers: raw float maps of the logit of one class per image, for images of any size.

All keep the signature ``(model, images (B, H, W, c) in [0, 255], classes (B,)) -> maps (B, H, W)`` float32 of
:mod:`keras_coda.evaluation`, work in batches and in bounded memory, and compile one graph for a model and image size.
Maps are signed: what speaks for the class is positive. Colors are summed up, as in contribution maps.

The gradient, the path of integrated gradients and the weighted sum of Grad-CAM are computed by tf-explain. It has one
class for all images, draws ``uint8`` pictures of absolute values, and differentiates what the model happens to return;
each class below says where it departs from it further.
"""

import dataclasses
import difflib
import functools
import weakref

import keras
import numpy as np

from keras_coda.explanations.explainers import Explainer
from keras_coda.posthoc import gradients as compiled
from keras_coda.utils.checks import check_classes, check_finite, check_images, check_int, num_classes_of, require
from keras_coda.utils.hashing import digest, digest_of_model

# Pixels looked at together: memory of the coda_s_cifar10 network stays below about 2 GB.
_GRADIENT_PIXELS, _LOGIT_PIXELS = 2**16, 2**18


class _Method:
    """What all methods share: a name, and checks of what they are called with."""

    @property
    def __name__(self) -> str:
        fields = [(field, getattr(self, field.name)) for field in dataclasses.fields(self) if field.init]
        changed = [f"{field.name}={value!r}" for field, value in fields if value != field.default]
        return f"{type(self).__name__}({', '.join(changed)})" if changed else type(self).__name__

    def __call__(self, model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Explain the logit of one class for every image.

        Args:
            model: gives logits ``(B, classes)``; functional or sequential.
            images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255].
            classes: ``(B,)`` int.

        Returns:
            Maps ``(B, H, W)``, float32.

        Raises:
            ImportError: without tf-explain and OpenCV.
            TypeError, ValueError: for images or classes that do not fit the model.
        """
        compiled.tf_explain()
        num_classes, shape = num_classes_of(model), model.input_shape
        images = check_images(images, shape[-1], shape[1:3])
        require(np.ndim(classes) == 1, "`classes` must be (batch,), one class for each image", classes=classes)
        classes = check_classes(classes, None, len(images), num_classes)[0][:, 0]
        return self._maps(model, images, classes).astype("float32")

    def _maps(self, model, images, classes):
        raise NotImplementedError


# === Gradients ===


@dataclasses.dataclass(frozen=True)
class _GradientMethod(_Method):
    encoded: bool = dataclasses.field(default=True, kw_only=True)
    absolute: bool = dataclasses.field(default=False, kw_only=True)

    def _attributions(self, images, encode, gradients):
        """Return attributions ``(B, H, W, channels)``, of the encoded image or of the pixels."""
        raise NotImplementedError

    def _maps(self, model, images, classes):
        maps = []
        for part in compiled.chunks(images, _GRADIENT_PIXELS):

            def gradients(points, own=classes[part]):
                return compiled.gradients(model, points, own, self.encoded)

            encode = functools.partial(compiled.encoding, model) if self.encoded else np.asarray
            attributions = self._attributions(images[part], encode, gradients)
            maps.append((np.abs(attributions) if self.absolute else attributions).sum(axis=-1))
        return np.concatenate(maps)


@dataclasses.dataclass(frozen=True)
class VanillaGradients(_GradientMethod):
    """The gradient of the logit, summed over channels.

    Args:
        encoded: True: the gradient with respect to the encoded image, which is what contribution maps refer to, too;
            the model must be explainable. False: to the pixels, as tf-explain; any model.
        absolute: whether to sum absolute values instead, as tf-explain does for its pictures. Such maps cannot say
            what speaks against a class.

    Example:
        >>> model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype="uint8")
        >>> keras_coda.posthoc.VanillaGradients()(model, images, np.array([3, 5])).shape
        (2, 8, 8)

    Reference:
        Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks (arXiv 1312.6034).
    """

    def _attributions(self, images, encode, gradients):
        return gradients(encode(images))


@dataclasses.dataclass(frozen=True)
class GradientsInputs(_GradientMethod):
    """The gradient of the logit times the input, summed over channels.

    Args:
        encoded: see :class:`VanillaGradients`; also what the gradient is multiplied by.
        absolute: see :class:`VanillaGradients`.

    Reference:
        Shrikumar et al.: Not Just a Black Box (arXiv 1605.01713).
    """

    def _attributions(self, images, encode, gradients):
        inputs = encode(images)
        return inputs * gradients(inputs)


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(_GradientMethod):
    """The mean gradient on the way from nothing to the image, times the image: sums to the logit's difference.

    tf-explain takes the mean with both ends of the path as heavy as its inner points and does not multiply by the
    image. Here the mean is that of the midpoints of equal steps, whose error falls with the square of their number.

    Args:
        steps: int, at least 2.
        encoded: see :class:`VanillaGradients`. The path begins at an encoding of zeros, what a removed pixel is (True),
            or at a black image (False).
        absolute: see :class:`VanillaGradients`.

    Reference:
        Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (arXiv 1703.01365), equations 1 and 3.
    """

    steps: int = 50

    def __post_init__(self):
        check_int("steps", self.steps, minimum=2)

    def _attributions(self, images, encode, gradients):
        inputs = encode(images)
        half = inputs / (2 * self.steps)
        midpoints = compiled.tf_explain().IntegratedGradients.generate_linear_path(half, inputs - half, self.steps)
        return inputs * sum(gradients(points) for points in midpoints) / self.steps


@dataclasses.dataclass(frozen=True)
class SmoothGrad(_GradientMethod):
    """The mean gradient of noisy copies of the image.

    tf-explain differentiates the cross-entropy and draws other noise each time. Here it is the logit, and the noise is
    the same for every image and call, so that a map does not depend on the batch.

    Args:
        samples: int, number of noisy copies.
        noise: float > 0, standard deviation of the noise in units of pixels in [0, 255]; a tenth of their range.
        seed: int, of the noise.
        encoded: see :class:`VanillaGradients`. The noise is added to the pixels either way.
        absolute: see :class:`VanillaGradients`.

    Reference:
        Smilkov et al.: SmoothGrad (arXiv 1706.03825).
    """

    samples: int = 25
    noise: float = 25.5
    seed: int = 0

    def __post_init__(self):
        check_int("samples", self.samples)
        check_int("seed", self.seed, minimum=0)
        require(check_finite("noise", self.noise) > 0, "`noise` must be positive", noise=self.noise)

    def _attributions(self, images, encode, gradients):
        rng = np.random.default_rng(self.seed)
        noise = (rng.normal(0, self.noise, images.shape[1:]).astype("float32") for _ in range(self.samples))
        return sum(gradients(encode(images + sample)) for sample in noise) / self.samples


# === Grad-CAM ===


@dataclasses.dataclass(frozen=True)
class GradCAM(_Method):
    """Activations of a layer weighted by the mean gradient of the logit, enlarged bilinearly to the image.

    As Grad-CAM's paper and other than tf-explain's default, gradients are not cut where they or the activations are
    negative. Negative values of the map are kept; whoever looks at the positive part has the paper's ReLU.

    Args:
        layer_name: a layer with an output ``(B, h, w, channels)``. None: the last one, as in Grad-CAM's paper and in
            tf-explain. Of a :class:`~keras_coda.CoDANet` these are its class maps, on which Grad-CAM scores best: it
            becomes the exact contributions of that layer's activations, at their coarse resolution.

    Reference:
        Selvaraju et al.: Grad-CAM (arXiv 1610.02391), equations 1 and 2.
    """

    layer_name: str | None = None

    def _maps(self, model, images, classes):
        import cv2

        (height, width), maps = images.shape[1:3], []
        layer = self._layer(model)
        for part in compiled.chunks(images, _GRADIENT_PIXELS):
            cams = compiled.cams(model, images[part], classes[part], layer)
            maps += [cv2.resize(cam, (width, height)) for cam in cams]
        return np.stack(maps)

    def _layer(self, model):
        layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        spatial = [layer.name for layer in layers if len(getattr(layer.output, "shape", ())) == 4]
        rule = "`layer_name` must name a layer with an output (batch, height, width, channels)"
        known = bool(spatial) if self.layer_name is None else self.layer_name in spatial
        require(known, rule, layer_name=self.layer_name, layers=spatial)
        return self.layer_name or spatial[-1]


# === Occlusion ===


@dataclasses.dataclass(frozen=True)
class OcclusionSensitivity(_Method):
    """How far the logit falls if a window of the image is covered: for each pixel the mean over windows that cover it.

    tf-explain predicts one image at a time, takes what the model returns for a probability, puts windows side by side
    and enlarges their values bilinearly, and confuses height and width. The logits of all classes come from the same
    predictions: they are kept until another image, or a model with other weights, is explained.

    Args:
        patch_size: int, side of the window in pixels; 5 and 9 in the paper's comparison for images of 32x32.
        strides: int, pixels from one window to the next; None for half a window. ``patch_size``: side by side.
        fill: None: the encoding of what is covered becomes zero, as in the pixel removal metric; the model must be
            explainable. A float: the pixel value to fill windows with, in [0, 255]; tf-explain's is 127.5; any model.

    Reference:
        Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (arXiv 1311.2901), section 4.2.
    """

    patch_size: int
    strides: int | None = None
    fill: float | None = None
    _last: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        check_int("patch_size", self.patch_size)
        if self.strides is not None:
            is_dense = check_int("strides", self.strides) <= self.patch_size
            rule = "`strides` must not exceed `patch_size`: some pixels would never be covered"
            require(is_dense, rule, strides=self.strides, patch_size=self.patch_size)
        if self.fill is not None:
            in_range = 0 <= check_finite("fill", self.fill) <= 255
            require(in_range, "`fill` must be None or a pixel value in [0, 255]", fill=self.fill)

    def _maps(self, model, images, classes):
        windows = self._windows(*images.shape[1:3])
        key = (weakref.ref(model), digest_of_model(model), digest(images))
        drops = self._last.get(key)
        if drops is None:
            drops = self._drops(model, images, windows)
            self._last.clear()
            self._last[key] = drops
        drops = np.take_along_axis(drops, classes[:, None, None], axis=2)  # (B, windows, 1)
        total, count = np.zeros(images.shape[:3]), np.zeros(images.shape[1:3])
        for window, (rows, columns) in enumerate(windows):
            total[:, rows, columns] += drops[:, window, :, None]
            count[rows, columns] += 1
        return total / count

    def _windows(self, height, width):
        step = self.strides or (self.patch_size + 1) // 2
        starts = [range(0, size, step) for size in (height, width)]
        return [(slice(y, y + self.patch_size), slice(x, x + self.patch_size)) for y in starts[0] for x in starts[1]]

    def _drops(self, model, images, windows):
        """Return how far every logit falls for each window, ``(B, windows, classes)`` float64."""
        encoded = self.fill is None
        inputs = compiled.encoding(model, images) if encoded else images
        cover = [*windows, (slice(0, 0), slice(0, 0))]  # the last one covers nothing
        pairs, found = np.arange(len(images) * len(cover)), []
        for part in compiled.chunks(inputs, _LOGIT_PIXELS, len(pairs)):
            points = inputs[pairs[part] // len(cover)]
            for point, window in zip(points, pairs[part] % len(cover), strict=True):
                point[cover[window]] = 0.0 if encoded else self.fill
            found.append(compiled.logits(model, points, encoded).astype("float64"))
        found = np.concatenate(found).reshape(len(images), len(cover), -1)
        return found[:, -1:] - found[:, :-1]


# === Names ===

_METHODS = {
    method.__name__: method
    for method in (
        GradCAM(),
        IntegratedGradients(),
        OcclusionSensitivity(5),
        OcclusionSensitivity(9),
        SmoothGrad(),
        VanillaGradients(),
        GradientsInputs(),
    )
}


def methods() -> tuple[str, ...]:
    """Names of the methods that :func:`~keras_coda.evaluation.compare` compares by default."""
    return tuple(_METHODS)


def get(name: str) -> Explainer:
    """Return a method by name.

    Raises:
        ValueError: for an unknown name; near matches are named.

    Example:
        >>> keras_coda.posthoc.get("GradCAM")
        GradCAM(layer_name=None)
    """
    near = difflib.get_close_matches(str(name), _METHODS, cutoff=0.4)
    fix = f"Did you mean {near[0]!r}?" if near else f"Methods: {list(_METHODS)}"
    require(name in _METHODS, "A post-hoc method must be one of this package's names", fix, name=name)
    return _METHODS[name]
