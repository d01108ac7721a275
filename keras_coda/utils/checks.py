"""Checks of arguments and images. Errors state the rule, the received value and the likely fix."""

import math
import operator
import warnings
from collections.abc import Iterable

import numpy as np

from keras_coda.utils.class_names import as_text
from keras_coda.utils.errors import NonFiniteNetworkError, PixelRangeWarning


def require(condition: object, rule: str, fix: str = "", /, **received: object) -> None:
    """Raise ``ValueError`` with the message "rule. Received: name=value. fix." unless ``condition`` is true.

    Args:
        condition: what must be true.
        rule: a sentence without its period.
        fix: what the caller can do; a sentence without its period, or a question with its question mark.
        **received: the values that break the rule.
    """
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        end = "" if fix.endswith("?") else "."
        raise ValueError(f"{rule}. Received: {values}{f'. {fix}{end}' if fix else ''}")


def summary(error: BaseException, length: int = 160) -> str:
    """Return the beginning of an error's message, without what Keras adds to it: weights' values, for instance."""
    text = " ".join(str(error).split())
    return text if len(text) <= length else f"{text[:length].rstrip()}…"


def check_int(name: str, value, minimum: int = 1) -> int:
    """Return ``value`` as an int; raise ``ValueError`` if it is not an integer or less than ``minimum``."""
    is_integer = not isinstance(value, bool) and hasattr(value, "__index__") and operator.index(value) >= minimum
    rule = "be a positive integer" if minimum == 1 else f"be an integer, at least {minimum}"
    require(is_integer, f"`{name}` must {rule}", **{name: value})
    return operator.index(value)


def check_pair(name: str, value) -> tuple[int, int]:
    """Return a positive int, or a pair of them, as a pair of ints; raise ``ValueError`` for anything else."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"`{name}` must be one integer or a pair of integers. Received: {name}={value!r}")
        return check_int(name, value[0]), check_int(name, value[1])
    return (check_int(name, value),) * 2


def check_finite(name: str, value) -> float:
    """Return ``value`` as a float; raise ``ValueError`` if it is not a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"`{name}` must be a finite number. Received: {name}={value!r}")
    return number


def check_window(window) -> tuple[float, float] | None:
    """Return ``(low, high)`` as floats, or None for None; raise ``ValueError`` unless they are values of 16 bits."""
    if window is None:
        return None
    is_pair = isinstance(window, (tuple, list)) and len(window) == 2
    rule = "`window` must be (low, high), two values of 16-bit images, 0 <= low < high <= 65535"
    require(is_pair, rule, window=window)
    low, high = (check_finite("window", value) for value in window)
    require(0 <= low < high <= 65535, rule, window=window)
    return low, high


def check_float32(name: str, value) -> float:
    """Return ``value`` as a float; raise ``ValueError`` unless it is 0 or a number that float32 can hold in full."""
    number = check_finite(name, value)
    info = np.finfo("float32")
    is_fit = number == 0 or float(info.tiny) <= abs(number) <= float(info.max)
    rule = f"`{name}` must be within the range of float32, in magnitude from {info.tiny:.0e} to {info.max:.0e}"
    require(is_fit, rule, **{name: value})
    return number


def check_images(images, channels: int | None, size: tuple[int | None, int | None] = (None, None)) -> np.ndarray:
    """Check a batch of images and return it as float32.

    Args:
        images: array ``(batch, height, width, channels)`` of any real dtype, pixels in [0, 255].
        channels: number of channels the network takes.
        size: height and width that the network takes; None where any size is allowed.

    Returns:
        NumPy array, float32, same shape.

    Raises:
        TypeError: if the dtype is not real.
        ValueError: for a wrong rank, size or number of channels, an empty batch, and NaN or infinite pixels.

    Warns:
        PixelRangeWarning: if float pixels look scaled to [0, 1], or pixels lie outside [0, 255].
    """
    array = to_numpy(images)
    if not (array.dtype == bool or np.issubdtype(array.dtype, np.integer) or is_float(array.dtype)):
        raise TypeError(f"Images must have a real dtype (integers or floats). Received: dtype={array.dtype}")
    expected = f"(batch, {size[0] or 'height'}, {size[1] or 'width'}, {channels or 'channels'})"
    if array.ndim != 4:
        fix = ""
        if array.ndim == 3:
            fix = (
                " For one image, add the batch axis: `images[None]`."
                if array.shape[-1] == channels
                else " For grayscale images, add the channel axis: `images[..., None]`."
            )
        raise ValueError(f"Images must have shape {expected}. Received: shape={array.shape}.{fix}")
    if channels is not None and array.shape[-1] != channels:
        fix = " Images are channels last." if array.shape[1] == channels else ""
        raise ValueError(f"Images must have shape {expected}. Received: shape={array.shape}.{fix}")
    if any(want not in (None, got) for want, got in zip(size, array.shape[1:3], strict=True)):
        raise ValueError(
            f"Images must have shape {expected}. Received: shape={array.shape}. Resize them, or build the network "
            "with `input_shape=(None, None, channels)`."
        )
    if 0 in array.shape:
        raise ValueError(f"Images must not be empty. Received: shape={array.shape}")
    pixels = array.astype("float32")
    if is_float(array.dtype):
        finite = np.isfinite(pixels).all(axis=(1, 2, 3))
        if not finite.all():
            raise ValueError(
                "Pixels must be finite. Received: NaN or infinite values in images "
                f"{np.flatnonzero(~finite)[:10].tolist()}"
            )
    warn_of_pixel_range(array)
    return pixels


