"""Claims about the maps and texts of the page."""

import dataclasses

import numpy as np
import pytest

from keras_coda.explorer import rendering
from keras_coda.explorer.examples import examples
from keras_coda.explorer.rendering import STYLES
from keras_coda.explorer.sessions import Picture

pytestmark = pytest.mark.slow


def test_maps_have_the_colors_of_the_figures(digits_network):
    explanation = digits_network.explain(examples(1)[7].image((8, 8), 1))
    contributions = explanation.contributions[0, 0]
    limit = rendering.limit_of(contributions, 90)
    assert limit == pytest.approx(np.percentile(np.abs(contributions), 90))
    shown = rendering.map_pixels(explanation, 90, STYLES[0]).astype(int)
    clearly = np.abs(contributions) > limit / 10
    assert ((shown[..., 0] > shown[..., 2]) == (contributions > 0))[clearly].all()
    colored = rendering.map_pixels(explanation, 100, STYLES[1])
    assert colored.shape == (8, 8, 3)
    for wrong in ((101, STYLES[0]), (90, "else")):
        with pytest.raises(ValueError, match="Received"):
            rendering.map_pixels(explanation, *wrong)


def test_names_are_text(digits_network):
    explanation = digits_network.explain(examples(1)[0].image((8, 8), 1))
    names = ("<script>", *map(str, range(1, 10)))
    explanation = dataclasses.replace(explanation, class_names=names)
    shown = rendering.bars(explanation) + rendering.map_view(explanation, 99.5, STYLES[0])
    shown += rendering.message("<script>") + rendering.gallery([Picture('"><script>', b"")])
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
