import math

import numpy as np
import pytest

from keras_coda.evaluation import LocalizationResult, PixelRemovalResult, grids, localization, pixel_removal
from keras_coda.evaluation.localization_grids import most_confident
from keras_coda.utils.errors import FewerGridsWarning
from keras_coda.visualization import metrics
from tests.helpers.known_models import (
    Recorder,
    batches,
    channel_data,
    channel_images,
    channel_model,
    linear_model,
    one_pixel_model,
    random_digits,
    raster,
    shines,
    sigmoid,
)

# === Localization ===


@pytest.mark.parametrize("grid", [2, 3])
@pytest.mark.parametrize(
    ("make_map", "score"),
    [
        (lambda own, cells: own, lambda cells: 1),
        (lambda own, cells: np.ones(own.shape), lambda cells: 1 / cells),
        (lambda own, cells: ~own, lambda cells: 0),
        (lambda own, cells: 2 * own + 1.0 * ~own, lambda cells: 2 / (2 + cells - 1)),
        (lambda own, cells: 3 * own - 1.0 * ~own, lambda cells: 1),  # what speaks against a class does not count
        (lambda own, cells: -1.0 * own, lambda cells: 0),
        (lambda own, cells: np.zeros(own.shape), lambda cells: 0),
    ],
    ids=["own cell", "uniform", "outside", "twice as strong", "negative outside", "negative", "zero"],
)
def test_localization_of_known_maps(make_map, score, grid):
    def explainer(model, images, classes):
        return make_map(shines(images, classes), grid**2).astype("float32")

    result = localization(channel_model(), channel_data(), grid=grid, n_grids=3, explainer=explainer, verbose=False)
    assert result.values.shape == (3, grid**2)
    np.testing.assert_allclose(result.values, score(grid**2), rtol=1e-6)
    assert result.mean == pytest.approx(score(grid**2))
    assert result.chance == 1 / grid**2


def uniform(model, images, classes):
    return np.ones(images.shape[:3], "float32")


@pytest.mark.parametrize(
    ("num_classes", "grid", "shape"),
    [(2, (1, 2), (1, 2)), (3, (1, 3), (1, 3)), (4, 2, (2, 2)), (5, 2, (2, 2)), (8, 2, (2, 2)), (9, 3, (3, 3))],
)
def test_the_largest_grid_that_there_are_classes_for_is_chosen_and_said(num_classes, grid, shape):
    seen = []

    def explainer(model, images, classes):
        seen.append(images.shape[1:3])
        return shines(images, classes).astype("float32")

    model, data = channel_model(num_classes), channel_data(num_classes=num_classes)
    result = localization(model, data, n_grids=2, explainer=explainer, verbose=False)
    assert (result.grid, result.mean, set(seen)) == (grid, 1.0, {(2 * shape[0], 2 * shape[1])})
    assert result.footnote == f"2 grids of {shape[0]}x{shape[1]} images"
    assert f"chance {1 / math.prod(shape):.3f}" in result.heading
    everywhere = localization(model, data, n_grids=2, explainer=uniform, verbose=False)
    np.testing.assert_allclose(everywhere.values, everywhere.chance, rtol=1e-6)
    result.plot()


@pytest.mark.parametrize("grid", [(1, 2), (2, 1), (3, 2), [2, 4], (1, 9)])
def test_grids_need_not_be_square(grid, tmp_path):
    def explainer(model, images, classes):
        assert images.shape[1:3] == (2 * grid[0], 2 * grid[1])
        return shines(images, classes).astype("float32")

    result = localization(channel_model(), channel_data(), grid=grid, n_grids=2, explainer=explainer, verbose=False)
    assert (result.grid, result.mean) == (tuple(grid), 1.0)
    assert result.values.shape == (2, math.prod(grid))
    result.to_json(tmp_path / "result.json")
    assert LocalizationResult.from_json(tmp_path / "result.json").grid == tuple(grid)


def test_a_square_grid_is_one_number_however_it_is_given():
    assert [grids.check(grid) for grid in (3, (3, 3), [2, 2])] == [3, 3, 2]


