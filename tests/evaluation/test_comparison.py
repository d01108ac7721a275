import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_coda import GlobalSumPooling2D, LogitScaling, posthoc
from keras_coda.utils.checks import require
from tests.helpers.known_models import channel_data, raster

SMALL = {"n_grids": 2, "n_images": 12, "points": 2, "verbose": False}


def pooled_model(num_classes=10):
    """The logit of class k is the sum of channel k divided by 40, less 12.75, at any size of image."""
    inputs = keras.Input((None, None, num_classes))
    x = GlobalSumPooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, LogitScaling(40 / 255, -12.75)(x))


def uniform(model, images, classes):
    return np.ones(images.shape[:3])


def test_comparison_of_known_maps():
    comparison = posthoc.compare(pooled_model(), channel_data(), ["GradientsInputs", uniform, raster], **SMALL)
    assert comparison.names == ("contribution maps", "GradientsInputs", "uniform", "raster")
    localization = [result.mean for result in comparison.localization]
    assert localization[:3] == pytest.approx([1, 1, 1 / 9])
    assert localization[3] < 1
    assert len({result.curve[0] for result in comparison.pixel_removal}) == 1
    lines = str(comparison).splitlines()
    assert lines[0].startswith("| method ")
    assert "chance 0.111" in lines[0]
    assert lines[2].startswith("| contribution maps | **1.000 ± 0.000** ")
    assert lines[4].startswith("| uniform           | 0.111 ± 0.000 ")
    assert lines[-1] == (
        "Mean ± standard error; 2 grids of 3x3 images; 12 images, up to 25% of the pixels, least important first."
    )


def test_comparison_of_trained_digits(digits, tmp_path):
    model, data = digits
    methods = ["GradCAM", posthoc.OcclusionSensitivity(3, strides=3)]
    comparison = posthoc.compare(model, data, methods, n_grids=5, n_images=32, points=4, verbose=False)
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
        posthoc.compare(model, data, [raster, counted], out=out, **SMALL)
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
    resumed = posthoc.compare(model, data, [raster, counted], out=out, **SMALL)
    assert set(calls) == {2}  # no grid was explained again
    whole = posthoc.compare(model, data, [raster, counted], **SMALL)
    assert resumed.to_json() == whole.to_json()
    calls.clear()
    rebuilt = keras.Model.from_config(model.get_config())  # weights and arguments count, not the object
    assert posthoc.compare(rebuilt, data, [counted, uniform], out=out, **SMALL).names[-1] == "uniform"
    assert not calls


@pytest.mark.parametrize("out", [None, "comparison"])
def test_an_interruption_before_the_first_result_leaves_nothing(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_coda.explanations.explainers.explain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        posthoc.compare(pooled_model(), channel_data(), [raster], out=out, **SMALL)
    assert os.listdir(tmp_path) == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    model, data, out = pooled_model(), channel_data(), tmp_path / "comparison"
    options = {**SMALL, "out": out}

    def named(model, images, classes):
        return raster(model, images, classes)

    named.__name__ = "IntegratedGradients(steps=2)"
    posthoc.compare(model, data, [raster], **options)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match=r"goes on with.*n_grids=1 \(it was 2\), points=3 \(it was 2\)"):
        posthoc.compare(model, data, [raster], **{**options, "n_grids": 1, "points": 3})
    with pytest.raises(ValueError, match=r"goes on with.*dataset='.*' \(it was"):
        posthoc.compare(model, data[:-1], [raster], **options)
    inputs = model.inputs
    x = GlobalSumPooling2D()(keras.layers.Rescaling(1 / 255)(inputs[0]))
    warmer = keras.Model(inputs, LogitScaling(30 / 255, -12.75)(x))  # it has no weights that could tell
    with pytest.raises(ValueError, match=r"goes on with.*model='.*' \(it was"):
        posthoc.compare(warmer, data, [raster], **options)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    posthoc.compare(model, data, [posthoc.IntegratedGradients(2)], **options)
    with pytest.raises(ValueError, match=r"IntegratedGradients\(steps=2\)=.*it was 'IntegratedGradients\(encoded"):
        posthoc.compare(model, data, [named], **options)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    for path in (foreign, foreign / "notes.txt"):
        with pytest.raises(ValueError, match="must be new, empty or hold a comparison.*notes.txt"):
            posthoc.compare(model, data, [raster], **{**options, "out": path})


def test_explainers_and_data_that_cannot_be_compared_are_refused(tmp_path):
    model, data = pooled_model(), channel_data()

    def broken(model, images, classes):
        return np.full(images.shape[:3], np.nan)

    with pytest.raises(ValueError, match="'broken' must be finite"):
        posthoc.compare(model, data, [broken], **SMALL)
    with pytest.raises(ValueError, match="different names.*raster"):
        posthoc.compare(model, data, [raster, raster], **SMALL)
    with pytest.raises(ValueError, match="post-hoc method must be one of"):
        posthoc.compare(model, data, ["DeepLIFT"], **SMALL)
    with pytest.raises(ValueError, match="`methods` must be a list"):
        posthoc.compare(model, data, "GradCAM", **SMALL)
    with pytest.raises(ValueError, match="`explainer` must be"):
        posthoc.compare(model, data, [3], **SMALL)
    with pytest.raises(ValueError, match="readable several times"):
        posthoc.compare(model, iter(data), [raster], **SMALL)
    with pytest.raises(ValueError, match="true classes"):
        posthoc.compare(model, [images for images, _ in data], [raster], **SMALL)
    with pytest.raises(ValueError, match="confidence above 0.5"):
        posthoc.compare(model, [(images / 2, labels) for images, labels in data], [raster], **SMALL)
    with pytest.raises(ValueError, match="`n_grids` must be a positive integer"):
        posthoc.compare(model, data, [raster], **{**SMALL, "n_grids": 0, "out": tmp_path / "out"})
    assert os.listdir(tmp_path) == []


def test_data_in_another_order_each_time_are_refused():
    images, labels = (np.concatenate(parts) for parts in zip(*channel_data(), strict=True))
    shuffled = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(40).batch(8)
    with pytest.raises(ValueError, match="same order every time.*Do not shuffle"):
        posthoc.compare(pooled_model(), shuffled, [raster], **SMALL)


def test_progress_is_shown_if_asked_for(capsys):
    posthoc.compare(pooled_model(), channel_data(), [raster], **SMALL)
    assert capsys.readouterr().out == ""
    posthoc.compare(pooled_model(), channel_data(), [raster], **{**SMALL, "verbose": True})
    assert "raster: pixel removal" in capsys.readouterr().out
