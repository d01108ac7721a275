import re
import subprocess
import sys

import numpy as np
import pytest

import keras_coda
from keras_coda import serving
from tests.helpers.networks import pixels
from tests.helpers.serving_helpers import CLIENTS, RGB, K, assert_close, connect, encoded, with_pixel

pytestmark = pytest.mark.slow

ALL_CLASSES = np.array([[2, 0]])


def assert_same_explanation(served, expected):
    assert type(served) is type(expected)
    for name in ("images", "logits", "probabilities", "contributions", "linear_map"):
        if getattr(expected, name) is not None:
            assert_close(getattr(served, name), getattr(expected, name))
    np.testing.assert_array_equal(served.classes, expected.classes)
    assert served.classes.dtype == np.int32
    assert served.residual.shape == expected.residual.shape
    assert (served.residual <= 1e-4 * np.maximum(1, np.abs(served.explained_logits))).all()
    assert served.bias == pytest.approx(expected.bias, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 32])
@pytest.mark.parametrize("name", ["coda", "digits"])
def test_all_signatures_give_what_keras_gives(address, protocol, name, batch, request):
    network, top_k = request.getfixturevalue("digits_model"), 3
    if name == "coda":
        network, top_k = request.getfixturevalue("served_model"), K
    images = pixels(batch, network.input_shape[1:], seed=1)
    classes = np.random.default_rng(2).integers(0, network.num_classes, (batch, top_k))
    by_rank = network.explain(images, top_k=top_k, linear_map=name == "coda", verbose=False)
    chosen = network.explain(images, classes, linear_map=name == "coda", verbose=False)
    with connect(protocol, address[name], name) as client:
        for given in (images, images.astype("float64"), [encoded(image) for image in images]):
            predicted = client.predict(given)
            assert len(predicted) == batch
            assert_close(predicted.logits, by_rank.logits)
            assert_close(predicted.probabilities, by_rank.probabilities)
            np.testing.assert_array_equal(predicted.top_classes, by_rank.classes)
            assert predicted.top_class_names.tolist() == [
                [network.class_names[c] for c in row] for row in by_rank.classes
            ]
            assert_same_explanation(client.explain(given), by_rank)
            assert_same_explanation(client.explain(given, classes), chosen)


def test_files_are_given_by_path_by_contents_or_as_a_list_of_both(client, tmp_path):
    image = pixels(1, RGB)[0]
    (tmp_path / "a.png").write_bytes(encoded(image))
    for files in (tmp_path / "a.png", str(tmp_path / "a.png"), encoded(image), [encoded(image)], [tmp_path / "a.png"]):
        np.testing.assert_array_equal(client.explain(files).images, image[None])
    assert len(client.predict([encoded(image), tmp_path / "a.png"])) == 2


def test_explanations_from_a_server_plot_and_save(client, tmp_path):
    explanation = client.explain(pixels(2, RGB))
    assert explanation.plot().axes
    explanation.save(tmp_path / "e.npz")
    assert keras_coda.Explanation.load(tmp_path / "e.npz").class_names == explanation.class_names


def test_served_names_fill_class_names_and_given_ones_replace_them(protocol, double):
    with connect(protocol, double.address) as client:
        explanation = client.explain(pixels(1, RGB), ALL_CLASSES)
        assert explanation.class_names == ("cat", "1", "öl")
    with connect(protocol, double.address, class_names=("a", "b", "c")) as client:
        assert client.explain(pixels(1, RGB)).class_names == ("a", "b", "c")
        assert client.explain(pixels(1, RGB), [["c", "a"]]).classes.tolist() == [[2, 0]]
    with (
        connect(protocol, double.address, class_names=("a", "b")) as client,
        pytest.raises(serving.InvalidAnswer, match="as many classes as `class_names`"),
    ):
        client.explain(pixels(1, RGB))


def test_answers_larger_than_grpc_allows_by_default_arrive(doubles, served_model):
    images = pixels(1600, RGB)
    with connect("grpc", doubles["grpc"].address) as client:
        explanation = client.explain(images)
    assert explanation.linear_map.nbytes > 2**22
    assert_close(explanation.logits, served_model.predict(images, verbose=0))


