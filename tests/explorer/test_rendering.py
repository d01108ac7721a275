"""Claims about the maps and texts of the page."""

import dataclasses

import numpy as np
import pytest
from matplotlib import colormaps

from keras_coda.explorer import drawing, rendering
from keras_coda.explorer.examples import examples
from keras_coda.explorer.grid_rendering import grid_said, grid_table, grid_view
from keras_coda.explorer.sessions import Picture
from keras_coda.explorer.view import STYLES, View
from keras_coda.visualization.colors import COLORS

pytestmark = pytest.mark.slow
# What people without one kind of cones see, as matrices on linear RGB (Machado, Oliveira and Fernandes, 2009).
EYES = {
    "usual": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color, eyes):
    """A color of the screen in CIELAB, as some eyes see it."""
    color = np.asarray(color[:3])
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(np.maximum(XYZ @ np.clip(eyes @ linear, 0, 1) / XYZ.sum(axis=1), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES)
def test_for_and_against_differ_for_all_eyes(eyes):
    for strength in (0.25, 0.5, 0.75, 1):
        pair = [lab(colormaps[COLORS](0.5 + sign * strength / 2), np.array(EYES[eyes])) for sign in (1, -1)]
        assert np.linalg.norm(pair[0] - pair[1]) > 20  # 2 is just noticeable


def test_maps_have_the_colors_of_the_figures(digits_network):
    explanation = digits_network.explain(examples(1)[7].image((8, 8), 1))
    contributions, view = explanation.contributions[0, 0], View(percentile=90)
    end = drawing.limit(explanation, explanation, view)
    assert end == pytest.approx(np.percentile(np.abs(contributions), 90))
    shown = drawing.map_pixels(explanation, view, end).astype(int)
    clearly = np.abs(contributions) > end / 10
    assert ((shown[..., 0] > shown[..., 2]) == (contributions > 0))[clearly].all()
    assert drawing.map_pixels(explanation, View(STYLES[1], 100), 1).shape == (8, 8, 3)
    other = dataclasses.replace(explanation, contributions=3 * explanation.contributions)
    assert drawing.limit(explanation, other, view) == pytest.approx(3 * end)
    assert drawing.limit(explanation, other, View(percentile=90, same_scale=False)) == pytest.approx(end)


def test_names_are_text(digits_network):
    image = examples(1)[0].image((8, 8), 1)
    explanation = digits_network.explain(image)
    names = ("<script>", *map(str, range(1, 10)))
    explanation = dataclasses.replace(explanation, class_names=names, wrt="<script>")
    picture = Picture('"><script>', examples(1)[0].data)
    grid = dataclasses.replace(digits_network.grid([image], ["<script>"]), explanation=explanation)
    shown = [
        rendering.bars(explanation), rendering.said(explanation, explanation), rendering.message("<script>"),
        rendering.gallery([picture]), rendering.original(picture, picture.original((8, 8))),
        rendering.class_list("class", "<script>", names, 0), rendering.controls(["<script>"], "<script>",
        digits_network, View()), grid_view(grid, View()), grid_said(grid), grid_table(grid),
    ]  # fmt: skip
    for text in shown:
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_constants_of_inner_layers_are_part_of_the_sum(digits_network):
    explanation = digits_network.explain(examples(1)[0].image((8, 8), 1))
    assert "constants" not in rendering.sums(explanation)
    explanation = dataclasses.replace(explanation, offsets=np.full((1, 1), 0.25, "float32"))
    assert '+ constants<small>of inner layers; they belong to no pixel</small></th><td class="">0.2500' in (
        rendering.sums(explanation)
    )
