"""Preparations of photos inside exported networks: TensorFlow operations that give the pixels of `Preparation`."""

from keras_coda.data.preparation import Preparation


def prepare(pixels, preparation: Preparation):
    """Resize and cut an image, as calling the preparation does.

    Args:
        pixels: float32 tensor ``(H, W, c)``.
        preparation: how.

    Returns:
        float32 tensor ``(crop, crop, c)``.
    """
    import tensorflow as tf

    height, width, channels = tf.unstack(tf.shape(pixels, tf.int64))
    shorter = tf.minimum(height, width)
    top, bottom, down = _shares(preparation, height, shorter)
    left, right, across = _shares(preparation, width, shorter)
    used = pixels[top:bottom, left:right]
    rows = tf.matmul(down, tf.reshape(used, (bottom - top, -1)))
    means = tf.einsum("jw,iwc->ijc", across, tf.reshape(rows, (preparation.crop, right - left, channels)))
    return tf.clip_by_value(means, tf.reduce_min(used), tf.reduce_max(used))


def _shares(preparation, side, shorter):
    """Return what the method of :class:`Preparation` of this name does, of int64 tensors; see there."""
    import tensorflow as tf

    new = side * preparation.resize // shorter
    first = tf.round(tf.cast(new - preparation.crop, tf.float64) / 2)
    step = tf.cast(side, tf.float64) / tf.cast(new, tf.float64)
    radius = tf.maximum(step, 1.0)
    centers = (first + tf.range(preparation.crop, dtype=tf.float64) + 0.5) * step
    start = tf.maximum(tf.cast(tf.floor(centers[0] - radius), tf.int64), 0)
    stop = tf.minimum(tf.cast(tf.math.ceil(centers[-1] + radius), tf.int64), side)
    distances = tf.abs(tf.cast(tf.range(start, stop), tf.float64) + 0.5 - centers[:, None]) / radius
    weights = tf.maximum(1 - distances, 0.0)
    return start, stop, tf.cast(weights / tf.reduce_sum(weights, axis=1, keepdims=True), tf.float32)
