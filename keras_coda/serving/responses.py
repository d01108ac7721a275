"""Answers of a model server, checked against the schema, the request, and for consistency."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from keras_coda.explanations.completeness import TOLERANCE, completeness
from keras_coda.explanations.explanation import Explanation
from keras_coda.exporters import schema
from keras_coda.serving.errors import IncompleteMaps, InvalidAnswer
from keras_coda.serving.requests import Request

_NAME = 1000  # bytes, the most in the name of a class
_INT32 = np.iinfo("int32")
_EQUAL = 1e-5  # allowed difference of a number that the client computes again, relative to max(1, |number|)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predictions for B images; all arrays are NumPy.

    Attributes:
        logits: ``(B, C)`` float32.
        probabilities: ``(B, C)`` float32, sigmoids of the logits.
        top_classes: ``(B, K)`` int32, the K most probable classes, the first the most probable.
        top_class_names: ``(B, K)`` str.
        top_probabilities: ``(B, K)`` float32.
        decisions: ``(B, C)`` int32, 1 for every label that an image has; None for networks with one label per image.
        calibrated_probabilities: ``(B, C)`` float32; None for networks without a calibration.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    top_classes: np.ndarray
    top_class_names: np.ndarray
    top_probabilities: np.ndarray
    decisions: np.ndarray | None = None
    calibrated_probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.logits)


def read_outputs(request: Request, outputs: Mapping) -> dict[str, np.ndarray]:
    """Check the outputs of a signature against its entry in the schema, and return them.

    Args:
        request: the request that they answer.
        outputs: arrays (as from gRPC) or nested lists (as from JSON) by name.

    Raises:
        InvalidAnswer: if an output is missing, has a wrong shape or type, or is not finite.
    """
    expected = schema.signatures()[request.signature]
    sizes: dict[str, int | None] = {}
    for name, array in request.inputs.items():
        schema.match(expected.inputs[name].axes, array.shape, sizes)
    found = {}
    for name, tensor in sorted(expected.outputs.items(), key=lambda item: item[0] != "images"):  # their size is known
        if name in outputs or not tensor.is_optional:
            channels = sizes.get("c")
            if channels is not None:
                sizes["D"] = 2 * channels  # [x, 1-x]
            axes = schema.axes_of(name, tensor, outputs)
            found[name] = _READERS[tensor.dtype](outputs, name, axes, sizes)
    return found


def read_prediction(request: Request, outputs: Mapping) -> Prediction:
    """Check the outputs of ``serving_default`` and return them.

    Args:
        request: the request that they answer.
        outputs: as for :func:`read_outputs`.

    Raises:
        InvalidAnswer: as :func:`read_outputs`, and if the outputs contradict each other.
    """
    found = read_outputs(request, outputs)
    _check_logits(found)
    top, best, probabilities = found["top_classes"], found["top_probabilities"], found["probabilities"]
    _check_classes("top_classes", top, found["logits"], are_distinct=True)
    _names_by_class(top, found["top_class_names"])
    _check_equal("top_probabilities", best, np.take_along_axis(probabilities, top, axis=1))
    _check_equal("top_probabilities", best, _largest(probabilities, top.shape[1]))
    return Prediction(**found)


def read_explanation(request: Request, outputs: Mapping, class_names: Sequence[str] | None = None) -> Explanation:
    """Check the outputs of ``contributions`` or ``contributions_for_classes`` and return an explanation.

    Args:
        request: the request that they answer.
        outputs: as for :func:`read_outputs`.
        class_names: one name per class; None to use the names in the answer, which has only those of the classes
            explained: the others are called by their index.

    Returns:
        The explanation; its residual is computed anew, in float64.

    Raises:
        IncompleteMaps: if contributions do not sum to their logit.
        InvalidAnswer: as :func:`read_outputs`, and if the outputs contradict each other or the request.
    """
    found = read_outputs(request, outputs)
    _check_logits(found)
    classes, logits = found["classes"], found["logits"]
    if request.classes is not None:
        same = np.array_equal(classes, request.classes)
        _require(same, "classes", "be those asked for", classes=classes.ravel()[:10].tolist())
    _check_classes("classes", classes, logits, are_distinct=request.classes is None)
    names = _names_by_class(classes, found["class_names"])
    explained = np.take_along_axis(logits, classes, axis=1)
    if request.classes is None:
        _check_equal("logits of classes", explained, _largest(logits, classes.shape[1]))
    bias = found["bias"]
    _require((bias == bias[0]).all(), "bias", "be one for all images", bias=bias[:10].tolist())
    layers = found.get("wrt", [None])
    _require(len(set(layers)) == 1, "wrt", "be one layer for all images", wrt=list(layers[:10]))
    offsets = found.get("offsets")
    constants = float(bias[0]) + np.zeros(classes.shape) + (0 if offsets is None else offsets)
    return Explanation(
        images=found["images"] if request.images is None else request.images,
        logits=logits,
        probabilities=found["probabilities"],
        classes=classes,
        contributions=found["contributions"],
        residual=_residual(found["contributions"], constants, explained),  # the server's own is not relied on
        bias=float(bias[0]),
        linear_map=found.get("linear_map"),
        offsets=offsets,
        wrt=None if layers[0] is None else str(layers[0]),
        class_names=_all_names(class_names, logits.shape[1], names),
    )


def _check_logits(found):
    # σ(z) = (1 + tanh(z/2)) / 2, which does not overflow
    expected = 0.5 + 0.5 * np.tanh(0.5 * found["logits"].astype("float64"))
    _check_equal("probabilities", found["probabilities"], expected)


def _residual(maps, constants, explained):
    """Return ``|Σ contributions + constants - logit|`` (B, K), float32, or raise."""
    residual, scale = completeness(maps, constants, explained)
    is_complete = residual <= TOLERANCE * scale
    if not is_complete.all():
        image, rank = np.argwhere(~is_complete)[0].tolist()
        total = maps[image, rank].sum(dtype="float64") + constants[image, rank]
        raise IncompleteMaps(
            "Contributions must sum to their logit, less the bias. Received: "
            f"image={image}, rank={rank}, sum_and_bias={total:.6g}, logit={explained[image, rank]:.6g}. "
            "The answer is not the network's own, or was altered on its way."
        )
    return residual.astype("float32")


def _all_names(given, count, names) -> tuple[str, ...]:
    if given is not None:
        _require(len(given) == count, "logits", "be of as many classes as `class_names`", classes=count, names=given)
        return tuple(given)
    return tuple(names.get(index, str(index)) for index in range(count))


def _names_by_class(classes, names) -> dict[int, str]:
    """Return the name of every class in an answer, which must be the same for all images."""
    found: dict[int, str] = {}
    for index, name in zip(classes.ravel().tolist(), names.ravel().tolist(), strict=True):
        is_same = found.setdefault(index, name) == name
        _require(is_same, "class_names", f"give class {index} one name", names=[found[index], name])
    return found


# === Arrays: present, of the right type and shape, finite ===


def _numbers(outputs, name, axes, sizes) -> np.ndarray:
    array = _array(outputs, name)
    _require(array.dtype.kind in "fiu", name, "be numbers", dtype=array.dtype)
    with np.errstate(over="ignore"):  # is found out below
        array = array.astype("float32")
    _check_shape(name, array, axes, sizes)
    _require(np.isfinite(array).all(), name, "be finite", finite=f"{np.isfinite(array).sum()} of {array.size}")
    return array


def _integers(outputs, name, axes, sizes) -> np.ndarray:
    array = _array(outputs, name)
    _require(array.dtype.kind in "iu", name, "be integers", dtype=array.dtype)
    _check_shape(name, array, axes, sizes)
    is_within = ((array >= _INT32.min) & (array <= _INT32.max)).all()
    _require(is_within, name, "be of 32 bits", least=array.min().item(), largest=array.max().item())
    return array.astype("int32")


def _strings(outputs, name, axes, sizes) -> np.ndarray:
    array = _array(outputs, name)
    _check_shape(name, array, axes, sizes)
    try:
        texts = [text.decode() if isinstance(text, bytes) else text for text in array.ravel().tolist()]
        _require(all(isinstance(text, str) for text in texts), name, "be text", dtype=array.dtype)
        longest = max(len(text.encode()) for text in texts)
    except UnicodeError as error:
        raise InvalidAnswer(f"`{name}` must be UTF-8. Received: {error}") from error
    # An array of strings takes as much memory for every one as for the longest.
    _require(longest <= _NAME, name, f"have at most {_NAME} bytes each", longest=longest)
    return np.array(texts, dtype=str).reshape(array.shape)


_READERS = {"float32": _numbers, "int32": _integers, "string": _strings}


def _array(outputs, name) -> np.ndarray:
    if name not in outputs:
        raise InvalidAnswer(f"The answer must have the output `{name}`. Received: {', '.join(sorted(outputs))}")
    try:
        return np.asarray(outputs[name])
    except ValueError as error:
        raise InvalidAnswer(f"`{name}` must be an array. Received: rows of several shapes ({error})") from error


def _check_shape(name, array, axes, sizes):
    expected = ", ".join(str(sizes.get(letter, "any")) for letter in axes)
    fits = schema.match(axes, array.shape, sizes) and 0 not in array.shape
    _require(fits, name, f"have shape ({expected})", shape=array.shape)


# === Consistency ===


def _check_classes(name, classes, logits, are_distinct):
    count = logits.shape[1]
    is_within = ((classes >= 0) & (classes < count)).all()
    _require(is_within, name, f"be in [0, {count})", least=classes.min().item(), largest=classes.max().item())
    if are_distinct:
        is_repeated = (np.diff(np.sort(classes, axis=1), axis=1) == 0).any()
        _require(not is_repeated, name, "be different ones for an image", classes=classes[0, :10].tolist())


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