def test_statistics_count_grids_as_independent():
    values = np.array([[0.0, 1.0, 0.5, 0.5], [1.0, 1.0, 1.0, 0.0]])
    result = LocalizationResult("x", 2, values, np.zeros((2, 4), int), 2)
    assert result.mean == 0.625
    assert result.quartiles == (0.375, 0.75, 1.0)
    assert result.standard_error == pytest.approx(np.std([0.5, 0.75], ddof=1) / np.sqrt(2))


def test_results_are_compared_unit_by_unit():
    values, classes = np.array([[0.0, 0.5, 0.5, 1.0], [0.5, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), np.zeros((3, 4))
    one = LocalizationResult("one", 3, values, classes, 2)
    other = LocalizationResult("other", 3, values - np.array([[0.1], [0.2], [0.3]]), classes, 2)
    np.testing.assert_allclose(one.difference(other), (0.2, 0.1 / np.sqrt(3)))  # not the 0.2 of the grids' own spread
    np.testing.assert_allclose(other.difference(one)[0], -0.2)
    assert one.difference(one) == (0, 0)
    fewer = LocalizationResult("fewer", 3, values[:2], classes[:2], 2)
    with pytest.raises(ValueError, match=r"same units.*units=\(3, 2\).*Measure both on the same data"):
        one.difference(fewer)
    removal = PixelRemovalResult("removal", 3, "least", *np.zeros((4, 3)))
    with pytest.raises(ValueError, match="same metric can be compared.*LocalizationResult.*PixelRemovalResult"):
        one.difference(removal)


def test_no_two_of_many_explainers_look_alike():
    curves = np.random.default_rng(0).random((3, 12, 4))
    results = [PixelRemovalResult(str(i), 4, "least", *np.insert(curves[:, i], 2, 0, axis=0)) for i in range(12)]
    axes = metrics.plot_pixel_removal(results).axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == len(axes.lines) == 12


def test_grids_hold_different_classes_and_every_image_once():
    recorder = Recorder()
    result = localization(channel_model(), channel_data(), n_grids=4, explainer=recorder, verbose=False)
    assert len(recorder.cells) == len(set(recorder.cells)) == 36
    assert all(len(set(row)) == 9 for row in result.classes.tolist())


def test_only_correct_and_confident_images_are_used():
    labels = np.tile(np.arange(10, dtype="int32"), 3)
    images = channel_images(labels, np.repeat([120.0, 200.0, 140.0], 10))  # the first ten: confidence below 0.5
    labels[-10:] = np.roll(labels[-10:], 1)  # the last ten: taken for another class
    recorder = Recorder()
    result = localization(channel_model(), batches(images, labels), n_grids=1, explainer=recorder, verbose=False)
    assert result.n_grids == 1
    assert {brightness for _, brightness in recorder.cells} == {200.0}
    with pytest.warns(FewerGridsWarning, match="suffice for 2 grids"):
        assert localization(channel_model(), batches(images, labels), confidence=0, verbose=False,
                            explainer=recorder).n_grids == 2  # fmt: skip


def test_the_most_confident_images_of_each_class_are_used():
    recorder = Recorder()
    data = channel_data(per_class=9)
    localization(channel_model(), data, n_grids=3, explainer=recorder, verbose=False)
    assert {brightness for _, brightness in recorder.cells} <= set(
        130 + np.arange(60, 90, dtype="float32") / 5
    )  # the best 3 of 9
    backwards = Recorder()
    localization(channel_model(), data[::-1], n_grids=3, explainer=backwards, verbose=False)
    assert sorted(backwards.cells) == sorted(recorder.cells)


def test_fewer_grids_than_asked_for_say_so():
    with pytest.warns(FewerGridsWarning, match=r"suffice for 4 grids of 9 classes.*n_grids=500"):
        result = localization(channel_model(), channel_data(), explainer=Recorder(), verbose=False)
    assert (result.n_grids, result.requested) == (4, 500)
    assert "4 of 500" in repr(result)
    assert result.summary()["units"] == 4


def test_as_many_grids_as_possible_with_the_classes_as_equal_as_possible():
    rng = np.random.default_rng(0)
    for _ in range(100):
        num_cells = int(rng.integers(2, 6))
        counts = rng.integers(0, 9, int(rng.integers(num_cells, 10)))
        wanted = int(rng.integers(1, 12))
        found = grids.num_grids(counts, wanted, num_cells)
        assert found == wanted or np.minimum(counts, found + 1).sum() < num_cells * (found + 1)
        if not found:
            continue
        classes, ranks = grids.arrange(counts, found, num_cells, rng)
        assert all(len(set(row)) == num_cells for row in classes.tolist())
        cells = set(zip(classes.ravel().tolist(), ranks.ravel().tolist(), strict=True))
        assert len(cells) == found * num_cells
        used = np.bincount(classes.ravel(), minlength=len(counts))
        assert (used <= counts).all()
        assert {rank for _, rank in cells} == set(range(used.max()))  # the most confident
        assert all(n == min(count, found) for n, count in zip(used, counts, strict=True) if n < used.max() - 1)


def test_images_that_no_grid_needs_are_not_kept():
    data = channel_data(per_class=50)
    kept = most_confident(channel_model(), data, n_grids=6, num_cells=9, confidence=0.5, verbose=False)
    assert [len(of_class) for of_class in kept] == [6] * 10


def test_localization_does_not_depend_on_the_batch_size():
    scores = [
        localization(channel_model(), channel_data(), n_grids=4, explainer=raster, batch_size=size, verbose=False)
        for size in (1, 3, None)
    ]
    assert all(np.array_equal(score.values, scores[0].values) for score in scores)
    other = localization(channel_model(), channel_data(), n_grids=4, explainer=raster, seed=1, verbose=False)
    assert not np.array_equal(other.classes, scores[0].classes)


# === Pixel removal ===


def test_probability_falls_where_the_one_pixel_that_counts_is_removed():
    data, options = [random_digits(3)], {"n_images": 3, "explainer": raster, "verbose": False}
    result = pixel_removal(one_pixel_model(), data, fraction=1.0, points=16, **options)
    with_it, without = sigmoid(3.0), sigmoid(-1.0)  # without: as if neither x nor 1 - x had been there
    np.testing.assert_allclose(result.shares, np.arange(17) / 16)
    np.testing.assert_allclose(result.curve, [with_it] * 3 + [without] * 14, rtol=1e-6)
    area = (2 * with_it + (with_it + without) / 2 + 13 * without) / 16  # trapezoids
    np.testing.assert_allclose(result.aucs, area, rtol=1e-6)
    assert result.auc == pytest.approx(area)
    assert result.standard_error == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(result.curve_quartiles, np.tile(result.curve, (3, 1)), rtol=1e-6)
    # Of a quarter of the pixels, none of which counts: the area is divided by the share removed.
    result = pixel_removal(one_pixel_model(row=3), data, fraction=0.25, points=4, **options)
    np.testing.assert_allclose(result.shares, np.arange(5) / 16)
    assert result.auc == pytest.approx(with_it)


def test_exact_maps_remove_the_pixel_that_counts_last_or_first_and_random_ones_in_between():
    images, labels = random_digits(8)
    options = {"n_images": 8, "fraction": 1.0, "points": 16, "verbose": False}

    def areas(**more):
        return pixel_removal(one_pixel_model(), [(images, labels)], **options, **more).auc

    def noise(model, images, classes, rng=np.random.default_rng(0)):  # noqa: B008
        return rng.random(images.shape[:3])

    with_it, without = sigmoid(3.0), sigmoid(-1.0)
    assert areas(order="least") == pytest.approx((15.5 * with_it + 0.5 * without) / 16)
    assert areas(order="most") == pytest.approx((0.5 * with_it + 15.5 * without) / 16)
    assert areas(order="most") + 0.05 < areas(explainer=noise) < areas(order="least") - 0.05


def test_least_and_most_important_first_are_each_others_reverse():
    weights = np.random.default_rng(0).normal(size=(4, 4, 2, 3))
    images, _ = random_digits(1)

    def coarse(model, images, classes):  # with ties
        return raster(model, images, classes) // 5

    options = {"n_images": 1, "fraction": 1.0, "points": 16, "explainer": coarse, "verbose": False}
    model, data = linear_model(weights), [(images, np.array([1]))]
    logits = {}
    for order in ("least", "most"):
        curve = pixel_removal(model, data, order=order, **options).curve
        logits[order] = np.log(curve / (1 - curve))
    # What the one has removed after k steps, the other still has k steps before its end.
    np.testing.assert_allclose(logits["least"] + logits["most"][::-1], logits["least"][0], atol=1e-4)
    assert logits["least"][-1] == pytest.approx(0, abs=1e-6)


def test_a_large_image_gives_all_points_and_a_small_one_a_point_per_pixel():
    images, labels = random_digits(1, size=32)
    options = {"n_images": 1, "explainer": raster, "verbose": False}
    shares = pixel_removal(linear_model(np.zeros((32, 32, 2, 2))), [(images, labels)], **options).shares
    np.testing.assert_allclose(shares, np.linspace(0, 0.25, 129))
    images, labels = random_digits(1)
    shares = pixel_removal(one_pixel_model(), [(images, labels)], **options).shares
    np.testing.assert_allclose(shares, np.arange(5) / 16)


def test_pixel_removal_takes_the_first_images_whatever_the_batches():
    images, labels = random_digits(11)
    weights = np.random.default_rng(1).normal(size=(4, 4, 2, 2))
    options = {"points": 8, "verbose": False, "explainer": lambda model, images, classes: np.ones(images.shape[:3])}
    whole = pixel_removal(linear_model(weights), [(images[:9], labels[:9])], n_images=9, **options)
    parts = pixel_removal(linear_model(weights), batches(images, labels, 4), n_images=9, batch_size=3, **options)
    assert whole.n_images == parts.n_images == 9
    np.testing.assert_allclose(parts.aucs, whole.aucs, rtol=1e-5)


def test_fewer_images_and_missing_classes_say_so():
    images, labels = random_digits(20)
    with pytest.warns(UserWarning, match="n_images=1024, 20 images"):
        result = pixel_removal(one_pixel_model(), [(images, labels)], points=2, verbose=False)
    assert (result.n_images, result.requested) == (20, 1024)
    with pytest.warns(UserWarning, match="Only 1 of 2 classes"):
        pixel_removal(one_pixel_model(), [(images, 0 * labels)], n_images=20, points=2, verbose=False)


# === A trained network ===


@pytest.mark.slow
def test_maps_of_trained_digits_localize(digits):
    model, data = digits
    result = localization(model, data, n_grids=20, verbose=False)
    assert result.n_grids == 20
    assert result.mean > 2 * result.chance
    assert model.input_shape == (None, 8, 8, 1)  # a copy saw the grids


def test_one_call_for_all_classes_gives_what_a_call_for_each_gives(digits):
    model, data = digits

    def one_by_one(model, images, classes):
        return model.explain(images, classes).contributions[:, 0]

    options = {"grid": 2, "n_grids": 5, "verbose": False}
    at_once, singly = (localization(model, data, explainer=e, **options) for e in (None, one_by_one))
    np.testing.assert_allclose(at_once.values, singly.values, atol=1e-5)
    assert (at_once.explainer, singly.explainer) == ("contribution maps", "one_by_one")


def test_important_pixels_of_trained_digits_matter(digits):
    model, data = digits
    options = {"n_images": 64, "points": 4, "verbose": False}
    least, most = (pixel_removal(model, data, order=order, **options) for order in ("least", "most"))
    images, labels = next(iter(data.as_numpy_iterator()))
    own = sigmoid(model.predict(images, verbose=0))[np.arange(64), labels]
    assert least.curve[0] == most.curve[0] == pytest.approx(own.mean(), abs=1e-5)
    assert least.summary()["untouched"] == pytest.approx(own.mean(), abs=1e-5)
    assert least.auc > most.auc + 0.1