def require_finite_network(model, **arrays: np.ndarray) -> None:
    """Raise :class:`NonFiniteNetworkError` if what a model computed from valid images is NaN or infinite.

    Args:
        model: named in the error.
        **arrays: its outputs by name, for instance ``logits``.
    """
    wrong = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if wrong:
        raise NonFiniteNetworkError(
            f"The model's {' and '.join(arrays).replace('_', ' ')} must be finite. Received: NaN or infinite "
            f"{' and '.join(wrong).replace('_', ' ')} of {getattr(model, 'name', model)!r}. Its weights are NaN, "
            "infinite or too large for float32: load them again, or train with a lower learning rate."
        )


def check_classes(classes, top_k, batch: int, num_classes: int) -> tuple[np.ndarray | None, int | None]:
    """Check which classes of a batch of images to explain.

    Args:
        classes: int for all images, or ints ``(batch,)`` or ``(batch, K)``; None if ``top_k`` is given.
        top_k: int, the number of largest logits; None if ``classes`` is given. Both None: 1.
        batch: number of images.
        num_classes: number of classes of the model.

    Returns:
        ``(classes, None)`` with int32 classes ``(batch, K)``, or ``(None, top_k)``.

    Raises:
        TypeError: if the classes are not integers.
        ValueError: if both are given, or for a wrong shape or values out of range.
    """
    if classes is not None and top_k is not None:
        raise ValueError(f"Give `classes` or `top_k`, not both. Received: classes={classes!r}, top_k={top_k!r}")
    if classes is None:
        top_k = check_int("top_k", 1 if top_k is None else top_k)
        if top_k > num_classes:
            raise ValueError(f"`top_k` must not exceed the {num_classes} classes. Received: top_k={top_k}")
        return None, top_k
    return check_given_classes(classes, batch, num_classes), None


def check_given_classes(classes, batch: int, num_classes: int) -> np.ndarray:
    """Return the classes that are given for a batch of images as int32 ``(batch, K)``; see :func:`check_classes`."""
    array = to_numpy(classes)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"`classes` must be integers. Received: classes={classes!r} of dtype {array.dtype}")
    if array.ndim == 0:
        array = np.full(batch, array)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != batch or not array.size:
        raise ValueError(
            f"`classes` must be an int, or of shape (batch,) or (batch, K). Received: shape {np.shape(classes)} for "
            f"{batch} images. For the same K classes on every image: `np.tile([3, 5], (batch, 1))`."
        )
    if array.min() < 0 or array.max() >= num_classes:
        wrong = np.unique(array[(array < 0) | (array >= num_classes)])
        raise ValueError(f"`classes` must be in [0, {num_classes - 1}]. Received: classes={wrong.tolist()}")
    return array.astype("int32")


def check_fit_images(x) -> None:
    """Warn of a wrong pixel range, as far as that can be seen quickly.

    Args:
        x: as for ``fit``. Only the first images of arrays, and the first batch of a ``tf.data.Dataset`` whose images
            are not uint8, are checked.

    Warns:
        PixelRangeWarning: if pixels look scaled to [0, 1] or lie outside [0, 255].
    """
    spec = getattr(x, "element_spec", None)
    dtype = getattr(spec[0], "dtype", None) if isinstance(spec, tuple) and spec else None
    if dtype is not None and dtype.name != "uint8" and (dtype.is_floating or dtype.is_integer):
        x = next(iter(x.take(1).as_numpy_iterator()), (None,))[0]
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        sample = to_numpy(x[:256])
        if np.issubdtype(sample.dtype, np.integer) or (is_float(sample.dtype) and np.isfinite(sample).all()):
            warn_of_pixel_range(sample)


_ROUNDING = 1e-3  # of pixels that were resized in float32


