"""Rounding errors grow with what is added up: right maps of extreme networks pass, wrong ones of any do not."""

import numpy as np
import pytest

from keras_coda import serving
from keras_coda.explanations.completeness import TOLERANCE, completeness
from keras_coda.exporters import verify, warmup
from keras_coda.serving.requests import explain_request
from keras_coda.serving.responses import read_explanation
from tests.helpers.networks import pixels, small


@pytest.fixture(scope="module")
def extreme():
    """A network with logits of millions, images, and its explanation as a server's answer."""
    model, images = small(temperature=1e-7, class_names=("a", "b", "c")), pixels(20).astype("float32")
    found = model.explain(images, top_k=2)
    names = np.take(model.class_names, found.classes)
    answer = {
        name: getattr(found, name) for name in ("logits", "probabilities", "classes", "contributions", "residual")
    }
    return images, {**answer, "class_names": names, "bias": np.full(len(images), found.bias, "float32")}


@pytest.fixture
def as_checked(monkeypatch):
    """The check of an exported folder that gives an answer."""

    def check(answer):
        request = ("contributions", {"images": answer["logits"]})
        monkeypatch.setattr(verify, "lint_saved_model", lambda folder: [])
        monkeypatch.setattr(warmup, "example_requests", lambda folder: [request])
        monkeypatch.setattr(warmup, "run_signatures", lambda folder, requests: [answer])
        return verify.verify_saved_model("no folder")[-1]

    return check


def test_right_maps_of_an_extreme_network_pass(extreme, as_checked):
    images, answer = extreme
    assert answer["residual"].max() > 1e-3  # what a check without scale would refuse
    row = as_checked(answer)
    assert (row.name, row.passed) == ("maps sum to logits", True)
    assert "of what is added up" in row.detail
    found = read_explanation(explain_request(images), answer)
    residual, scale = completeness(found.contributions, found.bias, found.explained_logits)
    assert (residual <= 0.1 * TOLERANCE * scale).all()


@pytest.mark.parametrize("error", [1e-4, -1e-4])
def test_a_wrong_map_of_an_extreme_network_does_not(extreme, as_checked, error):
    images, answer = extreme
    maps = answer["contributions"].copy()
    maps[3, 1, 4, 3] += error * np.abs(maps[3, 1]).sum()
    altered = {**answer, "contributions": maps}
    assert not as_checked(altered).passed
    with pytest.raises(serving.IncompleteMaps, match="Received: image=3, rank=1"):
        read_explanation(explain_request(images), altered)


def test_a_map_for_a_small_logit_is_checked_as_closely():
    maps, logits = np.full((1, 1, 4, 4), 1e-6, "float32"), np.full((1, 1), 1.7e-5)
    residual, scale = completeness(maps, 0.0, logits)
    assert residual < 1e-4  # an absolute bound would accept it
    assert residual > TOLERANCE * scale
