"""Post-hoc methods as explainers: maps of the logit of one class per image, for images of any size.

All are functions ``(model, images (B, H, W, c) in [0, 255], classes (B,)) -> maps (B, H, W)``, float32, as
:mod:`keras_coda.evaluation` takes them. They limit the memory they use. On TensorFlow they are compiled once for a
model, on JAX for every size and number of images; on Torch they do not run. Maps are signed: positive values are
evidence for the class. Values of the channels are added up, as in contribution maps.

All but RISE are tf-explain's, which computes the path of integrated gradients and the weighted sum of Grad-CAM; on JAX,
where tf-explain does not run, a line each does the same. They differ from tf-explain in four points: every image has
its own class, several classes share predictions, maps are floats instead of ``uint8`` pictures of absolute values, and
what is explained is the logit, whatever the model returns. Each class names its other differences.

To add a method, write a subclass of ``Method`` and add an instance to ``_METHODS`` at the end of this file.
"""

import dataclasses
import difflib
import functools

import keras
import numpy as np
from keras import ops

from keras_coda.explanations.explainers import Explainer
from keras_coda.posthoc import gradients
from keras_coda.posthoc.method import Method
from keras_coda.posthoc.perturbations import RISE, OcclusionSensitivity
from keras_coda.utils.checks import check_finite, check_int, require

# === Gradients ===


@dataclasses.dataclass(frozen=True)
class _GradientMethod(Method):
    encoded: bool = dataclasses.field(default=True, kw_only=True)
    absolute: bool = dataclasses.field(default=False, kw_only=True)

    def _attributions(self, images, encode, gradient):
        """Return attributions ``(B, K, H, W, channels)`` of the encoded image or of the pixels, a tensor."""
        raise NotImplementedError

    def _maps(self, model, images, classes):
        maps = []
        for part in gradients.chunks(len(images), images.shape[1:3], gradients.GRADIENT_PIXELS):

            def gradient(points, own=classes[part]):  # (b, H, W, channels) -> (b, K, H, W, channels)
                return gradients.logit_gradients(model, points, own, self.encoded)

            encode = functools.partial(gradients.encode_images, model) if self.encoded else ops.convert_to_tensor
            attributions = self._attributions(images[part], encode, gradient)
            maps.append(np.asarray(ops.sum(ops.abs(attributions) if self.absolute else attributions, axis=-1)))
        return np.concatenate(maps)[: len(images)]


@dataclasses.dataclass(frozen=True)
class VanillaGradients(_GradientMethod):
    """The gradient of the logit, summed over channels.

    Args:
        encoded: True: the gradient with respect to the encoded image, as for contribution maps; the model must be
            explainable. False: with respect to the pixels, as in tf-explain; for any model.
        absolute: whether to add up absolute values, as tf-explain does for its pictures. Such maps do not show what
            is evidence against a class.

    Example:
        >>> model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype="uint8")
        >>> keras_coda.posthoc.VanillaGradients()(model, images, np.array([3, 5])).shape
        (2, 8, 8)

    Reference:
        Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks (arXiv 1312.6034).
    """

    def _attributions(self, images, encode, gradient):
        return gradient(encode(images))


@dataclasses.dataclass(frozen=True)
class GradientsInputs(_GradientMethod):
    """The gradient of the logit times the input, summed over channels.

    Args:
        encoded: see :class:`VanillaGradients`; the gradient is multiplied by the encoded image, or by the pixels.
        absolute: see :class:`VanillaGradients`.

    Reference:
        Shrikumar et al.: Not Just a Black Box (arXiv 1605.01713).
    """

    def _attributions(self, images, encode, gradient):
        inputs = encode(images)
        return inputs[:, None] * gradient(inputs)


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(_GradientMethod):
    """The mean gradient on the straight path from a baseline to the image, times the image.

    The sum of a map approximates the difference of the logit between image and baseline. tf-explain averages over
    points that include both ends of the path, with equal weights, and does not multiply by the image. Here the mean is
    over the midpoints of equal steps, so that the error falls with the square of their number.

    Args:
        steps: int, at least 2.
        encoded: see :class:`VanillaGradients`. The baseline is an encoding of zeros, as of removed pixels (True), or
            a black image (False).
        absolute: see :class:`VanillaGradients`.

    Reference:
        Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (arXiv 1703.01365), equations 1 and 3.
    """

    steps: int = 50

    def __post_init__(self):
        check_int("steps", self.steps, minimum=2)

    def _attributions(self, images, encode, gradient):
        inputs = encode(images)
        half, core = inputs / (2 * self.steps), gradients.tf_explain()
        if core:
            midpoints = core.IntegratedGradients.generate_linear_path(half, inputs - half, self.steps)
        else:
            midpoints = (inputs * (step + 0.5) / self.steps for step in range(self.steps))
        return inputs[:, None] * sum(gradient(points) for points in midpoints) / self.steps


