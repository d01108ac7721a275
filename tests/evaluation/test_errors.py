import json
import os

import keras
import numpy as np
import pytest

import keras_coda
from keras_coda import CoDANet
from keras_coda.evaluation import LocalizationResult, PixelRemovalResult, localization, pixel_removal
from keras_coda.utils.errors import NotEnoughImagesError
from keras_coda.visualization import metrics
from tests.helpers.known_models import (
    Recorder,
    Weights,
    batches,
    channel_data,
    channel_images,
    channel_model,
    one_pixel_model,
    random_digits,
    raster,
)

# === Bad input ===


def make(metric, **options):
    if metric is localization:
        model, data = channel_model(), channel_data()
        options = {"n_grids": 2, "explainer": Recorder(), **options}
    else:
        model, data = one_pixel_model(), batches(*random_digits(8))
        options = {"n_images": 4, "points": 2, **options}
    return metric(options.pop("model", model), options.pop("dataset", data), verbose=False, **options)


both = pytest.mark.parametrize("metric", [localization, pixel_removal])


@both
@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda images: np.zeros((len(images), 3, 3)), r"'broken' must have the shape \(.*Received: shape="),
        (lambda images: np.zeros((1, *images.shape)), "'broken' must have the shape"),
        (lambda images: np.full(images.shape[:3], np.nan), "'broken' must be finite"),
        (lambda images: np.full(images.shape[:3], np.inf), "'broken' must be finite"),
        (lambda images: np.full(images.shape[:3], "a"), "'broken' must hold real numbers"),
        (lambda images: None, "'broken' must have the shape"),
    ],
)
def test_explainers_that_return_something_else_are_named(metric, returned, message):
    def broken(model, images, classes):
        return returned(images)

    with pytest.raises(ValueError, match=message):
        make(metric, explainer=broken)


@both
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, labels: [images], "must yield .images, labels.*true classes"),
        (lambda images, labels: [(images,)], "must yield .images, labels.*true classes"),
        (lambda images, labels: [(images, None)], "true classes"),
        (lambda images, labels: (images, labels), "true classes"),
        (lambda images, labels: 3, "must yield .images, labels"),
        (lambda images, labels: [], "must yield images"),
        (lambda images, labels: keras_coda.data.load("digits"), "data.validation"),
        (lambda images, labels: [(images, labels + 0.5)], "Labels must be integers.*labels=.0.5"),
        (lambda images, labels: [(images, np.eye(11, dtype=int)[labels])], "Labels must be integers.*shape=.*11"),
        (lambda images, labels: [(images[0], labels[0])], "Labels must be integers.*batch the data set"),
        (lambda images, labels: [(images, labels[1:])], "Labels must be integers"),
        (
            lambda images, labels: [(images, labels + 10)],
            r"Labels must be in \[0, .*\]\. Number the classes from 0, or use .*\.$",
        ),
        (lambda images, labels: [(images, labels - 1)], r"Labels must be in \[0, .*-1"),
        (lambda images, labels: [(images[..., :0], labels)], "Images must have shape"),
        (lambda images, labels: [(np.full(images.shape, np.nan), labels)], "Pixels must be finite"),
    ],
)
def test_wrong_data_are_refused(metric, change, message):
    images, labels = channel_data(batch_size=40)[0] if metric is localization else random_digits(8)
    with pytest.raises(ValueError, match=message):
        make(metric, dataset=change(images, labels))


