import keras
import pytest

from keras_coda import posthoc
from keras_coda.evaluation import best_grad_cam, localization
from tests.helpers.known_models import channel_data


def test_the_layer_with_the_best_localization_is_chosen():
    inputs = keras.Input((None, None, 10))
    options = {"padding": "same", "use_bias": False}
    sharp = keras.layers.Conv2D(10, 1, **options, name="sharp")
    blurred = keras.layers.DepthwiseConv2D(3, **options, depthwise_initializer="ones", name="blurred")
    x = keras.layers.GlobalAveragePooling2D()(blurred(sharp(inputs)))
    model = keras.Model(inputs, keras.layers.Rescaling(1 / 50, offset=-12.75)(x))
    sharp.set_weights([keras.ops.eye(10)[None, None]])
    data = channel_data()
    options = {"n_grids": 2, "confidence": 0.0, "verbose": False}
    method, scores = best_grad_cam(model, data, **options)
    assert list(scores) == ["sharp", "blurred"]
    assert method == posthoc.GradCAM("sharp")
    assert scores["sharp"] == pytest.approx(1)
    alone = localization(model, data, explainer=posthoc.GradCAM("blurred"), **options)
    assert scores["blurred"] == alone.mean < 1
    with pytest.raises(ValueError, match="layer_name='nonsense'"):
        best_grad_cam(model, data, ["nonsense"], **options)
    with pytest.raises(ValueError, match="`layers` must be names"):
        best_grad_cam(model, data, [], **options)
