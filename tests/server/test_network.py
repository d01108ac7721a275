"""What the server answers has the names, dtypes, shapes and values of exported signatures."""

import numpy as np
import pytest

from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.exporters import schema
from keras_coda.exporters.protos import signatures_from_json
from keras_coda.exporters.signatures import Signatures
from keras_coda.models import CoDANet
from keras_coda.server import bodies, metadata
from keras_coda.server.network import SIGNATURES, Network
from keras_coda.serving.requests import explain_request
from keras_coda.serving.responses import read_explanation
from tests.helpers import hybrids
from tests.helpers.networks import pixels, small, two_layers
from tests.helpers.serving_helpers import NAMES, RGB, assert_close, encoded

K = 2


def answered(network, signature, images, classes=None, top_k=None):
    request = network.request(signature, images, classes, top_k)
    return network.outputs(request, network.run(request.key, request.arrays))


@pytest.fixture(scope="module")
def network():
    model = small(input_shape=RGB, class_names=NAMES)
    model.calibration = {"slopes": (1.0, 0.5, 2.0), "intercepts": (0.0, 1.0, -1.0)}
    return Network(model, "tiny", top_k=K)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("signature", SIGNATURES)
def test_outputs_are_those_of_the_exported_signature(network, signature):
    images = pixels(3, RGB)
    classes = None if signature != schema.EXPLAIN_CLASSES else np.array([[0, 2], [1, 0], [2, 2]], "int32")
    given = [images.astype("float32")] if classes is None else [images.astype("float32"), classes]
    expected = getattr(Signatures.of(network.model, top_k=K), signature)(*given)
    found = answered(network, signature, images, classes)
    assert set(found) == set(expected)
    for name, array in found.items():
        tensor = schema.SIGNATURES[signature].outputs[name]
        wanted = np.asarray(expected[name])
        assert array.shape == wanted.shape
        if tensor.dtype == "string":
            assert array.tolist() == [[text.decode() for text in row] for row in wanted.tolist()]
        elif tensor.dtype == "int32":
            assert array.dtype == np.int32
            np.testing.assert_array_equal(array, wanted)
        else:
            assert_close(array, wanted)


@pytest.mark.usefixtures("eagerly")
def test_files_are_decoded_as_the_network_itself_does_it(network, tmp_path):
    image = pixels(1, (30, 20, 3))[0]
    (tmp_path / "image.png").write_bytes(encoded(image))
    explanation = network.model.explain(tmp_path / "image.png", top_k=K)
    found = answered(network, schema.EXPLAIN, [encoded(image)])
    assert set(found) >= {"images", "contributions"}
    for name in ("images", "contributions", "logits"):
        np.testing.assert_array_equal(found[name], getattr(explanation, name))


@pytest.mark.usefixtures("eagerly")
def test_classes_are_names_or_indices_and_the_request_says_how_many(network):
    images = pixels(2, RGB)
    by_name = answered(network, schema.EXPLAIN_CLASSES, images, [["öl", "cat", 1]] * 2)
    assert by_name["classes"].tolist() == [[2, 0, 1]] * 2
    assert answered(network, schema.EXPLAIN, images, top_k=3)["contributions"].shape == (2, 3, *RGB[:2])
    assert answered(network, schema.PREDICT, images, top_k=1)["top_classes"].shape == (2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": pixels(0, RGB)}, "must have images"),
        ({"images": pixels(65, RGB)}, "may have 64 images. Received: images=65"),
        ({"images": pixels(1, (8, 7, 1))}, r"must have shape \(batch, 8, 7, 3\)"),
        ({"images": pixels(1, (9, 7, 3))}, "Received: shape"),
        ({"images": pixels(1, RGB)[0]}, "Received: shape"),
        ({"images": pixels(1, RGB) / 255}, r"\[0, 255\].*Multiply them by 255"),
        ({"images": pixels(1, RGB) - 1.0}, r"\[0, 255\]"),
        ({"images": np.full((1, *RGB), np.nan)}, "finite"),
        ({"images": np.full((1, *RGB), True)}, "numbers"),
        ({"images": np.full((1, *RGB), "4")}, "numbers"),
        ({"images": [b"no image"]}, "'image 0'"),
        ({"images": [encoded(pixels(1, RGB)[0]), encoded(pixels(1, RGB)[0])[:-9]]}, "'image 1'"),
        ({"images": [b""]}, "empty"),
        ({"classes": 3}, r"in \[0, 2\]"),
        ({"classes": [[0, 1]] * 3}, "1 images"),
        ({"classes": 0.5}, "integers"),
        ({"classes": "bird"}, "Names: cat"),
        ({"classes": [[0] * 4]}, "as many classes as there are"),
        ({"classes": 1, "top_k": 2}, "not both"),
        ({"top_k": 4}, "3 classes"),
        ({"top_k": 0}, "positive integer"),
        ({"top_k": "2"}, "positive integer"),
    ],
)
def test_wrong_requests_are_refused(network, change, message):
    signature = schema.EXPLAIN_CLASSES if "classes" in change else schema.EXPLAIN
    with pytest.raises((TypeError, ValueError), match=message):
        network.request(**{"signature": signature, "images": pixels(1, RGB), **change})