@both
@pytest.mark.parametrize(
    "options",
    [{"explainer": 3}, {"batch_size": 0}, {"seed": -1}, {"n_grids": 0, "n_images": 0}, {"points": 0, "grid": 1},
     {"confidence": 1.0, "fraction": 0.0}, {"confidence": -1, "fraction": 1.5}, {"n_grids": 1.5, "order": "best"}],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(metric, options):
    foreign = (
        {"n_images", "points", "fraction", "order"} if metric is localization else {"n_grids", "grid", "confidence"}
    )
    options = {name: value for name, value in options.items() if name not in foreign}
    with pytest.raises(ValueError, match=rf"`({'|'.join(options)})` must .*Received: "):
        make(metric, **options)


@pytest.mark.parametrize("grid", [1, 0, 2.0, True, "2", (2,), (1, 1), (0, 4), (2, 2, 1), (1.5, 2)])
def test_what_is_no_grid_is_refused(grid):
    with pytest.raises(ValueError, match=r"`grid` must .*Received: "):
        make(localization, grid=grid)


@both
def test_images_of_several_sizes_are_refused(metric):
    images = channel_images(np.arange(10), 200.0)
    larger = channel_images(np.arange(10), 200.0, size=4)
    labels = np.arange(10, dtype="int32")
    model = channel_model() if metric is localization else CoDANet(10, input_shape=(None, None, 10), filters=(10,))
    more = {} if metric is localization else {"n_images": 20}
    with pytest.raises(ValueError, match="one size"):
        make(metric, model=model, dataset=[(images, labels), (larger, labels)], explainer=raster, **more)


def test_too_few_classes_or_confident_images_for_a_grid_are_refused():
    with pytest.raises(ValueError, match="needs 16 different classes.*grid=4, num_classes=10"):
        make(localization, grid=4)
    with pytest.raises(ValueError, match=r"needs 12 different classes.*grid=\(3, 4\), num_classes=10"):
        make(localization, grid=(3, 4))
    with pytest.raises(NotEnoughImagesError, match="at least 2 different classes. Received: num_classes=1"):
        make(localization, model=channel_model(1))
    images, labels = channel_data(batch_size=40)[0]
    few = labels < 8
    with pytest.raises(ValueError, match="of 9 classes .*classes=8"):
        make(localization, dataset=[(images[few], labels[few])])
    with pytest.raises(NotEnoughImagesError, match="confidence above 0.5.*classes=0"):
        make(localization, dataset=[(images / 2, labels)])


@pytest.mark.slow
def test_models_and_data_sets_that_a_metric_cannot_use_are_refused(digits):
    model, data = digits
    with pytest.raises(ValueError, match="come to an end"):
        make(localization, model=model, dataset=data.repeat())
    with pytest.raises(ValueError, match="input .None, None, channels"):
        make(localization, model=channel_model(size=2))
    with pytest.raises(ValueError, match="explainable model encodes the image"):
        make(pixel_removal, model=channel_model())


def test_removal_takes_encodings_smaller_than_the_image():
    inputs = keras.Input((4, 4, 1))
    outputs = Weights(np.zeros((2, 2, 1, 2)))(keras.layers.AveragePooling2D(2)(inputs))
    assert np.isfinite(make(pixel_removal, model=keras.Model(inputs, outputs)).mean)


# === Results, files, progress ===


def results():
    rng = np.random.default_rng(0)
    found = LocalizationResult("contribution maps", 5, rng.random((3, 9)), rng.integers(0, 10, (3, 9)), 3)
    removed = PixelRemovalResult(
        "GradCAM", 4, "least", np.arange(3) / 8, rng.random(3), rng.random((3, 3)), rng.random(4)
    )
    return found, removed


@pytest.mark.parametrize("result", results(), ids=lambda result: type(result).__name__)
def test_results_survive_json(result, tmp_path):
    text = result.to_json(tmp_path / "result.json")
    contents = json.loads((tmp_path / "result.json").read_text())
    assert contents == json.loads(text) == json.loads(result.to_json())
    assert contents["summary"]["mean"] == result.mean
    assert os.listdir(tmp_path) == ["result.json"]
    again = type(result).from_json(tmp_path / "result.json")
    assert again.to_json() == text
    assert again.standard_error == result.standard_error
    other = next(type(r) for r in results() if type(r) is not type(result))
    with pytest.raises(ValueError, match=f"must hold a {other.__name__}"):
        other.from_json(tmp_path / "result.json")


def test_a_single_unit_has_no_standard_error():
    result = LocalizationResult("x", 1, np.ones((1, 4)), np.zeros((1, 4), int), 2)
    assert json.loads(result.to_json())["summary"]["standard_error"] is None
    assert repr(result) == "<LocalizationResult x: 1.000 (1 of 1)>"
    assert result.footnote == "1 grid of 2x2 images"
    words = [text.get_text() for text in result.plot().axes[0].texts]
    assert any(word.startswith("1.000  ") for word in words)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    path.write_text("old")

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results()[0].to_json(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


@both
def test_an_interrupted_evaluation_leaves_nothing(metric, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def interrupted(model, images, classes):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(metric, explainer=interrupted)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("result", results(), ids=lambda result: type(result).__name__)
def test_results_draw_themselves(result, tmp_path):
    figure = result.plot()
    assert figure._repr_png_()[:4] == b"\x89PNG"
    keras_coda.visualization.save_picture(figure, tmp_path / "figure.png", dpi=50)
    draw = metrics.plot_localization if isinstance(result, LocalizationResult) else metrics.plot_pixel_removal
    figure = draw([result, result], ["ours", "theirs"])
    words = [text.get_text() for text in figure.axes[0].get_yticklabels() + figure.axes[0].texts]
    words += [text.get_text() for legend in [figure.axes[0].get_legend()] if legend for text in legend.get_texts()]
    assert any("ours" in word for word in words)
    assert any(f"{result.mean:.3f}" in word for word in words)
    with pytest.raises(ValueError, match="one label for each"):
        draw([result], ["a", "b"])


@both
@pytest.mark.parametrize("known", [True, False])
def test_progress_is_shown_if_asked_for(metric, known, capsys):
    data = channel_data() if metric is localization else batches(*random_digits(8))
    make(metric, dataset=iter(data))
    assert capsys.readouterr().out == ""
    options = {"n_grids": 2, "explainer": Recorder()} if metric is localization else {"n_images": 4, "points": 2}
    model = channel_model() if metric is localization else one_pixel_model()
    metric(model, data if known else iter(data), verbose=True, **options)
    assert ("2/2" if metric is localization else "4/4") in capsys.readouterr().out
