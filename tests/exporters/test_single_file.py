"""Claims about ONNX and LiteRT files: what other runtimes answer, and what happens when they cannot be written."""

import functools
import importlib
import json
import logging
import os
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_coda import BcosResNet, CoDANet
from keras_coda.exporters import single_file
from keras_coda.exporters.formats import FORMATS, Format
from keras_coda.utils.silence import hush
from tests.helpers.graphs import of_all_kinds
from tests.helpers.networks import pixels, small

pytestmark = pytest.mark.slow

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

RGB = (32, 32, 3)
CLASS_NAMES = ("cat", "dog", "öl")
OUTPUTS = ["logits", "probabilities", "classes", "contributions", "residual", "bias"]


def strided(rescaling, **arguments):
    """A network for color images that halves them twice."""
    options = {"filters": (8, 12, 3), "ranks": 6, "strides": (1, 2, 2), "rescaling": rescaling, "temperature": 10.0}
    return CoDANet(3, **{"input_shape": RGB, "class_names": CLASS_NAMES, **options, **arguments})


def run_onnx(file, **inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == set(inputs)
    names = [each.name for each in session.get_outputs()]
    return {**inputs, **dict(zip(names, session.run(None, inputs), strict=True))}


def run_litert(file, **inputs):
    signature = "contributions_for_classes" if "classes" in inputs else "contributions"
    return {**inputs, **interpreter.Interpreter(str(file)).get_signature_runner(signature)(**inputs)}


RUN = {"onnx": run_onnx, "litert": run_litert}


@pytest.fixture(scope="module", params=FORMATS)
def format(request):
    return request.param


def tied():
    """A network for images of any size, to which classes 0 and 1 are always the same."""
    model = CoDANet(3, input_shape=(None, None, 1), filters=(4, 5, 3), ranks=3, strides=(1, 2, 1))
    *_, last = (layer for layer in model.layers if hasattr(layer, "kernel"))
    last.kernel.assign(last.kernel * np.array([0.0, 0.0, 1.0], "float32")[:, None])  # of rounding, too
    return model


NETWORKS = {
    "branches": (of_all_kinds, {"top_k": 2, "linear_map": True}),
    "digits": (lambda: CoDANet.from_preset("coda_digits"), {"top_k": 3}),
    "squash": (lambda: strided("squash"), {"top_k": 2, "linear_map": True}),
    "l2, one class, bfloat16": (lambda: strided("l2", dtype="mixed_bfloat16"), {"top_k": 1}),
    "any size, ties": (tied, {"top_k": 3}),
    "residual": (lambda: BcosResNet(3, input_shape=(8, 8, 3), blocks=(1, 1), filters=8, groups=2), {"top_k": 1}),
    "any size, pooled and blurred": (
        lambda: CoDANet(
            3, input_shape=(None, None, 1), downsampling=("strided", "pooled", "strided", "blurred", "strided")
        ),
        {"top_k": 2},
    ),
}


@pytest.fixture(scope="module")
def converted(format, tmp_path_factory):
    """Function of a name in NETWORKS: the model, its options, and the file, written once."""
    folder = tmp_path_factory.mktemp(format)

    @functools.cache
    def of(name):
        keras.utils.set_random_seed(0)
        build, options = NETWORKS[name]
        model = build()
        model.export(folder / name, format=format, **options)
        return model, options, folder / name

    return of


def assert_agrees(outputs, explanation):
    """Everything within rounding of Keras, dtypes and shapes included."""
    logits = explanation.explained_logits
    for name in {"logits", "contributions", "linear_map", "probabilities", "classes", "offsets"} & set(outputs):
        expected = getattr(explanation, name)
        assert outputs[name].dtype == expected.dtype
        np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=1e-5 * max(1e-3, np.abs(expected).max()))
    assert (outputs["residual"] <= 1e-4 * np.maximum(1, np.abs(logits))).all()
    np.testing.assert_allclose(outputs["bias"], np.full(len(logits), explanation.bias), rtol=1e-6)
    total = outputs["contributions"].sum((2, 3)) + outputs["bias"][:, None] + outputs.get("offsets", 0)
    chosen = np.take_along_axis(outputs["logits"], outputs["classes"], axis=1)
    np.testing.assert_allclose(total, chosen, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_other_runtimes_explain_batches_of_any_length_as_keras_does(converted, format, network):
    model, options, file = converted(network)
    for batch in (1, 3, 32):
        height, width, channels = model.input_shape[1:]
        images = pixels(batch, (height or 9 + batch, width or 13, channels), seed=batch).astype("float32")
        images[0] = 0.0 if batch == 3 else images[0]  # black: patches without norm
        outputs = RUN[format](file, images=images)
        explanation = model.explain(images, **options)
        more = [name for name in ("linear_map", "offsets") if getattr(explanation, name) is not None]
        assert set(outputs) == {"images", *OUTPUTS, *more}
        assert_agrees(outputs, explanation)


@pytest.mark.parametrize("format", ["litert"], indirect=True)
def test_a_litert_file_predicts_and_explains_chosen_classes_with_the_same_weights(converted):
    model, _, file = converted("squash")
    reader = interpreter.Interpreter(str(file))
    assert {name: each["inputs"] for name, each in reader.get_signature_list().items()} == {
        "serving_default": ["images"],
        "contributions": ["images"],
        "contributions_for_classes": ["classes", "images"],
    }
    images, classes = pixels(3, RGB).astype("float32"), np.array([[2, 0], [1, 1], [0, 2]], "int32")
    assert_agrees(run_litert(file, images=images, classes=classes), model.explain(images, classes, linear_map=True))
    predicted = reader.get_signature_runner("serving_default")(images=images)
    assert set(predicted) == {"logits", "probabilities"}
    np.testing.assert_allclose(predicted["logits"], model.predict(images, verbose=0), atol=1e-5)
    classes[[0, 2], [0, 1]] = [-1, 3]  # there are none
    assert_only_rows_are_nan(run_litert(file, images=images, classes=classes), [0, 2])


def test_an_onnx_file_explains_chosen_classes_if_asked_to(tmp_path):
    model = small(input_shape=(8, 7, 3))
    model.export(tmp_path / "a.onnx", format="onnx", top_k=2, classes=True)
    images, classes = pixels(3, (8, 7, 3)).astype("float32"), np.array([[2, 0], [1, 1], [0, 2]], "int32")
    assert_agrees(run_onnx(tmp_path / "a.onnx", images=images, classes=classes), model.explain(images, classes))
    classes[1, 0] = 3  # there is none
    assert_only_rows_are_nan(run_onnx(tmp_path / "a.onnx", images=images, classes=classes), [1])


def assert_only_rows_are_nan(outputs, rows):
    for name in set(outputs) - {"images", "classes"}:
        wrong = np.isnan(outputs[name]).reshape(len(outputs[name]), -1)
        np.testing.assert_array_equal(wrong.all(1), np.isin(np.arange(len(wrong)), rows))
        np.testing.assert_array_equal(wrong.any(1), wrong.all(1))


def test_bad_pixels_give_nan_for_their_image_and_no_other(converted, format):
    model, options, file = converted("digits")
    images = pixels(6, (8, 8, 1)).astype("float32")
    images[1:5, 3, 4, 0] = [np.nan, np.inf, -1.0, 255.5]
    outputs = RUN[format](file, images=images)
    assert_only_rows_are_nan(outputs, [1, 2, 3, 4])
    good = {name: value[[0, 5]] for name, value in outputs.items()}
    assert_agrees(good, model.explain(images[[0, 5]], **options))


@pytest.mark.parametrize("format", FORMATS, indirect=True)
def test_the_first_classes_win_ties(converted, format):
    _, _, file = converted("any size, ties")
    outputs = RUN[format](file, images=pixels(3, (10, 11, 1)).astype("float32"))
    np.testing.assert_array_equal(outputs["logits"][:, 0], outputs["logits"][:, 1])
    assert [[each for each in row if each != 2] for row in outputs["classes"]] == [[0, 1]] * 3


def test_an_image_size_can_be_chosen_for_networks_that_take_any(tmp_path):
    model = tied()
    model.export(tmp_path / "deep" / "a.onnx", format="onnx", image_size=(9, 12))
    images = pixels(2, (9, 12, 1)).astype("float32")
    assert_agrees(run_onnx(tmp_path / "deep" / "a.onnx", images=images), model.explain(images))
    assert onnxruntime.InferenceSession(tmp_path / "deep" / "a.onnx").get_inputs()[0].shape == ["batch", 9, 12, 1]


FACTS = {"class_names", "pixels", "bias", "completeness", "top_k", "producer"}


def test_onnx_files_name_their_axes_classes_and_conventions(tmp_path):
    model = small(class_names=CLASS_NAMES, input_shape=(None, None, 3))
    model.export(tmp_path / "a.onnx", format="onnx", top_k=2)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    shapes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    assert list(shapes) == ["images", *OUTPUTS]
    assert shapes["images"] == ["batch", "height", "width", 3]
    assert shapes["contributions"] == ["batch", 2, "height", "width"]
    assert shapes["bias"] == ["batch"]
    assert_tells_facts(session.get_modelmeta().custom_metadata_map, model)


@pytest.mark.parametrize("format", ["litert"], indirect=True)
def test_litert_files_name_their_classes_and_conventions(converted):
    model, _, file = converted("squash")
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(CLASS_NAMES)
        assert_tells_facts(json.loads(archive.read("coda.json")), model)


def assert_tells_facts(found, model):
    assert set(found) == FACTS
    assert json.loads(found["class_names"]) == list(CLASS_NAMES)
    assert "[0, 255]" in found["pixels"]
    assert float(found["bias"]) == model.explain(pixels(1, RGB)).bias
    assert "plus bias[b], is logits[b, classes[b, k]]" in found["completeness"]


@pytest.mark.parametrize("format", ["onnx"], indirect=True)
def test_openvino_explains_by_onnx_and_predicts_by_the_saved_model(converted, tmp_path):
    openvino = pytest.importorskip("openvino")
    model, options, file = converted("squash")
    model.export(tmp_path / "1", **options, warmup=False)
    # float32 in any case: where CPUs have bfloat16 units, OpenVINO would round to it.
    settings = {"device_name": "CPU", "config": {"INFERENCE_PRECISION_HINT": "f32"}}
    maps = openvino.compile_model(openvino.convert_model(file), **settings)
    predictions = openvino.compile_model(openvino.convert_model(tmp_path / "1"), **settings)
    for batch in (1, 3, 32):
        images = pixels(batch, RGB).astype("float32")
        explanation = model.explain(images, **options)
        answer = maps({"images": images})
        assert_agrees({name: answer[maps.output(name)] for name in (*OUTPUTS, "linear_map")}, explanation)
        answer = predictions({"images": images})
        np.testing.assert_allclose(answer[predictions.output("logits")], explanation.logits, atol=1e-5)
        np.testing.assert_array_equal(answer[predictions.output("top_classes")], explanation.classes)


def test_a_format_is_a_module_and_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "keras", Format("tests.helpers.keras_format", ("json",)))
    small().export(tmp_path / "a", format="keras", top_k=2, classes=True)
    assert (tmp_path / "a").read_bytes() == b"0"
    with pytest.raises(ValueError, match="`format` must be .*'onnx' or 'litert' or 'keras'. Received: format='torch'"):
        small().export(tmp_path / "b", format="torch")


