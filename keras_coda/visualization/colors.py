"""The colors of maps: where the scale of contributions ends, and linear maps as pixels with opacity."""

import numpy as np

COLORS = "RdBu_r"  # blue: against the class; near white: nothing; red: for the class
BRIGHTER, DARKER = (0.80, 0.40, 0.0), (0.33, 0.15, 0.53)  # linear maps of gray images: orange, purple


def to_rgba(linear_map: np.ndarray, *, percentile: float = 90, smooth: int = 0) -> np.ndarray:
    """Renders linear maps in color: color shows what the weights respond to, opacity how strong they are.

    The map holds, for every pixel, the weights `w` of the model on the encoded pixel `[x, 1-x]`, of `c` channels each.

    **RGB images**, with `w⁺ = max(w, 0)`:

        color_i  = 1/2 + (w⁺_i - w⁺_{i+3}) / (2 max_j (w⁺_j + w⁺_{j+3}))
        strength = ‖w⁺‖

    This color inverts the encoding: weights that are aligned with the image, `w ∝ [x, 1-x]`, get exactly the colors
    `x` of the image. A channel with small weights stays close to 1/2, so it does not tint the color. Gray pixels have
    weights that prefer no color: the pixel counts the same whatever its color is. Faint pixels have no strong positive
    weights. (On white, weak weights for black look gray, too, and weights for white look faint.) Evidence against the
    class is not drawn; for that, see the contributions.

    **Gray images**: if the weights were fixed, a change of the pixel by `d` would change the logit by
    `(w_1 - w_2) d`. The strength is `|w_1 - w_2|`. Pixels are orange where brighter ones would raise the logit,
    purple where darker ones would, and faint where the brightness matters little.

    Opacity is `min(1, strength / q)`, with `q` the percentile of the strengths within the map.

    Args:
        linear_map: Array of shape `(..., H, W, 2c)`, `c` being 1 or 3, of real dtype.
        percentile: Float in [0, 100]. Strengths from this percentile on are opaque. A high percentile makes most of a
            map faint, because a few weights are much larger than the others. If the percentile is zero, as in a sparse
            map, the maximum is used instead.
        smooth: Int, 0 or odd. Side, in pixels, of the square window over which the strengths are averaged; 0 for no
            averaging. With 3, a grid left by strided layers is hardly visible.

    Returns:
        Array of shape `(..., H, W, 4)`, float32 in [0, 1]: red, green, blue and alpha (not
        premultiplied). A map of zeros is transparent; the scale of a map does not matter.

    Raises:
        ValueError: If the shape, a value, `percentile` or `smooth` is not as described.

    Example:
        >>> image = np.full((8, 8, 3), 0.25)
        >>> to_rgba(np.concatenate([image, 1 - image], axis=-1))[0, 0].tolist()
        [0.25, 0.25, 0.25, 1.0]
    """
    linear_map = real_array("linear_map", linear_map)
    if linear_map.ndim < 3 or linear_map.shape[-1] not in (2, 6) or not linear_map.size:
        raise ValueError(
            "`linear_map` must have shape (..., H, W, 2c) with c = 1 or 3 image channels. "
            f"Received: linear_map.shape={linear_map.shape}. Pass the linear map on the encoded "
            "image, not the contributions and not the linear map on an inner layer."
        )
    if smooth < 0 or (smooth and smooth % 2 != 1):
        raise ValueError(f"`smooth` must be 0 or a positive odd integer. Received: {smooth=}")
    # With a maximum of 1 the squares below cannot overflow or underflow.
    scale = np.abs(linear_map).max(axis=(-3, -2, -1), keepdims=True)
    weights = (linear_map / np.where(scale > 0, scale, 1)).astype(np.float32)

    color, strength = _color_and_strength(weights)  # (..., H, W, 3), (..., H, W)
    if smooth:
        rows, columns = (_averaging(size, smooth) for size in strength.shape[-2:])
        strength = rows @ strength @ columns.T
    alpha = np.minimum(strength / color_limit(strength, percentile)[..., None, None], 1)
    return np.concatenate([color, alpha[..., None]], axis=-1, dtype=np.float32)


def color_limit(values: np.ndarray, percentile: float) -> np.ndarray:
    """Returns the upper limit of a color scale for non-negative `values (..., H, W)`: `(...)`, never 0."""
    if not 0 <= percentile <= 100:
        raise ValueError(f"`percentile` must lie in [0, 100]. Received: {percentile=}")
    limit, greatest = np.percentile(values, [percentile, 100], axis=(-2, -1))
    return np.where(limit > 0, limit, np.where(greatest > 0, greatest, 1))


def _color_and_strength(weights):
    """Returns the colors `(..., H, W, 3)` of weights `(..., H, W, 2c)`, and the strengths that give the opacity."""
    if weights.shape[-1] == 2:
        slope = weights[..., 0] - weights[..., 1]
        return np.where(slope[..., None] < 0, DARKER, BRIGHTER), np.abs(slope)
    positive = np.maximum(weights, 0)
    bright, dark = np.split(positive, 2, axis=-1)
    # One divisor for all channels. With one for each, tiny weights of a channel would saturate the color.
    largest = (bright + dark).max(axis=-1, keepdims=True)
    color = 0.5 + 0.5 * (bright - dark) / np.where(largest > 0, largest, 1)
    return color, np.linalg.norm(positive, axis=-1)


def _averaging(size, side):
    """Returns the `(size, size)` matrix that averages over a window; at the border, over the part inside the map."""
    position = np.arange(size)
    near = np.abs(position[:, None] - position) <= side // 2
    return near / near.sum(axis=1, keepdims=True)


def real_array(name, value, shape=None, meaning=None, kinds="biuf"):
    """Returns the value as a finite array of `shape`, in which `None` means any size except 0."""
    array = np.asarray(value)
    array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    if array.dtype.kind not in kinds:
        numbers = "integers" if kinds == "iu" else "real numbers"
        raise ValueError(f"`{name}` must hold {numbers}. Received: {name}.dtype={array.dtype}")
    if shape is not None:
        sizes = tuple(want or size for want, size in zip(shape, array.shape, strict=False))
        if array.ndim != len(shape) or array.shape != sizes or not array.size:
            raise ValueError(
                f"`{name}` must have shape {meaning}, here {str(shape).replace('None', 'any')}. "
                f"Received: {name}.shape={array.shape}. A single image needs a batch axis."
            )
    if not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with {np.sum(~np.isfinite(array))} NaN or "
            f"infinite values of {array.size}. Look for such values in the input and in the weights."
        )
    return array