def test_a_client_keeps_one_connection(doubles):
    with connect("rest", doubles["rest"].address) as client:
        for _ in range(4):
            client.predict(pixels(2, RGB))
        with pytest.raises(serving.InvalidRequest):
            client.predict(b"no image")
        client.status()
    assert doubles["rest"].counts["connections"] == 1


# === Bad arguments, found before anything is sent ===


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pixels(2, RGB)[0], r"add the batch axis|shape"),
        (np.zeros((0, *RGB), "float32"), "must not be empty"),
        ([], "must have shape"),
        ([[1.0], [1.0, 2.0]], "must all have one shape"),
        (with_pixel(np.nan), r"finite.*\[1\]"),
        (with_pixel(np.inf), r"\[0, 255\].*images=\[1\]"),
        (with_pixel(-1.0), r"\[0, 255\].*images=\[1\]"),
        (with_pixel(255.5), r"\[0, 255\].*high=255.5"),
        (pixels(1, RGB).astype("int16") + 300, r"\[0, 255\]"),
        (pixels(1, RGB).astype("complex64"), "real dtype"),
        (np.full((1, *RGB), "x"), "real dtype"),
        ("nowhere.png", "must be readable. Received: 'nowhere.png'"),
        ([encoded(pixels(1, RGB)[0]), b""], "must not be empty"),
        ([b"x", 3], "Do not mix"),
    ],
)
def test_bad_images_are_refused_before_anything_is_sent(client, double, images, message):
    for call in (client.predict, client.explain):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            call(images)
        assert not isinstance(caught.value, serving.ServingError)
    assert not double.counts["predict"]


@pytest.mark.parametrize("classes", [1.0, "cat", [0], [[0, 1]], -1, [[0, 1], [0]], np.zeros((2, 0), int), True])
def test_bad_classes_are_refused_before_anything_is_sent(client, double, classes):
    with pytest.raises((ValueError, TypeError)):
        client.explain(pixels(2, RGB), classes)
    assert not double.counts["predict"]


@pytest.mark.parametrize(
    ("images", "classes", "message"),
    [
        (pixels(2, (9, 9, 3)), None, r"`images` must have shape \(any, 8, 7, 3\).*shape=\(2, 9, 9, 3\)"),
        (pixels(2, (8, 7, 1)), None, r"`images` must have shape"),
        (pixels(2, RGB), [[0, 1, 2]] * 2, r"`classes` must have shape \(any, 2\).*shape=\(2, 3\)"),
        (pixels(2, RGB), 1, r"`classes` must have shape"),
    ],
)
def test_shapes_that_the_model_does_not_take_are_refused(client, double, images, classes, message):
    with pytest.raises(serving.InvalidRequest, match=message):
        client.explain(images, classes)
    assert not double.counts["predict"]


