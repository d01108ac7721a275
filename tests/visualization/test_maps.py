"""Claims about the pictures: colors, opacity, scales, captions, and files that are whole."""

import gc
import weakref

import numpy as np
import pytest

from keras_coda.visualization.colors import BRIGHTER, DARKER, to_rgba
from keras_coda.visualization.legends import linear_map_key
from keras_coda.visualization.maps import plot_contributions, plot_linear_map
from tests.helpers.map_arguments import arguments


def linear_maps(batch=2, targets=3, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, targets, 8, 8, 2 * channels))


def words(axes):
    return "\n".join(text.get_text() for text in axes.texts)


def one_pixel(weights, shape=(4, 4)):
    linear_map = np.zeros((*shape, len(weights)))
    linear_map[1, 2] = weights
    return to_rgba(linear_map)[1, 2]


# === to_rgba ===


def test_weights_aligned_with_an_image_render_as_that_image():
    image = np.random.default_rng(0).uniform(size=(6, 5, 3))
    rgba = to_rgba(7.0 * np.concatenate([image, 1 - image], axis=-1))
    np.testing.assert_allclose(rgba[..., :3], image, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "color"),
    [
        ([1, 0, 0, 0, 0, 0], [1, 0.5, 0.5]),  # red
        ([0, 0, 0, 1, 0, 0], [0, 0.5, 0.5]),  # 1 - red: dark cyan
        ([1, 0, 0, 0, 1, 1], [1, 0, 0]),  # red, neither green nor blue
        ([1, -1, -1, -1, 1, 1], [1, 0, 0]),  # negative weights do not change the color
        ([1, 1, 1, 1, 1, 1], [0.5, 0.5, 0.5]),  # strong, but no color preferred: gray
        ([1, 1, 1, 3, 3, 3], [0.25, 0.25, 0.25]),
        ([2, 0.04, 0, 2, 0, 0.04], [0.5, 0.505, 0.495]),  # tiny weights do not tint the color
    ],
)
def test_color_comes_from_the_positive_weights(weights, color):
    np.testing.assert_allclose(one_pixel(weights), [*color, 1], atol=1e-6)


@pytest.mark.parametrize("weights", [[0] * 6, [-1, -2, -3, -3, -2, -1], [0, 0], [2, 2]])
def test_pixels_with_nothing_to_show_are_transparent(weights):
    linear_map = np.ones((4, 4, len(weights))) * np.linspace(1, 2, len(weights))
    linear_map[1, 2] = weights
    alpha = to_rgba(linear_map, percentile=100)[..., 3]
    assert alpha[1, 2] == 0
    assert np.sum(alpha == 1) == 15