# === What goes wrong ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "torch"}, "`format` must be 'onnx' or 'litert'. Received: format='torch'"),
        ({"format": "litert", "classes": True}, "`classes` is for ONNX: .* Received: classes=True"),
        ({"format": "onnx", "top_k": 4}, "`top_k` must not exceed the 3 classes. Received: top_k=4"),
        ({"format": "onnx", "image_size": 9}, "`image_size` must be the network's"),
    ],
)
def test_wrong_arguments_leave_nothing_behind(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        single_file.convert(small(), tmp_path / "deep" / "a", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused_and_kept(tmp_path, format):
    (tmp_path / "a").write_text("precious")
    with pytest.raises(FileExistsError, match="must not exist yet. Received: filepath='.*/a'"):
        small().export(tmp_path / "a", format=format)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "precious")]


@pytest.mark.parametrize(
    ("format", "module"), [("onnx", "tf2onnx"), ("onnx", "onnxruntime"), ("litert", "ai_edge_litert")]
)
def test_a_missing_extra_is_named(tmp_path, monkeypatch, format, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'needs {module}. Received: .* pip install "keras-coda\[{format}\]"'):
        small().export(tmp_path / "a", format=format)


def test_other_backends_are_refused(tmp_path, monkeypatch, format):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="needs the TensorFlow backend. Received: backend='jax'"):
        small().export(tmp_path / "a", format=format)