def test_a_network_for_any_size_has_a_limit():
    network = Network(two_layers(), "any", max_side=12)
    with pytest.raises(ValueError, match="up to 12 pixels"):
        network.request(schema.PREDICT, pixels(1, (13, 4, 1)))
    request = network.request(schema.PREDICT, [encoded(pixels(1, (24, 20, 1))[0])])
    assert request.arrays["images"].shape == (1, 12, 10, 1)
    with pytest.raises(ValueError, match="one size"):
        network.request(schema.PREDICT, [encoded(pixels(1, (6, size, 1))[0]) for size in (5, 6)])


@pytest.mark.usefixtures("eagerly")
def test_hybrids_name_the_layer_of_their_maps():
    network, images = Network(hybrids.make(), "hybrid"), pixels(2, (8, 8, 1))
    found, expected = answered(network, schema.EXPLAIN, images), network.model.explain(images)
    served = read_explanation(explain_request(images), found)
    assert served.wrt == expected.wrt != "None"
    assert_close(served.contributions, expected.contributions)
    offered = signatures_from_json(metadata.tf_serving_metadata(network)["metadata"]["signature_def"]["signature_def"])
    for name, array in found.items():
        assert offered[schema.EXPLAIN].outputs[name].fits(array.shape)


@pytest.mark.usefixtures("eagerly")
def test_several_labels_come_with_decisions():
    model = CoDANet(3, input_shape=RGB, filters=(4, 3), ranks=2, temperature=1.0)
    model.compile(multi_label=True)
    model.thresholds = (0.1, 0.5, 0.9)
    network, images = Network(model, "labels"), pixels(4, RGB)
    found = answered(network, schema.PREDICT, images)
    np.testing.assert_array_equal(found["decisions"], model.decide(found["probabilities"]))
    assert "decisions" in metadata.offered(network)[schema.PREDICT].outputs


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "../a", "a b"])
def test_names_that_fit_no_address_are_refused(network, name):
    with pytest.raises(ValueError, match="letters, digits"):
        Network(network.model, name)


@pytest.mark.any_backend
def test_batches_of_other_sizes_are_not_compiled_anew():
    network, images = Network(two_layers(input_shape=(6, 5, 1)), "tiny"), pixels(4, (6, 5, 1))
    explainer = compiled_explainer(network.model)
    four, traces = answered(network, schema.EXPLAIN, images), explainer.traces
    three = answered(network, schema.EXPLAIN, images[:3])
    assert explainer.traces == traces
    for name in ("contributions", "bias", "logits"):
        assert_close(three[name], four[name][:3])
    assert_close(three["contributions"], network.model.explain(images[:3]).contributions)


# === Bodies ===


@pytest.mark.usefixtures("eagerly")
def test_rows_and_columns_say_the_same(network):
    images = pixels(2, RGB)
    rows = bodies.read_v1({"instances": images.tolist()}, "explain")
    columns = bodies.read_v1({"inputs": {"images": images.tolist()}, "signature_name": "contributions"}, "predict")
    assert rows.signature == columns.signature == schema.EXPLAIN
    assert (rows.in_rows, columns.in_rows) == (True, False)
    np.testing.assert_array_equal(rows.images, columns.images)
    outputs = answered(network, rows.signature, rows.images)
    explained = bodies.write_v1(outputs, rows, "explain")["explanations"]
    in_columns = bodies.write_v1(outputs, columns, "predict")["outputs"]
    assert explained[1].keys() == in_columns.keys()
    np.testing.assert_array_equal(explained[1]["contributions"], in_columns["contributions"][1])


def test_classes_stand_beside_the_images_or_with_each():
    image = pixels(1, RGB)[0].tolist()
    beside = bodies.read_v1({"instances": [image, image], "classes": [[0], [2]]}, "explain")
    within = [{"images": image, "classes": [0]}, {"images": image, "classes": [2]}]
    assert beside.classes == bodies.read_v1({"instances": within}, "explain").classes == [[0], [2]]
    assert beside.signature == schema.EXPLAIN_CLASSES


def test_a_text_among_pixels_costs_no_memory():
    with pytest.raises(ValueError, match="must be numbers"):
        bodies.array([0] * 100_000 + ["a" * 100_000])  # 40 GB, if NumPy chose the type
