"""Claims about networks that are not finite: they raise or, where a runtime cannot, answer NaN; they never explain."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_coda
from keras_coda import CoDANet
from keras_coda.explanations import NonFiniteNetworkError
from keras_coda.exporters import Signatures
from keras_coda.exporters.nan_guard import PortableNetwork
from keras_coda.utils.errors import PixelRangeWarning
from tests.helpers.networks import pixels, small


def broken(kind, rescaling="squash", layer=0):
    """Return a network with one weight, or all weights of a layer, replaced."""
    model = small(rescaling=rescaling)
    weights = model.get_weights()
    if kind == "huge":
        weights[2 * layer + 1] = weights[2 * layer + 1] * 1e30
    else:
        weights[2 * layer].flat[0] = {"NaN": np.nan, "infinite": np.inf}[kind]
    model.set_weights(weights)
    return model


kinds = pytest.mark.parametrize("kind", ["NaN", "infinite", "huge"])


@kinds
@pytest.mark.parametrize("rescaling", ["squash", "l2"])
def test_explain_raises(kind, rescaling):
    for layer in (0, 2):
        with pytest.raises(NonFiniteNetworkError, match="logits.* must be finite. Received: NaN or infinite"):
            broken(kind, rescaling, layer).explain(pixels(), classes=1)


def test_an_infinite_norm_is_not_a_silent_unit():
    layer = keras_coda.DAUDense(2, 3, "l2")
    x = np.ones((1, 5), "float32")
    layer.build(x.shape)
    layer.set_weights([weights * 1e15 for weights in layer.get_weights()])  # responses are finite, their norms are not
    assert np.isnan(keras.ops.convert_to_numpy(layer(x))).all()


@kinds
def test_exports_are_refused_and_leave_nothing(kind, tmp_path):
    model = broken(kind)
    for format in ("tf_saved_model", "onnx", "litert"):
        with pytest.raises(NonFiniteNetworkError):
            model.export(tmp_path / format, format, **({"warmup": False} if format == "tf_saved_model" else {}))
    assert list(tmp_path.iterdir()) == []


@kinds
def test_what_is_exported_fails_or_answers_nan(kind):
    """The functions that are exported; a network can also overflow for some images only, after its export."""
    signatures = Signatures.of(broken(kind))
    images = tf.constant(pixels(1).astype("float32"))
    serving, portable = signatures.serving(), PortableNetwork(signatures).serving()
    for name in ("serving_default", "contributions"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="logits and maps must be finite"):
            serving[name][0](images)
        answer = portable[name][0](images)
        assert all(np.isnan(value).all() for key, value in answer.items() if key != "classes")


@pytest.mark.parametrize(
    "arguments",
    [{"temperature": value} for value in (1e-320, 1e-39, 1e39, 1e300)] + [{"logit_bias": v} for v in (1e300, -4e38)],
)
def test_numbers_that_float32_does_not_have_are_refused(arguments):
    with pytest.raises(ValueError, match="must be within the range of float32.* Received: "):
        small(**arguments)


def test_numbers_that_float32_has_are_taken():
    assert small(temperature=1e-37, logit_bias=0).logit_bias == 0
    assert small(temperature=1e38, logit_bias=-1e30).logit_bias == -1e30


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 4095), ("int32", 256), ("int16", -1), ("int64", 2**40)])
def test_integer_pixels_outside_of_8_bits_are_warned_of(dtype, value):
    images = pixels().astype(dtype)
    images[0, 0, 0, 0] = value
    with pytest.warns(PixelRangeWarning, match=r"expected in \[0, 255\]. Received: pixels from"):
        small(filters=(3,), strides=1).explain(images)
    with pytest.warns(PixelRangeWarning, match="Undo the normalization"):
        keras_coda.utils.checks.check_fit_images(images)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int8", "int64"])
def test_integer_pixels_in_range_are_not(dtype):
    keras_coda.utils.checks.check_fit_images((pixels() // 200).astype(dtype))


# === Dtype policies with which networks do not learn ===


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_16_bit_weights_are_refused(policy):
    message = f"Received: dtype='{policy}'. Use dtype=\"mixed_{policy}\", globally"
    for dtype in (policy, keras.DTypePolicy(policy)):
        with pytest.raises(ValueError, match=message):
            small(dtype=dtype)
    with pytest.raises(ValueError, match=message):
        CoDANet.from_preset("coda_digits", dtype=policy)
    keras.config.set_dtype_policy(policy)
    for build in (small, lambda: CoDANet.from_preset("coda_digits")):
        with pytest.raises(ValueError, match=message):
            build()


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_16_bit_weights_of_layers_of_the_caller_are_refused_by_fit(policy):
    images = keras.Input((8, 7, 2))
    x = keras_coda.AddInverse()(keras.layers.Rescaling(1 / 255)(images))
    x = keras_coda.GlobalSumPooling2D(dtype="float32")(keras_coda.DAUConv2D(3, 3, 2, dtype=policy)(x))
    model = keras_coda.models.ExplainableClassifier(images, x)
    with pytest.raises(ValueError, match=f'Weights must be float32 to learn.*dtype="mixed_{policy}"'):
        model.fit(pixels(), np.array([0, 1]))
    model.trainable = False
    assert model.explain(pixels()).residual.max() < 1e-5


def test_quantized_policies_are_refused():
    with pytest.raises(ValueError, match="The layers compute with floats"):
        small(dtype="int8_from_float32")


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_configurations_of_earlier_versions_with_16_bit_weights_are_read(policy):
    model = small()
    loaded = CoDANet.from_config({**model.get_config(), "dtype": policy})
    assert loaded.dtype_policy.name == f"mixed_{policy}"
