import dataclasses
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_coda import GlobalSumPooling2D, LogitScaling, posthoc
from keras_coda.evaluation import (
    METRICS,
    Metric,
    NotEnoughImagesError,
    Result,
    compare,
    labeled_batches,
    localization,
    pixel_removal,
)
from keras_coda.explanations.explainers import attributions, name_of
from keras_coda.utils.checks import require
from tests.helpers.known_models import channel_data, pooled_model, raster

SMALL = {"n_grids": 2, "n_images": 12, "points": 2, "verbose": False}


def uniform(model, images, classes):
    return np.ones(images.shape[:3])


def test_comparison_of_known_maps():
    comparison = compare(pooled_model(), channel_data(), ["GradientsInputs", uniform, raster], **SMALL)
    assert comparison.names == ("contribution maps", "GradientsInputs", "uniform", "raster")
    localization = [result.mean for result in comparison.localization]
    assert localization[:3] == pytest.approx([1, 1, 1 / 9])
    assert localization[3] < 1
    assert len({result.curve[0] for result in comparison.pixel_removal}) == 1
    finding, table = str(comparison).split("\n\n", 1)
    first, second = finding.split(". ", 1)
    assert first == "Localization: contribution maps 1.000, 0.000 ± 0.000 above the best other method, GradientsInputs"
    assert second.startswith("Pixel removal: contribution maps ")
    lines = table.splitlines()
    assert lines[0].startswith("| method ")
    assert "chance 0.111" in lines[0]
    assert lines[2].startswith("| contribution maps | **1.000 ± 0.000** ")
    assert lines[4].startswith("| uniform           | 0.111 ± 0.000 ")
    assert lines[-1] == (
        "Mean ± standard error; 2 grids of 3x3 images; 12 images, up to 25% of the pixels, least important first."
    )


@pytest.mark.slow
def test_a_comparison_is_what_separate_calls_measure_and_predicts_each_batch_once(digits, monkeypatch):
    model, data = digits
    options = {"n_grids": 4, "seed": 3, "batch_size": 3}
    removal = {"n_images": 24, "points": 4, "order": "most", "seed": 3, "batch_size": 3}
    explainers = [None, posthoc.GradientsInputs(), raster]
    shapes, predict = [], model.predict_on_batch
    monkeypatch.setattr(model, "predict_on_batch", lambda images: shapes.append(len(images)) or predict(images))
    comparison = compare(model, data, explainers[1:], **{**options, **removal}, verbose=False)
    assert shapes == [len(part) for images, _ in data for part in np.split(images, range(32, len(images), 32))]
    for row, explainer in enumerate(explainers):
        alone = localization(model, data, explainer=explainer, **options, verbose=False)
        assert comparison.localization[row].to_json() == alone.to_json()
        alone = pixel_removal(model, data, explainer=explainer, **removal, verbose=False)
        assert comparison.pixel_removal[row].to_json() == alone.to_json()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SpreadResult(Result):
    axis_label = "spread"
    values: np.ndarray

    @property
    def scores(self):
        return self.values


def test_a_third_metric_joins_a_comparison_by_one_entry(monkeypatch, tmp_path):
    prepared = []

    def prepare(model, dataset, *, n_images, more=7):
        prepared.append((n_images, more))
        images, labels = next(labeled_batches(dataset, model, limit=n_images))

        def measure(explainer):
            maps = attributions(explainer, model, images.astype("float32"), labels[:, None])
            return SpreadResult(name_of(explainer), n_images, maps.std(axis=(1, 2, 3)))

        return measure

    monkeypatch.setitem(METRICS, "spread", Metric(SpreadResult, prepare))
    comparison = compare(pooled_model(), channel_data(), [uniform, raster], **SMALL, out=tmp_path)
    assert prepared == [(12, 7)]
    spread = comparison.results["spread"]
    assert [result.mean for result in spread[:2]] == pytest.approx([spread[0].mean, 0])
    lines = comparison.table().splitlines()
    assert lines[0].endswith("| Spread            |")
    assert lines[-1].endswith("important first; 7 units.")
    assert [axes.get_xlabel() for axes in comparison.plot().axes][2] == "spread"
    assert spread[0].plot().axes[0].get_xlabel() == "spread"
    assert json.loads(comparison.to_json())["spread"][1]["explainer"] == "uniform"
    again = compare(pooled_model(), channel_data(), [uniform, raster], **SMALL, out=tmp_path)
    assert again.to_json() == comparison.to_json()
    assert len(prepared) == 1


