"""tf-explain's own callbacks with a CoDA-Net under ``fit``: the table in docs/training.md says what is tested here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_coda
from tests.helpers.events import events

callbacks = pytest.importorskip("tf_explain.callbacks")
pytest.importorskip("tensorboard")

SIZE = 12
# What each needs beside images.
WORKING = {
    "GradCAMCallback": {"class_index": 1, "layer_name": "dau_2"},
    "GradientsInputsCallback": {"class_index": 1},
    "OcclusionSensitivityCallback": {"class_index": 1, "patch_size": 6},
    "ActivationsVisualizationCallback": {"layers_name": ["dau_2"]},
}
# Gradients by pixels in [0, 255] are small; tf-explain standardizes them by no less than 1/sqrt(pixels), then rounds.
BLACK = {
    "IntegratedGradientsCallback": {"class_index": 1, "n_steps": 3},
    "SmoothGradCallback": {"class_index": 1, "num_samples": 2},
    "VanillaGradientsCallback": {"class_index": 1},
}


@pytest.fixture(scope="module")
def train():
    """A function that trains a small network for two epochs with one of the callbacks; returns the pictures it logs."""
    images = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras_coda.CoDANet(
        4, input_shape=(SIZE, SIZE, 3), filters=(8, 4), ranks=(4, 4), kernel_sizes=(3, 3), strides=(1, 1)
    )
    weights = model.get_weights()

    def train(name, folder, **arguments):
        model.set_weights(weights)  # the same network is compiled once
        callback = getattr(callbacks, name)((images, None), output_dir=folder, **arguments)
        model.fit(images, np.arange(4), epochs=2, verbose=0, callbacks=[callback])
        values = [value for event in events(folder) for value in event.summary.value]
        return [tf.io.decode_image(data).numpy() for value in values for data in value.tensor.string_val[2:]]

    return train


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras: inputs in a list
@pytest.mark.parametrize("name", WORKING)
def test_they_log_a_picture_in_each_epoch(name, train, tmp_path):
    pictures = train(name, tmp_path, **WORKING[name])
    assert len(pictures) == 2, "one picture for each epoch"
    for picture in pictures:
        assert min(picture.shape[:2]) >= SIZE
        assert picture.max() > picture.min(), "not blank"


@pytest.mark.filterwarnings("ignore::UserWarning")  # tf-explain: no activation at the end
@pytest.mark.parametrize("name", BLACK)
def test_those_of_plain_gradients_log_black_pictures(name, train, tmp_path):
    pictures = train(name, tmp_path, **BLACK[name])
    assert len(pictures) == 2
    assert not any(picture.any() for picture in pictures)


def test_grad_cam_has_to_be_told_the_layer(train, tmp_path):
    with pytest.raises(AttributeError, match="output_shape"):  # Keras 3 has no such attribute
        train("GradCAMCallback", tmp_path, class_index=1)
