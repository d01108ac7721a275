"""An export whose `serving_default` is another signature, for programs that load one."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from export import config_files, triton
from keras_coda.exporters import lint_saved_model, verify_saved_model
from keras_coda.exporters.bare_tensorflow import run_signatures
from keras_coda.exporters.protos import read_signatures
from tests.helpers.networks import pixels, small
from tests.helpers.serving_helpers import encoded

pytestmark = pytest.mark.slow

RGB = (8, 7, 3)


@pytest.fixture(scope="module")
def explaining(tmp_path_factory):
    model, folder = small(input_shape=RGB), tmp_path_factory.mktemp("explaining") / "1"
    model.export(folder, top_k=2, signature="contributions", warmup=True)
    return SimpleNamespace(model=model, folder=folder)


def test_callers_who_name_no_signature_get_maps(explaining, color):
    found, usual = read_signatures(explaining.folder), read_signatures(color.folder)
    assert found == {**usual, "serving_default": usual["contributions"]}
    images = pixels(3, RGB).astype("float32")
    (served,) = run_signatures(explaining.folder, [("serving_default", {"images": images})])
    explanation = explaining.model.explain(images, served["classes"])
    np.testing.assert_allclose(served["contributions"], explanation.contributions, atol=1e-5)
    total = served["contributions"].sum((2, 3)) + served["bias"][:, None]
    np.testing.assert_allclose(total, np.take_along_axis(served["logits"], served["classes"], 1), atol=1e-5)


def test_such_an_export_passes_all_checks(explaining):
    rows = verify_saved_model(explaining.folder, explaining.model)
    assert [row.detail for row in rows if not row.passed] == []
    assert "serving_default" in rows[1].detail


def test_a_signature_for_files_may_be_the_default(tmp_path, color):
    color.model.export(tmp_path / "1", top_k=2, signature="contributions_bytes", warmup=False)
    assert lint_saved_model(tmp_path / "1") == []
    layer = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    image = pixels(1, RGB)
    served = layer(image_bytes=tf.constant([encoded(image[0])]))
    np.testing.assert_allclose(served["logits"], color.model.explain(image).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"signature": "maps"}, r"^`signature` must be one of serving_default, contributions, .*signature='maps'"),
        ({"signature": "contributions_bytes"}, "image files need images of one size .*image_shape=.8, 7, 2."),
        ({"signature": "contributions", "format": "onnx"}, "`signature` is for the format .*format='onnx'"),
    ],
)
def test_wrong_names_leave_nothing_behind(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        small().export(tmp_path / "deep" / "1", **arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_triton_is_given_every_tensor_of_the_signature(tmp_path):
    folder = triton.export_example(tmp_path)
    text = triton.render(folder)
    assert triton.CONFIG.read_text() == text  # the file in export/, which README.md shows how to write
    assert lint_saved_model(folder) == []  # Triton's layout is no mistake
    config = config_files.triton_config(triton.CONFIG)
    assert (config.name, config.platform, config.max_batch_size) == ("digits", "tensorflow_savedmodel", 16)
    kinds = config.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    signature = read_signatures(folder)["serving_default"]
    for tensors, configured in ((signature.inputs, config.input), (signature.outputs, config.output)):
        for (name, spec), entry in zip(tensors.items(), configured, strict=True):
            shape = tuple(entry.reshape.shape) if entry.HasField("reshape") else tuple(entry.dims)
            assert (entry.name, shape) == (name, spec.shape[1:])
            assert kinds[entry.data_type].name == triton.TYPES[spec.dtype]
            assert list(entry.dims)  # Triton refuses none