@dataclasses.dataclass(frozen=True)
class SmoothGrad(_GradientMethod):
    """The mean gradient of noisy copies of the image.

    tf-explain differentiates the cross-entropy and draws new noise at each call. Here the logit is differentiated, and
    the noise is the same for every image and call, so that a map does not depend on the batch.

    Args:
        samples: int, number of noisy copies.
        noise: float > 0, standard deviation of the noise, for pixels in [0, 255]. Default: a tenth of their range.
        seed: int, of the noise.
        encoded: see :class:`VanillaGradients`. The noise is added to the pixels in both cases.
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

    def _attributions(self, images, encode, gradient):
        rng = np.random.default_rng(self.seed)
        noise = (rng.normal(0, self.noise, images.shape[1:]).astype("float32") for _ in range(self.samples))
        return sum(gradient(encode(images + sample)) for sample in noise) / self.samples


# === Grad-CAM ===


@dataclasses.dataclass(frozen=True)
class GradCAM(Method):
    """The activations of a layer, weighted by the mean gradient of the logit and enlarged bilinearly to the image.

    As in Grad-CAM's paper, and unlike tf-explain's default, gradients are used unchanged where they or the activations
    are negative. The map keeps its negative values; its positive part is the map after the paper's ReLU.

    Args:
        layer_name: a layer with an output ``(B, h, w, channels)``. None: the last one, as in Grad-CAM's paper and in
            tf-explain. In a :class:`~keras_coda.CoDANet` that layer gives the class maps, and Grad-CAM scores best
            there: it equals the exact contributions of that layer's activations, at their coarse resolution.

    Reference:
        Selvaraju et al.: Grad-CAM (arXiv 1610.02391), equations 1 and 2.
    """

    layer_name: str | None = None

    def _maps(self, model, images, classes):
        maps, layer = [], self._layer(model)
        for part in gradients.chunks(len(images), images.shape[1:3], gradients.GRADIENT_PIXELS):
            maps.append(gradients.class_activation_maps(model, images[part], classes[part], layer))
        return np.concatenate(maps)[: len(images)]

    def _layer(self, model):
        layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        spatial = [layer.name for layer in layers if len(getattr(layer.output, "shape", ())) == 4]
        rule = "`layer_name` must name a layer with an output (batch, height, width, channels)"
        known = bool(spatial) if self.layer_name is None else self.layer_name in spatial
        require(known, rule, layer_name=self.layer_name, layers=spatial)
        return self.layer_name or spatial[-1]


# === Registry ===

# One line for each method of the default comparison.
_METHODS = {
    method.__name__: method
    for method in (
        GradCAM(),
        IntegratedGradients(),
        OcclusionSensitivity(5),
        OcclusionSensitivity(9),
        RISE(),
        SmoothGrad(),
        VanillaGradients(),
        GradientsInputs(),
    )
}


def methods() -> tuple[str, ...]:
    """Return the names of the methods that :func:`keras_coda.evaluation.compare` compares by default."""
    return tuple(_METHODS)


def get(name: str) -> Explainer:
    """Return a method by name.

    Raises:
        ValueError: for an unknown name; the message has the most similar one. On Torch.

    Example:
        >>> keras_coda.posthoc.get("GradCAM")
        GradCAM(layer_name=None)
    """
    near = difflib.get_close_matches(str(name), _METHODS, cutoff=0.4)
    fix = f"Did you mean {near[0]!r}?" if near else f"Methods: {list(_METHODS)}"
    require(name in _METHODS, "A post-hoc method must be one of this package's names", fix, name=name)
    gradients.require_backend()
    return _METHODS[name]
