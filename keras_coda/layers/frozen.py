"""A conventional network as one layer that is never trained."""

import keras

from keras_coda.utils.checks import require


@keras.saving.register_keras_serializable("keras_coda")
class FrozenModel(keras.layers.Layer):
    """A model as a layer whose weights training does not change, and that runs as in predictions also in training.

    A model that is called inside another one would take over ``training=True`` from it, so that its dropout would be at
    work.

    Args:
        model: a functional model.
        **kwargs: ``name``, ``dtype``.
    """

    def __init__(self, model, **kwargs):
        super().__init__(**{**kwargs, "trainable": False})
        require(isinstance(model, keras.Model), "`model` must be a Keras model", model=model)
        self.model = model
        model.trainable = False

    def build(self, input_shape):
        """Do nothing: the model is built."""

    def call(self, inputs):
        """Return the predictions of the model."""
        return self.model(inputs, training=False)

    def compute_output_shape(self, input_shape):
        """Return the shape of the model's output."""
        return self.model.compute_output_shape(input_shape)

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config):
        """Build the layer and its model."""
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})