def warn_of_pixel_range(array: np.ndarray) -> None:
    """Warn if finite pixels do not look like values in [0, 255]; uint8 always does."""
    if not array.size or array.dtype in (np.uint8, np.bool_):
        return
    low, high = float(array.min()), float(array.max())
    if is_float(array.dtype) and low >= 0.0 and 0.0 < high <= 1.0:
        warnings.warn(
            "Pixels are expected in [0, 255], and these float images never exceed 1.0: they look black to the "
            f"network. Received: pixels from {low:g} to {high:g}. Multiply them by 255 if they were scaled to [0, 1].",
            PixelRangeWarning,
            stacklevel=4,
        )
    elif low < -_ROUNDING or high > 255.0 + _ROUNDING:
        warnings.warn(
            f"Pixels are expected in [0, 255]. Received: pixels from {low:g} to {high:g}. Undo the normalization that "
            "was applied to them: the network normalizes images itself.",
            PixelRangeWarning,
            stacklevel=4,
        )


def is_float(dtype) -> bool:
    """Return whether a NumPy dtype is a real float, including bfloat16, which NumPy itself does not know."""
    return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"


def to_numpy(values) -> np.ndarray:
    """Return any tensor or array-like as a NumPy array."""
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "dtype") and not isinstance(values, np.generic):
        import keras

        return keras.ops.convert_to_numpy(values)
    return np.asarray(values)


def check_image_shape(input_shape) -> tuple[int | None, int | None, int]:
    """Return ``(height, width, channels)``, or raise ``ValueError`` if that is not what ``input_shape`` is."""
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
    if len(shape) != 3 or shape[-1] is None:
        raise ValueError(
            "`input_shape` must be (height, width, channels), with height and width None for any size. "
            f"Received: input_shape={input_shape!r}"
        )
    height, width = (size if size is None else check_int("input_shape", size) for size in shape[:2])
    return height, width, check_int("input_shape", shape[2])


def check_per_layer(name: str, value, length: int, check) -> tuple:
    """Return one checked entry per layer, given one value for all layers or one for each."""
    if not isinstance(value, (tuple, list)):
        value = (value,) * length
    if len(value) != length:
        raise ValueError(
            f"`{name}` must be one value, or one for each of the {length} entries of `filters`. "
            f"Received: {name}={value!r}"
        )
    return tuple(check(name, entry) for entry in value)


def check_layers(num_classes: int, filters, ranks, kernel_sizes, strides) -> tuple[tuple, tuple, tuple, tuple]:
    """Return filters, ranks, kernel sizes and strides as tuples with one checked entry per layer.

    Args:
        num_classes: int.
        filters: list of ints, one per layer; the last one must be ``num_classes``.
        ranks: int, or one per layer.
        kernel_sizes: int or pair of ints, or one per layer.
        strides: int or pair of ints, or one per layer.

    Raises:
        ValueError: if an argument is wrong; its name is in the message.
    """
    if not isinstance(filters, (tuple, list)) or not filters:
        raise ValueError(f"`filters` must be a list of integers, one per layer. Received: filters={filters!r}")
    filters = check_per_layer("filters", filters, len(filters), check_int)
    if filters[-1] != num_classes:
        raise ValueError(
            "The last entry of `filters` must equal `num_classes`. "
            f"Received: filters={filters}, num_classes={num_classes}"
        )
    ranks = check_per_layer("ranks", ranks, len(filters), check_int)
    kernel_sizes = check_per_layer("kernel_sizes", kernel_sizes, len(filters), check_pair)
    return filters, ranks, kernel_sizes, check_per_layer("strides", strides, len(filters), check_pair)


def check_class_names(class_names, num_classes: int) -> tuple[str, ...] | None:
    """Return the names as a tuple of strings, or None for None; raise ``ValueError`` unless there is one per class."""
    if class_names is None:
        return None
    require(isinstance(class_names, Iterable), "`class_names` must be a list of names", class_names=class_names)
    class_names = tuple(as_text(str(name)) for name in class_names)
    if len(class_names) != num_classes:
        raise ValueError(
            f"`class_names` must have one name per class. Received: {len(class_names)} names, num_classes={num_classes}"
        )
    return class_names


def num_classes_of(model) -> int:
    """Return the number of classes of a model; raise ``ValueError`` if its output is not ``(batch, classes)``."""
    shape = tuple(getattr(model, "output_shape", None) or ())
    rule = "The model must be a built functional or sequential model with logits (batch, classes) as its output"
    is_logits = len(shape) == 2 and isinstance(shape[1], int)
    require(is_logits, rule, model=getattr(model, "name", model), output_shape=shape)
    return shape[1]
