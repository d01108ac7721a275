import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_coda import CoDANet
from keras_coda.evaluation import evaluate
from keras_coda.utils.errors import InvalidLabelsError


def test_evaluate_agrees_with_keras(capsys):
    keras.utils.set_random_seed(0)
    model = CoDANet(2, input_shape=(6, 6, 1), filters=(3, 2), ranks=2)
    images = np.random.default_rng(0).integers(0, 256, (11, 6, 6, 1), dtype="uint8")
    data = tf.data.Dataset.from_tensor_slices((images, np.arange(11, dtype="int32") % 2)).batch(4)
    figures = evaluate(model, data, verbose=False)
    assert capsys.readouterr().out == ""
    loss, accuracy = model.evaluate(data, verbose=0)
    assert figures["num_images"] == 11
    assert figures["accuracy"] == pytest.approx(accuracy)
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert 0 <= figures["largest_residual"] < 1e-5
    assert figures["images_per_second"] > 0
    with pytest.raises(ValueError, match="no images"):
        evaluate(model, data.take(0), verbose=False)
    evaluate(model, data, num_images=11)
    assert "11/11" in capsys.readouterr().out


def test_labels_of_every_form_give_the_same_figures_and_wrong_ones_are_refused_before_the_work():
    model = CoDANet(2, input_shape=(6, 6, 1), filters=(3, 2), ranks=2)
    images, labels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 1), "uint8"), np.array([0, 1])
    figures = []
    for form in (labels, labels[:, None], np.eye(2)[labels], labels.astype("float32")):  # one-hot: as many as classes
        found = evaluate(model, [(images, form)], verbose=False)
        figures.append([found["accuracy"], found["loss"]])
    np.testing.assert_allclose(figures, figures[:1] * 4)
    for wrong in (labels + 1, labels / 2, np.eye(3)[labels], labels[:1]):
        with pytest.raises(InvalidLabelsError):
            evaluate(model, [(images[..., :0], wrong)], verbose=False)  # and not for the images
    with pytest.raises(ValueError, match="must yield .images, labels"):
        evaluate(model, [images], verbose=False)