@pytest.mark.slow
def test_comparison_of_trained_digits(digits, tmp_path):
    model, data = digits
    methods = ["GradCAM", posthoc.OcclusionSensitivity(3, strides=3)]
    comparison = compare(model, data, methods, n_grids=5, n_images=32, points=4, verbose=False)
    ours, *others = (result.mean for result in comparison.localization)
    assert ours > max(others) > 1 / 9
    contents = json.loads(comparison.to_json(tmp_path / "comparison.json"))
    assert json.loads((tmp_path / "comparison.json").read_text()) == contents
    assert [result["explainer"] for result in contents["pixel_removal"]] == list(comparison.names)
    figure = comparison.plot()
    assert figure._repr_png_()[:4] == b"\x89PNG"
    names = [text.get_text().replace("\n", "") for text in figure.axes[0].get_yticklabels()]
    assert names == list(comparison.names)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert all(text.startswith(name) for text, name in zip(texts, names, strict=True))


def test_an_interrupted_comparison_goes_on_where_it_was(tmp_path):
    out, calls, broken = tmp_path / "runs" / "comparison", [], [True]

    def counted(model, images, classes):
        calls.append(images.shape[1])
        require(not (broken[0] and images.shape[1] == 2), "Interrupted")  # at pixel removal
        return raster(model, images, classes)

    model, data = pooled_model(), channel_data()
    with pytest.raises(ValueError, match="Interrupted"):
        compare(model, data, [raster, counted], out=out, **SMALL)
    assert sorted(os.listdir(out)) == [
        "arguments.json",
        "localization-contribution maps.json",
        "localization-counted.json",
        "localization-raster.json",
        "pixel_removal-contribution maps.json",
        "pixel_removal-raster.json",
    ]
    broken[0] = False
    calls.clear()
    resumed = compare(model, data, [raster, counted], out=out, **SMALL)
    assert set(calls) == {2}  # no grid was explained again
    whole = compare(model, data, [raster, counted], **SMALL)
    assert resumed.to_json() == whole.to_json()
    calls.clear()
    rebuilt = keras.Model.from_config(model.get_config())  # weights and arguments count, not the object
    assert compare(rebuilt, data, [counted, uniform], out=out, **SMALL).names[-1] == "uniform"
    assert not calls


