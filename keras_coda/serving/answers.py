"""Answers of a model server: nothing is returned that was not checked against the request and in itself."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from keras_coda.serving.errors import IncompleteMaps, InvalidAnswer
from keras_coda.serving.requests import Request

_COMPLETE = 1e-4  # |Σ contributions + bias - logit|, relative to max(1, |logit|)
_EQUAL = 1e-5  # what the same number may differ by, computed here and there in float32


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predictions for B images; all arrays are NumPy.

    Attributes:
        logits: ``(B, C)`` float32.
        probabilities: ``(B, C)`` float32, sigmoids of the logits.
        top_classes: ``(B, K)`` int32, the K most probable classes, the first the most probable.
        top_class_names: ``(B, K)`` str.
        top_probabilities: ``(B, K)`` float32.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    top_classes: np.ndarray
    top_class_names: np.ndarray
    top_probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.logits)


def read_prediction(request: Request, outputs: Mapping) -> Prediction:
    """Check the outputs of ``serving_default`` and return them.

    Args:
        request: what they answer.
        outputs: arrays (as from gRPC) or nested lists (as from JSON) by name.

    Raises:
        InvalidAnswer: if anything is missing, of a wrong shape or type, not finite, or contradicts the rest.
    """
    batch, (logits, probabilities) = len(request), _read_logits(request, outputs)
    top = _integers(outputs, "top_classes", (batch, None))
    _check_classes("top_classes", top, logits)
    best = _numbers(outputs, "top_probabilities", top.shape)
    names = _strings(outputs, "top_class_names", top.shape)
    _check_equal("top_probabilities", best, np.take_along_axis(probabilities, top, axis=1))
    _check_equal("top_probabilities", best, _largest(probabilities, top.shape[1]))
    return Prediction(logits, probabilities, top, names, best)


def read_explanation(request: Request, outputs: Mapping, class_names: Sequence[str] | None = None):
    """Check the outputs of ``contributions`` or ``contributions_for_classes`` and return an ``Explanation``.

    Args:
        request: what they answer.
        outputs: arrays (as from gRPC) or nested lists (as from JSON) by name.
        class_names: one name per class; None for those served, which are only those of the classes explained: the
            others are called by their index.

    Returns:
        A :class:`keras_coda.Explanation`; its residual is computed anew, in float64.

    Raises:
        IncompleteMaps: if contributions do not sum to their logit.
        InvalidAnswer: if anything is missing, of a wrong shape or type, not finite, or contradicts the rest.
    """
    from keras_coda.explanations.explanation import Explanation  # Keras, which nothing else here needs

    logits, probabilities = _read_logits(request, outputs)
    images = _numbers(outputs, "images", (len(request), None, None, None)) if request.images is None else request.images
    classes = _read_classes(request, outputs, logits)
    maps = _numbers(outputs, "contributions", (*classes.shape, *images.shape[1:3]))
    names = _strings(outputs, "class_names", classes.shape)
    bias = _read_bias(outputs, len(request))
    _numbers(outputs, "residual", classes.shape)  # the server's own; what counts is computed here
    linear_map = None
    if "linear_map" in outputs:
        linear_map = _numbers(outputs, "linear_map", (*maps.shape, 2 * images.shape[3]))
    return Explanation(
        images=images,
        logits=logits,
        probabilities=probabilities,
        classes=classes,
        contributions=maps,
        residual=_residual(maps, bias, np.take_along_axis(logits, classes, axis=1)),
        bias=bias,
        linear_map=linear_map,
        class_names=_all_names(class_names, logits.shape[1], classes, names),
    )


def _read_logits(request, outputs):
    logits = _numbers(outputs, "logits", (len(request), None))
    _require(logits.shape[1], "logits", "be of at least one class", shape=logits.shape)
    probabilities = _numbers(outputs, "probabilities", logits.shape)
    # σ(z) = (1 + tanh(z/2)) / 2, which does not overflow
    _check_equal("probabilities", probabilities, 0.5 + 0.5 * np.tanh(0.5 * logits.astype("float64")))
    return logits, probabilities


def _read_classes(request, outputs, logits):
    expected = (len(request), None) if request.classes is None else request.classes.shape
    classes = _integers(outputs, "classes", expected)
    if request.classes is not None:
        same = np.array_equal(classes, request.classes)
        _require(same, "classes", "be those asked for", classes=classes.ravel()[:10].tolist())
    _check_classes("classes", classes, logits)
    if request.classes is None:
        explained = np.take_along_axis(logits, classes, axis=1)
        _check_equal("logits of classes", explained, _largest(logits, classes.shape[1]))
    return classes


def _read_bias(outputs, batch) -> float:
    bias = _numbers(outputs, "bias", (batch,))
    _require((bias == bias[0]).all(), "bias", "be one for all images", bias=bias[:10].tolist())
    return float(bias[0])


def _residual(maps, bias, explained):
    """Return ``|Σ contributions + bias - logit|`` (B, K), float32, or raise."""
    total = maps.sum(axis=(2, 3), dtype="float64") + bias
    residual = np.abs(total - explained.astype("float64"))
    allowed = _COMPLETE * np.maximum(1.0, np.abs(explained))
    if not (residual <= allowed).all():
        image, rank = np.argwhere(~(residual <= allowed))[0].tolist()
        raise IncompleteMaps(
            "Contributions must sum to their logit, less the bias. Received: "
            f"image={image}, rank={rank}, sum_and_bias={total[image, rank]:.6g}, logit={explained[image, rank]:.6g}. "
            "The answer is not the network's own, or was altered on its way."
        )
    return residual.astype("float32")


def _all_names(given, count, classes, names) -> tuple[str, ...]:
    if given is not None:
        _require(len(given) == count, "logits", "be of as many classes as `class_names`", classes=count, names=given)
        return tuple(given)
    found = list(map(str, range(count)))
    for index, name in zip(classes.ravel(), names.ravel(), strict=True):
        found[index] = str(name)
    return tuple(found)


# === Arrays: present, of the right type and shape, finite ===


def _numbers(outputs, name, shape) -> np.ndarray:
    array = _array(outputs, name)
    _require(array.dtype.kind in "fiu", name, "be numbers", dtype=array.dtype)
    array = array.astype("float32")
    _check_shape(name, array, shape)
    _require(np.isfinite(array).all(), name, "be finite", finite=f"{np.isfinite(array).sum()} of {array.size}")
    return array


def _integers(outputs, name, shape) -> np.ndarray:
    array = _array(outputs, name)
    _require(array.dtype.kind in "iu", name, "be integers", dtype=array.dtype)
    _check_shape(name, array, shape)
    return array.astype("int32")


def _strings(outputs, name, shape) -> np.ndarray:
    array = _array(outputs, name)
    _check_shape(name, array, shape)
    try:
        texts = [text.decode() if isinstance(text, bytes) else text for text in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidAnswer(f"`{name}` must be UTF-8. Received: {error.object!r}") from error
    _require(all(isinstance(text, str) for text in texts), name, "be text", dtype=array.dtype)
    return np.array(texts, dtype=str).reshape(array.shape)


def _array(outputs, name) -> np.ndarray:
    if name not in outputs:
        raise InvalidAnswer(f"The answer must have the output `{name}`. Received: {', '.join(sorted(outputs))}")
    try:
        return np.asarray(outputs[name])
    except ValueError as error:
        raise InvalidAnswer(f"`{name}` must be an array. Received: rows of several shapes ({error})") from error


def _check_shape(name, array, shape):
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    expected = ", ".join("any" if size is None else str(size) for size in shape)
    _require(fits and 0 not in array.shape, name, f"have shape ({expected})", shape=array.shape)


def _check_classes(name, classes, logits):
    count = logits.shape[1]
    is_within = ((classes >= 0) & (classes < count)).all()
    _require(is_within, name, f"be in [0, {count})", least=classes.min().item(), largest=classes.max().item())


def _check_equal(name, array, expected):
    difference = np.abs(array.astype("float64") - expected)
    fits = (difference <= _EQUAL * np.maximum(1.0, np.abs(expected))).all()
    _require(fits, name, "agree with the other outputs", difference=float(difference.max()))


def _largest(array, count):
    """Return the ``count`` largest of each row, largest first."""
    return np.sort(array, axis=1)[:, ::-1][:, :count]


def _require(condition, name, rule, **received):
    if not condition:
        values = ", ".join(f"{key}={value!r}" for key, value in received.items())
        raise InvalidAnswer(f"In the answer, `{name}` must {rule}. Received: {values}")
