"""Copies of models that take images of another size: made once, then given the model's present weights."""

import weakref

import keras

from keras_coda.utils.checks import check_image_shape, require

# Kept here rather than in the model: Keras would take the copies for its layers and save them with it. No copy refers
# to its model, so that both end with it.
_copies = weakref.WeakKeyDictionary()  # model -> {input shape: (the config it was made from, copy)}


def resized_copy(model: keras.Model, input_shape) -> keras.Model:
    """Return the model itself if its images have this shape, or else a copy; see ``CoDANet.with_input_shape``."""
    shape = check_image_shape(input_shape)
    own = tuple(model.input_shape[1:])
    rule = "The weights fit images with as many channels as the network's"
    require(shape[-1] == own[-1], rule, input_shape=shape, network=own)
    if shape == own:
        return model
    config = model.get_config()
    copies = _copies.setdefault(model, {})
    if shape not in copies or copies[shape][0] != config:
        copies[shape] = config, type(model).from_config({**config, "input_shape": shape})
    copy = copies[shape][1]
    copy.set_weights(model.get_weights())
    copy.jit_compile = model.jit_compile
    copy.training_figures = dict(model.training_figures)
    return copy
