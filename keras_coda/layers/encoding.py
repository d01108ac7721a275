"""The encoding of images before the network, and the removal of encoded pixels in training."""

import keras
from keras import ops

from keras_coda.utils.checks import check_finite, require

_serializable = keras.saving.register_keras_serializable("keras_coda")


@_serializable
class AddInverse(keras.layers.Layer):
    """Encode an image ``x`` as ``[x, 1 - x]`` along channels, so that dark pixels can carry evidence too.

    Input: ``(batch, ..., c)``, float in [0, 1]. Output: ``(batch, ..., 2c)``. This is the encoding in front of the
    network; contributions are those of the encoded image.

    Reference:
        CVPR 2021, section 3.3.
    """

    def call(self, inputs):
        """Return ``[inputs, 1 - inputs]``."""
        return ops.concatenate([inputs, 1.0 - inputs], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the input's shape with twice the channels."""
        channels = input_shape[-1]
        return (*input_shape[:-1], None if channels is None else 2 * channels)


@_serializable
class FeatureEncoding(keras.layers.Layer):
    """Encode the features of a conventional network: divide those of each location by the root of their mean square.

    Hence it does not matter in which range a network's features are, and no location counts for more only because its
    features are large. Features are not inverted as pixels are: on the digits, heads without ``1 - u`` learned faster.

    Input and output: ``(batch, height, width, channels)``, float.

    Example:
        >>> float(FeatureEncoding()(np.full((1, 2, 2, 3), 5.0))[0, 0, 0, 0])
        1.0
    """

    def call(self, inputs):
        """Return the inputs divided by the root of their mean square over channels; zeros stay zeros."""
        return inputs * ops.rsqrt(ops.mean(ops.square(inputs), axis=-1, keepdims=True) + 1e-6)

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape


@_serializable
class PixelDropout(keras.layers.Layer):
    """Remove a random share of the pixels of every encoded image, in training only.

    A pixel is removed as in the papers' pixel-removal metric: all its *encoded* channels become zero, which is not the
    encoding of any color. A network trained on whole images has never seen such inputs when that metric is measured.
    A network trained with this layer has, and its frozen weights change less when pixels are removed. Unlike in
    ``keras.layers.Dropout`` the remaining values are not scaled up: their range has a meaning.

    Args:
        largest_share: float in (0, 1). Each image loses a share of its pixels drawn uniformly from [0, largest_share],
            so that nearly whole images stay common.
        seed: int or ``keras.random.SeedGenerator``, or None.
        **kwargs: ``name``, ``dtype``.

    Input and output: ``(batch, height, width, channels)``, float.

    Example:
        >>> layer = PixelDropout(0.5, seed=0)
        >>> bool(np.all(layer(np.ones((2, 4, 4, 6))) == 1))
        True
    """

    def __init__(self, largest_share, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.largest_share = check_finite("pixel_dropout", largest_share)
        require(0 < self.largest_share < 1, "`pixel_dropout` must be in [0, 1)", pixel_dropout=largest_share)
        self.seed = seed
        self._draws = seed if isinstance(seed, keras.random.SeedGenerator) else keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Return the inputs, in training with pixels set to zero."""
        if not training:
            return inputs
        batch, height, width, _ = ops.shape(inputs)
        shares = keras.random.uniform((batch, 1, 1, 1), 0.0, self.largest_share, seed=self._draws)
        keep = keras.random.uniform((batch, height, width, 1), seed=self._draws) >= shares
        return inputs * ops.cast(keep, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        seed = self.seed
        if isinstance(seed, keras.random.SeedGenerator):
            seed = keras.saving.serialize_keras_object(seed)
        return {**super().get_config(), "largest_share": self.largest_share, "seed": seed}

    @classmethod
    def from_config(cls, config):
        """Build the layer that :meth:`get_config` described."""
        seed = config.get("seed")
        if isinstance(seed, dict):
            config = {**config, "seed": keras.saving.deserialize_keras_object(seed)}
        return cls(**config)
