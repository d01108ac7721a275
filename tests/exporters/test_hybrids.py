"""Claims about exports of hybrids: maps of the features, the layer that they name, and trunks that are refused."""

import importlib
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_coda.exporters import lint_saved_model
from keras_coda.exporters.formats import FORMATS
from keras_coda.serving.requests import explain_request
from keras_coda.serving.responses import read_explanation
from tests.helpers import hybrids
from tests.helpers.networks import pixels
from tests.helpers.serving_helpers import encoded

pytestmark = pytest.mark.slow


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_saved_model_serves_maps_of_the_features_and_names_their_layer(tmp_path):
    model = hybrids.color()
    model.export(tmp_path / "1", top_k=2, linear_map=True, warmup=False)
    assert not lint_saved_model(tmp_path / "1")
    images = pixels(3, (8, 8, 3))
    expected = model.explain(images, top_k=2, linear_map=True)
    assert expected.contributions.shape == (3, 2, 4, 4)
    given = {"contributions": {"images": images.astype("float32")}}
    given["contributions_bytes"] = {"image_bytes": np.array([encoded(image) for image in images], dtype=object)}
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    for name, inputs in given.items():
        outputs = served[name](**{key: tf.constant(value) for key, value in inputs.items()})
        outputs = {key: value.numpy() for key, value in outputs.items()}
        found = read_explanation(explain_request(images), outputs)  # as the clients do
        assert found.wrt == expected.wrt == "pool"
        for field in ("logits", "contributions", "linear_map"):
            assert_close(getattr(found, field), getattr(expected, field))


@pytest.mark.parametrize("format", FORMATS)
def test_single_files_explain_images_of_any_size_and_name_the_layer(tmp_path, format):
    pytest.importorskip(FORMATS[format].required[0])
    model, images = hybrids.color((None, None, 3)), pixels(3, (8, 13, 3)).astype("float32")
    model.export(tmp_path / "a", format=format, top_k=2)
    expected = model.explain(images, top_k=2)
    module = importlib.import_module(FORMATS[format].module)
    classes = np.tile(np.arange(2, dtype="int32"), (3, 1))
    found = module.run((tmp_path / "a").read_bytes(), {"images": images, "classes": classes})["contributions"]
    assert found["contributions"].shape == (3, 2, 4, 6)
    for name in ("logits", "contributions"):
        assert_close(found[name], getattr(expected, name))
    if format == "onnx":
        import onnx

        graph = onnx.load(tmp_path / "a")
        facts = {each.key: each.value for each in graph.metadata_props}
        (maps,) = [each for each in graph.graph.output if each.name == "contributions"]
        names = [size.dim_param for size in maps.type.tensor_type.shape.dim]
        assert names == ["batch", "", "map height", "map width"]
    else:
        facts = json.loads(zipfile.ZipFile(tmp_path / "a").read("coda.json"))
    assert facts["wrt"] == "pool"


def refused(folder, x, message, **options):
    images = keras.Input((4, 4, 1))
    scaling = keras.layers.Rescaling(1 / 510)
    model = hybrids.make(trunk=keras.Model(images, x(images)), layer=None, preprocessing=scaling, filters=(4,), ranks=1)
    with pytest.raises(ValueError, match=f"(?i){message}"):
        model.export(folder / "deep" / "1", **options)
    assert not list(folder.rglob("1"))


@pytest.mark.parametrize("format", FORMATS)
def test_operations_that_a_format_has_not_are_named(tmp_path, format):
    pytest.importorskip(FORMATS[format].required[0])
    message = rf"must exist in {format}. Received: operations=.*'Erfinv'.*\. Take a trunk without it, or export a Saved"
    inverse = keras.layers.Activation(keras.ops.erfinv)
    refused(tmp_path, lambda images: keras.layers.Conv2D(2, 1)(inverse(images)), message, format=format)


def test_networks_that_run_only_with_xla_are_refused(tmp_path):
    message = r"must not need XLA.* Received: found=.*_XlaMustCompile.*Take a trunk without"
    grouped = keras.layers.Conv2D(4, 3, groups=2)
    refused(tmp_path, lambda images: grouped(keras.layers.Conv2D(4, 1)(images)), message)
