"""Images from which pixels are removed: their encodings and logits."""

import keras
from keras import ops

from keras_coda.layers.dynamic_linear import linearize_chain


class MaskedModel(keras.Model):
    """Logits of images ``(batch, H, W, c)`` whose encoding is multiplied by ``keep (batch, H, W, 1)``.

    Features of a conventional network are multiplied by the share of their pixels that is kept.
    """

    def __init__(self, decomposition):
        super().__init__(name="masked", dtype="float32")
        self.encoder, self.chain = decomposition.encoder, list(decomposition.chain)

    def call(self, inputs):
        """Return logits ``(batch, classes)`` of ``[images, keep]``."""
        images, keep = inputs
        encoded = ops.cast(self.encoder(images, training=False), "float32")
        return linearize_chain(self.chain, masked(encoded, keep))[0]


def masked(encoded, keep):
    """Return what an encoder returned, multiplied by ``keep (batch, H, W, 1)``, which is reduced to its size."""
    size = tuple(encoded.shape[1:3])
    if size != tuple(keep.shape[1:3]):
        keep = ops.image.resize(keep, size, "bilinear", antialias=True, data_format="channels_last")
    return encoded * keep