def break_converter(monkeypatch, format, result):
    """Make the converter return, or raise, something else than the network."""
    module = importlib.import_module(FORMATS[format].module)

    def convert(*args, **kwargs):
        os.write(2, b"half a graph\n")
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(module, "convert", convert)


def test_a_failing_conversion_leaves_nothing_behind_and_shows_what_the_converter_said(
    tmp_path, monkeypatch, format, capfd
):
    break_converter(monkeypatch, format, OSError("No such operation"))
    with pytest.raises(OSError, match="No such operation"):
        small().export(tmp_path / "deep" / "a", format=format)
    assert list(tmp_path.iterdir()) == []
    assert "half a graph" in capfd.readouterr().err


def test_a_file_that_disagrees_with_keras_is_not_written(converted, monkeypatch, tmp_path, format):
    keras.utils.set_random_seed(1)
    _, options, file = converted("squash")
    other = strided("squash")
    break_converter(monkeypatch, format, file.read_bytes())
    with pytest.raises(RuntimeError, match="must agree with Keras. Received: relative differences"):
        other.export(tmp_path / "a", format=format, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_up_meanwhile_is_kept(converted, monkeypatch, tmp_path, format):
    model, options, file = converted("squash")
    break_converter(monkeypatch, format, file.read_bytes())
    check = single_file.check_agreement

    def slow_check(*args):
        (tmp_path / "a").write_text("precious")
        return check(*args)

    monkeypatch.setattr(single_file, "check_agreement", slow_check)
    with pytest.raises(FileExistsError, match="must not exist yet"):
        model.export(tmp_path / "a", format=format, **options)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "precious")]


def test_libraries_are_silent_until_they_fail_or_are_asked(tmp_path, monkeypatch, converted, format, capfd):
    model, options, file = converted("squash")
    break_converter(monkeypatch, format, file.read_bytes())
    model.export(tmp_path / "quiet", format=format, **options)
    assert capfd.readouterr() == ("", "")
    model.export(tmp_path / "loud", format=format, verbose=True, **options)
    assert "half a graph" in capfd.readouterr().err


def test_silence_ends_with_the_work(capfd):
    with hush():
        os.write(2, b"hidden")
        logging.getLogger("tf2onnx").warning("hidden")
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"
    assert logging.getLogger("tf2onnx").isEnabledFor(logging.WARNING)
