"""Claims about what results say of themselves, and about contrasts of two classes."""

import dataclasses
import html.parser

import numpy as np
import pytest

from keras_coda import Explanation
from keras_coda.evaluation import Comparison, LocalizationResult, PixelRemovalResult
from keras_coda.tuning import TemperatureStudy, TuningResult


def explanation(count=3, names=("cat", "dog", "<b>|x"), seed=0):
    """An explanation of random maps that sum to the logits less the bias."""
    rng = np.random.default_rng(seed)
    contributions = rng.normal(size=(count, 2, 4, 5)).astype("float32")
    classes = np.array([rng.permutation(3)[:2] for _ in range(count)], "int32").reshape(count, 2)
    logits = rng.normal(size=(count, 3)).astype("float32")
    np.put_along_axis(logits, classes, contributions.sum(axis=(2, 3)) - 2, axis=1)
    residual = np.full((count, 2), 1e-6, "float32")
    images = np.zeros((count, 4, 5, 3), "float32")
    probabilities = 1 / (1 + np.exp(-logits))
    return Explanation(images, logits, probabilities, classes, contributions, residual, -2.0, class_names=names)


class Reader(html.parser.HTMLParser):
    """Collects the cells of tables, and checks that tags are closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.rows = [], [], 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.rows += tag == "tr"
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


# === Contrasts ===


def test_a_contrast_sums_to_the_difference_of_the_logits():
    whole = explanation(20)
    contrast = whole.contrast()
    assert contrast.contributions.shape == (20, 4, 5)
    differences = whole.explained_logits[:, 0] - whole.explained_logits[:, 1]
    np.testing.assert_array_equal(contrast.difference, differences)
    np.testing.assert_allclose(contrast.contributions.sum(axis=(1, 2)), differences, atol=1e-4)
    assert contrast.residual.max() < 1e-4
    broken = dataclasses.replace(contrast, contributions=contrast.contributions + 1)
    np.testing.assert_allclose(broken.residual, 20, atol=1e-4)


def test_the_classes_of_a_contrast_may_be_names_indices_or_one_for_each_image():
    whole = explanation(1)
    first, second = whole.classes[0]
    forward, backward = whole.contrast(), whole.contrast(second, first)
    np.testing.assert_array_equal(backward.contributions, -forward.contributions)
    named = whole.contrast(whole.class_names[second], whole.class_names[first])
    np.testing.assert_array_equal(named.contributions, backward.contributions)
    several = explanation(6)
    turned = several.contrast(several.classes[:, 1], several.classes[:, 0].tolist())
    np.testing.assert_array_equal(turned.contributions, -several.contrast().contributions)
    assert turned.classes.tolist() == several.classes[:, ::-1].tolist()


def test_a_contrast_of_a_network_is_exact(digits):
    model, data = digits
    images = next(iter(data))[0][:4]
    contrast = model.explain(images, top_k=2).contrast()
    assert (contrast.difference > 0).all()
    assert contrast.residual.max() < 1e-4
    chosen = model.explain(images, np.tile([3, 8], (4, 1)), wrt="dau_1").contrast("8", 3)
    assert contrast.plot(labels=[0, 1, 2, 3])._repr_png_()[:4] == b"\x89PNG"
    assert (chosen.wrt, chosen.names) == ("dau_1", [("8", "3")] * 4)
    assert chosen.residual.max() < 1e-4


@pytest.mark.parametrize(
    ("this", "that", "match"),
    [
        (0, 0, "compared with another one. Received: this=0, that=0"),
        (7, None, r"in \[0, 2\]. Received: classes=\[7\]"),
        ("bird", None, "Received: 'bird'"),
        ([0, 1], None, "for 1 images"),
        ([[0, 1]], None, "`this` must be one class, or one for each image"),
        (2, None, "Both classes of a contrast must have been explained.*images_without_its_map=.0.*Explain both"),
    ],
)
def test_wrong_contrasts_are_refused(this, that, match):
    one = dataclasses.replace(explanation(1), classes=np.array([[0, 1]], "int32"))
    with pytest.raises(ValueError, match=match):
        one.contrast(this, that)


def test_one_class_alone_has_no_contrast():
    whole = explanation(2)
    one = dataclasses.replace(whole, classes=whole.classes[:, :1], contributions=whole.contributions[:, :1])
    with pytest.raises(ValueError, match=r"needs the maps of two classes.*`model.explain\(images, top_k=2\)`"):
        one.contrast()


# === Short summaries ===


def test_an_explanation_shows_a_summary_and_in_notebooks_a_table():
    whole = explanation(12)
    assert repr(whole) == "<Explanation: 12 images of 4x5x3, 2 of 3 classes each, largest residual 1.0e-06>"
    assert "1 image of" in repr(whole[0])
    assert "0 images of" in repr(whole[:0])
    assert "by the output of 'dau_1'" in repr(dataclasses.replace(whole, wrt="dau_1"))
    page = Reader(whole._repr_html_())
    assert page.rows == 1 + 2 * 10
    assert page.cells[:5] == ["image", "class", "logit", "probability", "residual"]
    assert set(page.cells) >= {"cat", "dog", "<b>|x", "1.0e-06"}
    assert "2 more images." in whole._repr_html_()
    assert "class 1" in Reader(explanation(5, names=None)._repr_html_()).cells
    contrast = whole.contrast()
    assert repr(contrast).startswith("<Contrast: 12 images, ")
    assert len(repr(contrast)) < 200
    assert Reader(contrast._repr_html_()).rows == 11


def test_comparisons_searches_and_studies_show_summaries_too():
    located = LocalizationResult("maps", 2, np.full((2, 4), 0.75), np.zeros((2, 4), int), 2)
    removed = PixelRemovalResult("maps", 4, "least", np.arange(3) / 8, np.ones(3), np.ones((3, 3)), np.ones(4))
    comparison = Comparison({"localization": (located,), "pixel_removal": (removed,)}, ("A note.",))
    assert repr(comparison) == "<Comparison: maps by localization, pixel_removal>"
    page = Reader(comparison._repr_html_())
    assert page.rows == 2
    assert "<b>0.750 ± 0.000</b>" in comparison._repr_html_()
    assert "<p>A note.</p>" in comparison._repr_html_()
    values = {"temperature": 5.0, "rank_multiplier": 1.0, "learning_rate": 0.01, "linear_map_regularization": 0.0}
    trial = {"trial": "3", "status": "COMPLETED", "score": 1.5, "epochs": 2, "val_accuracy": 0.9, "localization": 0.6}
    trial |= {
        "localization_error": 0.1,
        "localization_grids": 4.0,
        "localization_chance": 0.25,
        "message": None,
        **values,
    }
    result = TuningResult("val_accuracy + localization", (trial,))
    assert repr(result) == "<TuningResult: 1 trials, best val_accuracy + localization 1.500 in trial 3>"
    assert "localization (chance 0.250)" in Reader(result._repr_html_()).cells
    failed = {**trial, "score": None, "message": "a | b", "status": "FAILED"}
    assert "none completed" in repr(TuningResult("val_accuracy", (failed,)))
    assert "a | b" in Reader(TuningResult("val_accuracy", (failed,))._repr_html_()).cells
    study = TemperatureStudy(())
    assert repr(study) == "<TemperatureStudy: 0 runs at the temperatures none>"
    assert Reader(study._repr_html_()).rows == 1