def test_gray_images_show_where_brighter_and_where_darker_pixels_raise_the_logit():
    linear_map = np.array([[[2.0, 0], [0, 2], [3, 1], [-3, -1], [1.5, 0.5], [0.5, 0.5]]])
    rgba = to_rgba(linear_map, percentile=100)[0]
    np.testing.assert_allclose(rgba[:, 3], [1, 1, 1, 1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(rgba[:5, :3], [BRIGHTER, DARKER, BRIGHTER, DARKER, BRIGHTER], atol=1e-6)
    change = linear_map[0] @ [0.1, -0.1]  # of the logit, if the pixel becomes brighter by 0.1
    np.testing.assert_array_equal(rgba[:5, 0] > 0.5, change[:5] > 0)


def test_opacity_grows_with_strength():
    strengths = np.linspace(0, 1, 20).reshape(4, 5, 1)
    alpha = to_rgba(strengths * np.array([1, -2, 0, 0, 3, 1]), percentile=100)[..., 3]
    np.testing.assert_allclose(alpha, strengths[..., 0], atol=1e-6)


def test_strengths_above_the_percentile_are_opaque():
    alpha = to_rgba(np.arange(101.0).reshape(1, 101, 1) * [1, 0], percentile=50)[0, :, 3]
    np.testing.assert_allclose(alpha, np.minimum(np.arange(101) / 50, 1), atol=1e-6)


def test_zero_map_is_transparent_beside_another_map():
    linear_map = linear_maps(1, 2)
    linear_map[0, 0] = 0
    rgba = to_rgba(linear_map)
    assert rgba.shape == (1, 2, 8, 8, 4)
    assert rgba.dtype == np.float32
    assert np.isfinite(rgba).all()
    assert rgba.min() >= 0
    assert rgba.max() <= 1
    assert (rgba[0, 0, ..., 3] == 0).all()
    assert rgba[0, 1, ..., 3].max() == 1
    np.testing.assert_array_equal(rgba[0, 1], to_rgba(linear_map[0, 1]))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_of_a_map_does_not_matter(scale):
    linear_map = linear_maps().astype(np.float32)
    np.testing.assert_allclose(to_rgba(linear_map * scale), to_rgba(linear_map), atol=1e-5)


def test_smoothing_averages_the_strength_in_a_window():
    linear_map = np.zeros((5, 5, 2))
    linear_map[2, 2] = [3, 4]
    alpha = to_rgba(linear_map, smooth=3, percentile=100)[..., 3]
    np.testing.assert_allclose(alpha, np.pad(np.ones((3, 3)), 1), atol=1e-6)
    even = to_rgba(np.ones((4, 7, 6)), smooth=5)[..., 3]
    np.testing.assert_allclose(even, 1, atol=1e-6)  # no dark rim


@pytest.mark.parametrize("shape", [(8, 8, 4), (8, 8, 3), (8, 6), (0, 8, 6), (0, 8, 8, 6)])
def test_to_rgba_refuses_what_is_no_linear_map(shape):
    with pytest.raises(ValueError, match=r"c = 1 or 3.*Received: linear_map.shape"):
        to_rgba(np.ones(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_to_rgba_refuses_values_that_are_not_finite(value):
    with pytest.raises(ValueError, match=r"must be finite.*1 NaN or infinite"):
        to_rgba([[[1.0, value]]])


@pytest.mark.parametrize("options", [{"smooth": 2}, {"smooth": -1}, {"percentile": 101}])
def test_to_rgba_refuses_wrong_options(options):
    with pytest.raises(ValueError, match=r"` must .*Received: "):
        to_rgba(np.ones((8, 8, 6)), **options)


# === Figures ===


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize(("batch", "targets"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("colorbar", [True, False])
def test_a_row_is_an_image_its_maps_and_a_scale(batch, targets, channels, colorbar):
    figure = plot_contributions(**arguments(batch, targets, channels=channels), colorbar=colorbar)
    assert len(figure.axes) == batch * (1 + targets + colorbar)
    shape = (8, 8, 3) if channels == 3 else (8, 8)
    assert figure.axes[0].images[0].get_array().shape == shape


def test_colors_are_symmetric_and_shared_by_the_maps_of_an_image():
    given = arguments()
    given["contributions"][1] *= 10
    figure = plot_contributions(**given, percentile=90)
    norms = [figure.axes[5 * row + 1 + column].images[0].norm for row in (0, 1) for column in range(3)]
    assert [norm.vmin for norm in norms] == [-norm.vmax for norm in norms]
    limits = np.array([norm.vmax for norm in norms]).reshape(2, 3)
    expected = np.percentile(np.abs(given["contributions"]), 90, axis=(1, 2, 3))
    np.testing.assert_allclose(limits, np.tile(expected[:, None], 3))
    bars = [axes for axes in figure.axes if "against" in words(axes)]
    assert len(bars) == 2
    assert all("to the logit" in words(axes) for axes in bars)


def test_a_limit_ends_all_scales():
    figure = plot_contributions(**arguments(batch=2, targets=2), limit=0.25)
    limits = {image.get_clim() for axes in figure.axes for image in axes.images if image.get_cmap().name == "RdBu_r"}
    assert limits == {(-0.25, 0.25)}
    with pytest.raises(ValueError, match="`limit` must be positive and finite, or None. Received: limit=0"):
        plot_contributions(**arguments(), limit=0)


@pytest.mark.parametrize(("value", "limit"), [(0.0, 1.0), (2.0, 2.0)])
def test_empty_and_sparse_maps_keep_a_scale(value, limit):
    given = arguments(1, 1, size=(40, 40))
    given["contributions"][:] = 0
    given["contributions"][0, 0, 3, 3] = value
    assert plot_contributions(**given).axes[1].images[0].norm.vmax == limit


def test_captions_tell_class_logit_probability_residual_and_label():
    given = arguments(2, 2)
    given["logits"][0] = [-1.234, 5.678]
    given["residuals"][0] = [2.1e-7, 0]
    given["classes"] = np.array([[2, 0], [1, 2]])
    probabilities = np.full((2, 2), 0.1234)
    names = ["cat", "dog", "frog $x^2$"]
    options = {"class_names": names, "labels": [1, 0], "probabilities": probabilities}
    first, frog, cat, _, second, *_ = plot_contributions(**given, **options).axes
    assert words(frog).split("\n") == ["frog $x^2$", "logit −1.23 · 12.3%", "residual 2.1e-07"]
    assert words(cat).split("\n") == ["cat", "logit 5.68 · 12.3%", "residual 0.0e+00"]
    assert words(first) == "dog\ntrue class"
    assert words(second) == "cat\ntrue class"


def test_without_names_captions_show_the_index():
    image, first, *_ = plot_contributions(**arguments(1, 2)).axes
    assert words(image) == "image"
    assert words(first).startswith("class 0\nlogit ")
    assert "·" not in words(first)


def test_names_too_long_for_a_panel_are_cut_short():
    names = ["hen", "great white shark, white shark, man-eater", "x"]
    _, hen, shark, *_ = plot_contributions(**arguments(), class_names=names).axes
    name = words(shark).split("\n")[0]
    assert name.startswith("great white shark")
    assert name.endswith("…")
    assert len(name) < 30
    assert words(hen).startswith("hen\n")


def test_inner_maps_cover_the_extent_of_the_image():
    figure = plot_contributions(**arguments(1, 2, size=(8, 12), map_size=(2, 3)))
    extents = {tuple(axes.images[0].get_extent()) for axes in figure.axes[:3]}
    assert extents == {(-0.5, 11.5, 7.5, -0.5)}
    assert figure.axes[1].images[0].get_array().shape == (2, 3)
    assert figure.axes[1].images[0].get_interpolation() == "nearest"


@pytest.mark.parametrize("size", [(8, 8), (8, 20), (20, 8)])
@pytest.mark.parametrize("targets", [1, 10])
def test_pixels_are_square_and_nothing_overlaps(size, targets):
    figure = plot_contributions(**arguments(2, targets, size=size))
    boxes = [axes.get_position().transformed(figure.transFigure) for axes in figure.axes]
    for axes, box in zip(figure.axes, boxes, strict=True):
        if axes.images:
            np.testing.assert_allclose(box.height / box.width, size[0] / size[1], rtol=1e-6)
    inside = [(b.x0 >= 0, b.y0 >= 0, b.x1 <= figure.bbox.x1, b.y1 <= figure.bbox.y1) for b in boxes]
    assert np.all(inside)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_images_of_any_real_dtype_are_drawn_in_their_own_colors(dtype):
    given = arguments(1, 1)
    given["images"] = given["images"].astype(dtype)
    shown = plot_contributions(**given).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, given["images"][0] / np.float64(255), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_linear_map_is_drawn_in_its_own_colors_on_white(channels):
    linear_map = linear_maps(2, 3, channels)
    images, classes = arguments(channels=channels)["images"], arguments()["classes"]
    figure = plot_linear_map(images, linear_map, classes, class_names="abc", smooth=3)
    assert len(figure.axes) == 2 * 4 + 1
    assert words(figure.axes[1]) == "a"
    shown = figure.axes[6].images[0].get_array()
    np.testing.assert_allclose(shown, to_rgba(linear_map[1, 1], smooth=3))
    assert figure.axes[6].get_facecolor() == (1, 1, 1, 1)


@pytest.mark.parametrize(("channels", "meaning"), [(1, ("orange", "purple", "white")), (3, ("color", "gray", "faint"))])
@pytest.mark.parametrize("size", [(8, 8), (4, 20), (20, 4)])
def test_a_legend_explains_the_colors_of_linear_maps(channels, meaning, size):
    given = arguments(1, 3, channels=channels, size=size)
    linear_map = np.ones((1, 3, *size, 2 * channels))
    figure = plot_linear_map(given["images"], linear_map, given["classes"])
    key = figure.axes[-1]
    assert tuple(text.split(":")[0] for text in words(key).split("\n")[::2]) == meaning
    boxes = [axes.get_window_extent() for axes in figure.axes]
    texts = [text.get_window_extent() for text in key.texts]
    assert not any(box.overlaps(boxes[-1]) for box in boxes[:-1])
    assert all(box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in [boxes[-1], *texts])
    assert len(plot_linear_map(given["images"], linear_map, given["classes"], legend=False).axes) == 4


def test_swatches_of_the_legend_have_the_colors_of_maps():
    orange, purple, white = (pixels for pixels, _ in linear_map_key(1))
    np.testing.assert_allclose(orange[0, 0], [*BRIGHTER, 1], atol=1e-6)
    np.testing.assert_allclose(purple[0, 0], [*DARKER, 1], atol=1e-6)
    assert white[0, 0, 3] == 0
    color, gray, faint = (pixels for pixels, _ in linear_map_key(3))
    np.testing.assert_allclose(color[0, 0], [1, 0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(gray[0, 0], [0.5, 0.5, 0.5, 1], atol=1e-6)
    np.testing.assert_allclose(faint[0, [0, -1], 3], [1, 0], atol=1e-6)


def test_another_background_shows_through_transparent_pixels():
    given = arguments(1, 1)
    chosen = {"background": "black", "legend": False}
    figure = plot_linear_map(given["images"], linear_maps(1, 1), given["classes"], **chosen)
    assert figure.axes[1].get_facecolor() == (0, 0, 0, 1)
    with pytest.raises(ValueError, match=r"must be a color of matplotlib. Received: background='no color'"):
        plot_linear_map(given["images"], linear_maps(1, 1), given["classes"], background="no color")


def test_of_a_large_batch_the_first_images_are_drawn_with_a_warning():
    with pytest.warns(UserWarning, match="first 2 of 3"):
        figure = plot_contributions(**arguments(3, 1), max_images=2)
    assert len(figure.axes) == 2 * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["a.png"]}, "There must be one name for each image. Received"),
        ({"images": np.zeros((8, 8, 3))}, r"`images` must have shape \(B, H, W, C\).*batch axis"),
        ({"images": np.zeros((3, 8, 8, 3))}, r"here \(2, any, any, any\). Received: images.shape"),
        ({"images": np.full((2, 8, 8, 3), np.nan)}, "`images` must be finite"),
        ({"images": np.zeros((2, 8, 8, 3), complex)}, "`images` must hold real numbers"),
        ({"contributions": np.zeros((2, 8, 8))}, r"`contributions` must have shape \(B, K, h, w\)"),
        ({"contributions": np.zeros((0, 3, 8, 8))}, "`contributions` must have shape"),
        ({"contributions": np.full((2, 3, 8, 8), np.inf)}, "`contributions` must be finite"),
        ({"classes": np.zeros((2,), int)}, r"`classes` must have shape \(B, K\), here \(2, 3\)"),
        ({"classes": np.zeros((2, 3))}, "`classes` must hold integers"),
        ({"logits": np.zeros((2, 10))}, r"`logits` must have shape.*logits.shape=\(2, 10\)"),
        ({"residuals": np.zeros(2)}, "`residuals` must have shape"),
        ({"probabilities": np.zeros((2, 10))}, "`probabilities` must have shape"),
        ({"labels": np.zeros((2, 3), int)}, "one-hot labels must have a single 1"),
        ({"labels": np.zeros(3, int)}, "Labels must be integers, one for each image"),
        ({"class_names": ["cat", "dog"]}, "`class_names` must name every class.*length 2.*class 2"),
        ({"max_images": 0}, "`max_images` must be positive"),
    ],
)
def test_wrong_arguments_raise_the_rule_and_what_was_received(change, message):
    with pytest.raises(ValueError, match=message) as error:
        plot_contributions(**{**arguments(), **change})
    assert "Received: " in str(error.value)


def test_plot_linear_map_refuses_a_map_without_targets():
    with pytest.raises(ValueError, match=r"`linear_map` must have shape \(B, K, H, W, 2c\)"):
        plot_linear_map(np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8, 6)), np.zeros((2, 1), int))


# === Life of a figure ===


def test_figures_are_not_registered_and_are_freed():
    from matplotlib import pyplot

    figure = plot_contributions(**arguments(1, 1))
    assert pyplot.get_fignums() == []
    reference = weakref.ref(figure)
    del figure
    gc.collect()
    assert reference() is None


def test_figures_show_themselves_in_a_notebook():
    assert plot_contributions(**arguments(1, 1))._repr_png_().startswith(b"\x89PNG")
