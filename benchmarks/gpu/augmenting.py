"""Random changes of images on the device, as part of the compiled training step; every image has its own draws."""

import jax
import jax.numpy as jnp

_ROTATION, _SHEAR, _SCALE = 0.35, 0.2, 0.15  # largest: radians, and shares
_COLOR = 0.4  # largest change of brightness, contrast and saturation, as a share
_ERASED = 0.5  # side of the gray square at most, as a share of the image's


def flip_crop(images: jax.Array, key: jax.Array, pad: int, flip: bool) -> jax.Array:
    """Return random crops of the zero-padded images, and flip half of them; dtype as given."""
    key_flip, key_crop = jax.random.split(key)
    if flip:
        is_flipped = jax.random.bernoulli(key_flip, 0.5, (len(images),))
        images = jnp.where(is_flipped[:, None, None, None], images[:, :, ::-1], images)
    if not pad:
        return images
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corners = jax.random.randint(key_crop, (len(images), 2), 0, 2 * pad + 1)

    def crop(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)


def distort(images: jax.Array, key: jax.Array, strength: jax.Array | float = 1.0) -> jax.Array:
    """Return images that are turned, sheared, scaled, changed in color, and in part covered by a gray square.

    As in RandAugment (Cubuk et al., arXiv 1909.13719), but all changes at once and of any strength from none on; the
    square is that of Cutout (DeVries and Taylor, arXiv 1708.04552).

    Args:
        images: ``(batch, H, W, c)``, pixels in [0, 255].
        key: of random numbers.
        strength: factor on all changes, in [0, 1]; 0 leaves images as they are.

    Returns:
        float32 images of the same shape, pixels in [0, 255].
    """
    keys = jax.random.split(key, 3)
    turns = strength * jax.random.uniform(keys[0], (len(images), 4), minval=-1.0)
    images = jax.vmap(_warp)(images.astype("float32"), turns)
    colors = strength * _COLOR * jax.random.uniform(keys[1], (3, len(images), 1, 1, 1), minval=-1.0)
    size, *center = jax.random.uniform(keys[2], (3, len(images), 1, 1, 1))
    return _erase(_recolor(images, 1 + colors), strength * size, *center)


def _warp(image, draws):
    """An affine map about the center, linearly interpolated; pixels from outside repeat the edge."""
    height, width, channels = image.shape
    angle, shear, tall, wide = draws * jnp.array([_ROTATION, _SHEAR, _SCALE, _SCALE])
    matrix = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    matrix = matrix @ jnp.array([[1.0, shear], [0.0, 1.0]]) @ jnp.diag(jnp.array([1 + tall, 1 + wide]))
    center = jnp.array([height - 1, width - 1]) / 2
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), -1)
    rows, columns = jnp.moveaxis((grid - center) @ matrix.T + center, -1, 0)
    planes = [
        jax.scipy.ndimage.map_coordinates(image[..., channel], [rows, columns], order=1, mode="nearest")
        for channel in range(channels)
    ]
    return jnp.stack(planes, -1)


def _recolor(images, factors):
    """Blend with black, with the image's mean, and with its gray version."""
    brightness, contrast, saturation = factors
    images = images * brightness
    means = images.mean((1, 2, 3), keepdims=True)
    images = means + contrast * (images - means)
    gray = images.mean(-1, keepdims=True)
    return jnp.clip(gray + saturation * (images - gray), 0, 255)


def _erase(images, size, *center):
    """Cover a square of some size in [0, 1] whose center is anywhere in the image."""
    height, width = images.shape[1:3]
    half = size * _ERASED * min(height, width) / 2
    rows, columns = jnp.arange(height)[None, :, None, None], jnp.arange(width)[None, None, :, None]
    is_inside = (abs(rows - center[0] * (height - 1)) < half) & (abs(columns - center[1] * (width - 1)) < half)
    return jnp.where(is_inside, 127.5, images)