@pytest.mark.parametrize("out", [None, "comparison"])
def test_an_interruption_before_the_first_result_leaves_nothing(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_coda.explanations.explainers.explain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(pooled_model(), channel_data(), [raster], out=out, **SMALL)
    assert os.listdir(tmp_path) == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    model, data, out = pooled_model(), channel_data(), tmp_path / "comparison"
    options = {**SMALL, "out": out}

    def named(model, images, classes):
        return raster(model, images, classes)

    named.__name__ = "IntegratedGradients(steps=2)"
    compare(model, data, [raster], **options)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(
        ValueError,
        match=r"A comparison can be resumed only with the arg.*n_grids=1 \(it was 2\), points=3 \(it was 2\)",
    ):
        compare(model, data, [raster], **{**options, "n_grids": 1, "points": 3})
    with pytest.raises(
        ValueError,
        match=r"A comparison can be resumed only with the arguments that it began with.*dataset='.*' \(it was",
    ):
        compare(model, data[:-1], [raster], **options)
    inputs = model.inputs
    x = GlobalSumPooling2D()(keras.layers.Rescaling(1 / 255)(inputs[0]))
    warmer = keras.Model(inputs, LogitScaling(30 / 255, -12.75)(x))  # it has no weights that could tell
    with pytest.raises(
        ValueError, match=r"A comparison can be resumed only with the arguments that it began with.*model='.*' \(it was"
    ):
        compare(warmer, data, [raster], **options)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    compare(model, data, [posthoc.IntegratedGradients(2)], **options)
    with pytest.raises(ValueError, match=r"IntegratedGradients\(steps=2\)=.*it was 'IntegratedGradients\(encoded"):
        compare(model, data, [named], **options)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    for path in (foreign, foreign / "notes.txt"):
        with pytest.raises(ValueError, match="must be new, empty or hold a comparison.*notes.txt"):
            compare(model, data, [raster], **{**options, "out": path})


def test_explainers_and_data_that_cannot_be_compared_are_refused(tmp_path):
    model, data = pooled_model(), channel_data()

    def broken(model, images, classes):
        return np.full(images.shape[:3], np.nan)

    with pytest.raises(ValueError, match="'broken' must be finite"):
        compare(model, data, [broken], **SMALL)
    with pytest.raises(ValueError, match="different names.*raster"):
        compare(model, data, [raster, raster], **SMALL)
    with pytest.raises(ValueError, match="post-hoc method must be one of"):
        compare(model, data, ["DeepLIFT"], **SMALL)
    with pytest.raises(ValueError, match="`methods` must be a list"):
        compare(model, data, "GradCAM", **SMALL)
    with pytest.raises(ValueError, match="`explainer` must be"):
        compare(model, data, [3], **SMALL)
    with pytest.raises(ValueError, match="readable several times"):
        compare(model, iter(data), [raster], **SMALL)
    with pytest.raises(ValueError, match="true classes"):
        compare(model, [images for images, _ in data], [raster], **SMALL)
    with pytest.raises(ValueError, match=r"needs 16 different classes.*grid=4, num_classes=10"):
        compare(model, data, [raster], grid=4, **{**SMALL, "out": tmp_path / "out"})
    with pytest.raises(ValueError, match="`n_grids` must be a positive integer"):
        compare(model, data, [raster], **{**SMALL, "n_grids": 0, "out": tmp_path / "out"})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("num_classes", "shape"), [(2, "1x2"), (3, "1x3"), (5, "2x2")])
def test_few_classes_are_compared_on_smaller_grids(num_classes, shape, tmp_path):
    model, data = pooled_model(num_classes), channel_data(num_classes=num_classes)
    options = {**SMALL, "n_images": 6, "out": tmp_path / "out"}
    comparison = compare(model, data, [raster], **options)
    assert comparison.localization[0].mean == pytest.approx(1)
    assert f"2 grids of {shape} images" in comparison.table()
    resumed = compare(model, data, [raster], **options)
    assert resumed.to_json() == comparison.to_json()
    explicit = comparison.localization[0].grid
    assert compare(model, data, [raster], grid=explicit, **options).to_json() == comparison.to_json()


@pytest.mark.parametrize("kept", [[], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_without_enough_confident_images_the_comparison_goes_on_and_says_so(kept, tmp_path):
    model = pooled_model()
    data = [(np.where(np.isin(labels, kept)[:, None, None, None], x, x / 2), labels) for x, labels in channel_data()]
    with pytest.raises(NotEnoughImagesError, match="confidence above 0.5"):
        localization(model, data, verbose=False)
    for out in (None, tmp_path / "out", tmp_path / "out"):
        comparison = compare(model, data, [raster], out=out, **SMALL)
        assert comparison.names == ("contribution maps", "raster")
        assert comparison.localization == ()
        (note,) = comparison.notes
        assert note.startswith("Without localization: A grid needs correctly classified images of 9 classes")
        assert comparison.table().endswith(note)
        assert set(json.loads(comparison.to_json())) == {"pixel_removal"}
        assert len(comparison.plot().axes) == 1


def test_data_in_another_order_each_time_are_refused():
    images, labels = (np.concatenate(parts) for parts in zip(*channel_data(), strict=True))
    shuffled = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(40).batch(8)
    with pytest.raises(ValueError, match="same order every time.*Do not shuffle"):
        compare(pooled_model(), shuffled, [raster], **SMALL)


def test_progress_is_shown_if_asked_for(capsys):
    compare(pooled_model(), channel_data(), [raster], **SMALL)
    assert capsys.readouterr().out == ""
    compare(pooled_model(), channel_data(), [raster], **{**SMALL, "verbose": True})
    assert "raster: pixel removal" in capsys.readouterr().out