@pytest.mark.parametrize("options", [{"version": 1, "label": "x"}, {"version": -1}, {"version": "1"}, {"label": ""},
                                     {"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}, {"retries": 1.5},
                                     {"backoff": -0.1}, {"name": ""}])  # fmt: skip
def test_bad_options_are_refused(protocol, options):
    with pytest.raises(ValueError, match=r"Received: "):
        connect(protocol, "127.0.0.1:1", **options)


def test_addresses_of_the_other_protocol_are_refused():
    with pytest.raises(ValueError, match="`url` must be that of a server"):
        serving.RestClient("127.0.0.1:8501", "coda")
    with pytest.raises(ValueError, match="`target` must be host:port"):
        serving.GrpcClient("http://127.0.0.1:8500", "coda")


# === What the server refuses ===


@pytest.mark.parametrize(
    ("files", "classes", "message"),
    [
        ([b"no image"], None, "no JPEG, PNG, BMP or GIF"),
        ([encoded(pixels(1, (40, 40, 3))[0], "JPEG")[:200]], None, "."),
        ([encoded(pixels(1, RGB)[0]), b"\x89PNG\r\n\x1a\n"], None, "."),
        ([encoded(pixels(1, RGB)[0])], [[0, 3]], r"`classes` must be in \[0, 3\)"),
    ],
)
def test_errors_carry_what_the_server_said_and_are_not_retried(client, double, files, classes, message):
    with pytest.raises(serving.InvalidRequest, match=message) as caught:
        client.explain(files, classes)
    assert isinstance(caught.value, ValueError)
    assert "Received: " in str(caught.value)
    assert double.counts["predict"] == 1


def test_missing_models_versions_and_labels_have_their_errors(protocol, double):
    for name, options, error, message in [
        ("nobody", {}, serving.ModelNotFound, "nobody"),
        ("coda", {"version": 9}, serving.ModelNotFound, "9"),
        ("coda", {"label": "canary"}, serving.InvalidRequest, "Unrecognized servable version label: canary"),
    ]:
        with connect(protocol, double.address, name, **options) as client, pytest.raises(error, match=message):
            client.predict(pixels(1, RGB))


def test_versions_and_labels_choose_the_model(protocol, double, served_versions):
    double.models.versions["coda"][5] = served_versions["digits"]
    digits = pixels(1, (8, 8, 1))
    for options, images in [({}, digits), ({"version": 5}, digits), ({"version": 1}, pixels(1, RGB)),
                            ({"label": "stable"}, pixels(1, RGB))]:  # fmt: skip
        with connect(protocol, double.address, **options) as client:
            assert len(client.predict(images)) == 1


def test_a_new_version_of_another_image_size_is_noticed(client, double, served_versions):
    client.predict(pixels(1, RGB))
    double.models.versions["coda"][2] = served_versions["digits"]
    assert client.predict(pixels(1, (8, 8, 1))).logits.shape == (1, 10)


def test_status_and_metadata_are_the_same_over_both(doubles, served_model):
    doubles["rest"].models.load_errors = {2: "no weights"}
    found = []
    for protocol in CLIENTS:
        with connect(protocol, doubles[protocol].address) as client:
            found.append((client.status(), client.metadata()))
    (status, metadata), other = found
    assert (status, metadata) == other
    assert status == (serving.VersionStatus(2, "END", "no weights"), serving.VersionStatus(1, "AVAILABLE", ""))
    assert (metadata.name, metadata.version) == ("coda", 1)
    twins = {f"{name}{twin}" for name in ("serving_default", "contributions", "contributions_for_classes")
             for twin in ("", "_bytes")}  # fmt: skip
    assert metadata.signatures.keys() == twins
    signature = metadata.signatures["contributions_for_classes_bytes"]
    assert signature.inputs["image_bytes"] == serving.TensorMetadata("string", (None,))
    assert signature.outputs["contributions"] == serving.TensorMetadata("float32", (None, K, *RGB[:2]))


# === What is imported, and when ===


def test_clients_explanations_and_the_schema_import_neither_keras_nor_tensorflow_nor_what_is_optional():
    # The packages themselves import Keras. Their modules that clients need do not.
    script = f"""
import sys, types
for name in ("keras_coda", "keras_coda.explanations", "keras_coda.exporters"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [{keras_coda.__path__[0]!r} + name.removeprefix("keras_coda").replace(".", "/")]
import keras_coda.serving
found = {{"tensorflow", "keras", "grpc", "requests", "tensorflow_serving"}} & set(sys.modules)
keras_coda.serving.RestClient("http://127.0.0.1:1", "x").close()
assert not found and "tensorflow" not in sys.modules, found
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("missing", "protocol"), [("requests", "rest"), ("grpc", "grpc"),
                                                   ("tensorflow_serving.apis.predict_pb2", "grpc")],
                         indirect=["protocol"])  # fmt: skip
def test_missing_packages_name_the_extra(monkeypatch, missing, protocol):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=re.escape('pip install "keras-coda[serving]"')):
        connect(protocol, "127.0.0.1:1")
