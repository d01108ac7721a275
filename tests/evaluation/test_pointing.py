"""The energy-based pointing game: known extremes, several objects and masks, collages of digits with known boxes."""

import numpy as np
import pytest

from keras_coda import CoDANet, evaluation, training
from keras_coda.data import all_digits, digit_collages
from keras_coda.evaluation import PointingGameResult, Result, pixel_removal, pointing_game
from tests.helpers.networks import pixels, small

BOXES = np.array([[[0, 0, 4, 3], [2, 1, 8, 7]], [[1, 2, 3, 4], [0, 0, 0, 0]]])
CLASSES = np.array([[0, 2], [1, -1]])


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def images():
    return pixels(2)


def masks_of(boxes, size=(8, 7)):
    masks = np.zeros((*boxes.shape[:2], *size), "uint8")
    for mask, (top, left, bottom, right) in zip(masks.reshape(-1, *size), boxes.reshape(-1, 4), strict=True):
        mask[top:bottom, left:right] = 1
    return masks


def drawn(inside, outside):
    """An explainer that gives pixels inside the boxes of the class one value, others another."""

    def explainer(model, images, classes):
        maps = np.full(images.shape[:3], float(outside))
        for each, class_ in zip(maps, classes, strict=True):
            ((i, k),) = np.argwhere(class_ == CLASSES)
            each[masks_of(BOXES)[i, k] > 0] = inside
        return maps

    return explainer


@pytest.mark.parametrize(("inside", "outside", "expected"), [(2, 0, 1), (1, -5, 1), (0, 1, 0), (-1, -1, 0)])
def test_maps_inside_score_1_and_outside_0(model, images, inside, outside, expected):
    result = pointing_game(model, [(images, CLASSES, BOXES)], explainer=drawn(inside, outside), verbose=False)
    np.testing.assert_array_equal(result.values, [expected] * 3)
    assert (result.classes.tolist(), result.images.tolist(), result.requested) == ([0, 2, 1], [0, 0, 1], 2)


def test_uniform_maps_score_the_area_which_is_chance(model, images):
    result = pointing_game(model, [(images, CLASSES, BOXES)], explainer=drawn(3, 3), verbose=False)
    np.testing.assert_allclose(result.values, np.array([12, 36, 4]) / 56)
    np.testing.assert_allclose(result.areas, result.values)
    assert result.chance == pytest.approx(result.mean)
    np.testing.assert_allclose(result.units, [24 / 56, 4 / 56])


def test_scores_are_those_of_the_exact_maps_by_hand(model, images):
    explanation = model.explain(images, [[0, 2], [1, 1]], verbose=False)
    positive = np.maximum(explanation.contributions, 0)
    shares = (positive * masks_of(BOXES)).sum((2, 3)) / positive.sum((2, 3))
    for regions in (BOXES, BOXES.astype("float32"), masks_of(BOXES), masks_of(BOXES).astype(bool)):
        result = pointing_game(model, [(images, CLASSES, regions)], batch_size=2, verbose=False)
        np.testing.assert_allclose(result.values, shares.ravel()[:3], rtol=1e-5)
    one = pointing_game(model, [(images, CLASSES[:, 0], BOXES[:, 0])], verbose=False)
    np.testing.assert_allclose(one.values, shares[:, 0], rtol=1e-5)
    split = [(images[i : i + 1], CLASSES[i : i + 1], BOXES[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(pointing_game(model, split, verbose=False).values, result.values, rtol=1e-5)
    first = pointing_game(model, iter(split), n_images=1, verbose=False)
    assert (len(first.values), first.requested, len(first.units)) == (2, 1, 1)


def test_objects_of_one_class_count_together(model, images):
    result = pointing_game(model, [(images[:1], [[1, 1]], BOXES[:1])], explainer=drawn_area, verbose=False)
    assert len(result.values) == 1
    assert result.areas[0] == pytest.approx((12 + 36 - 4) / 56)  # they overlap in 2x2 pixels
    assert result.values[0] == pytest.approx(result.areas[0])


def drawn_area(model, images, classes):
    return np.ones(images.shape[:3])


def test_results_are_written_drawn_and_compared(model, images, tmp_path):
    first, second = (
        pointing_game(model, [(images, CLASSES, BOXES)], explainer=drawn(*values), verbose=False)
        for values in ((2, 1), (1, 1))
    )
    assert isinstance(first, Result)
    first.to_json(tmp_path / "a.json")
    read = PointingGameResult.from_json(tmp_path / "a.json")
    np.testing.assert_array_equal(read.values, first.values)
    assert read.summary() == first.summary()
    mean, error = first.difference(second)
    assert mean == pytest.approx(np.mean(first.units - second.units))
    assert error > 0
    assert first.plot().axes


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda i: i, "must yield .images, classes, boxes or masks.. Received: batch="),
        (lambda i: (i, CLASSES), r"For arrays, pass `\[\(images, classes, boxes\)\]`"),
        (lambda i: (i, CLASSES, BOXES[:1]), "Received: images="),
        (lambda i: (i, CLASSES[:1], BOXES[:1]), "Received: images="),
        (lambda i: (i, CLASSES, BOXES[..., :3]), "boxes .batch, n, 4. or masks"),
        (lambda i: (i, CLASSES, np.ones((2, 2, 7, 8))), "with the size of the images"),
        (lambda i: (i, CLASSES + 1, BOXES), r"integers in \[0, 2\], or -1 .* classes=\[0, 1, 2, 3\]"),
        (lambda i: (i, CLASSES.astype("float32"), BOXES), "list the classes of the objects"),
        (lambda i: (i, CLASSES, BOXES[..., [2, 1, 0, 3]]), r"not empty. Received: .*wrong=\[\[4, 0, 0, 3\]"),
        (lambda i: (i, CLASSES, BOXES + 1), r"inside the image.* wrong=\[\[3, 2, 9, 8\]\]"),
        (lambda i: (i, CLASSES, BOXES - 1), "inside the image"),
        (lambda i: (i, CLASSES, BOXES + 0.5), "whole pixels"),
        (lambda i: (i, CLASSES, np.where(BOXES == 4, np.nan, BOXES)), "whole pixels"),
        (lambda i: (i, CLASSES, 0 * masks_of(BOXES)), "Masks must be 0 and 1, and not empty. Received: .*wrong=3"),
        (lambda i: (i, CLASSES, 2 * masks_of(BOXES)), "Masks must be 0 and 1"),
        (lambda i: (i, CLASSES, BOXES.astype(str)), "must be numbers. Received: dtype="),
        (lambda i: (i, CLASSES * 0 - 1, BOXES), "images with objects"),
        (lambda i: (i[..., :1], CLASSES, BOXES), "Images must have shape"),
    ],
)
def test_what_is_no_object_is_refused(model, images, batch, message):
    with pytest.raises(ValueError, match=message):
        pointing_game(model, [batch(images)], verbose=False)


# === Collages ===


def test_collages_have_the_digits_that_their_boxes_say():
    collages = digit_collages(40, digits=(1, 4), seed=3)
    scans = {bytes(scan): class_ for scan, class_ in zip(*all_digits(), strict=True)}
    numbers = set()
    for image, label, classes, boxes in zip(*collages, strict=True):
        kept = classes[classes >= 0]
        numbers.add(len(kept))
        assert (classes[len(kept) :] == -1).all()
        np.testing.assert_array_equal(label, np.isin(np.arange(10), kept))
        rest = image.copy()
        for class_, (top, left, bottom, right) in zip(kept, boxes, strict=False):
            assert scans[bytes(image[top:bottom, left:right].copy())] == class_
            rest[top:bottom, left:right] = 0
        assert not rest.any()
    assert numbers == {1, 2, 3, 4}


def crops_of(collages):
    for image, classes, boxes in zip(collages.images, collages.classes, collages.boxes, strict=True):
        for top, left, bottom, right in boxes[classes >= 0]:
            yield bytes(image[top:bottom, left:right].copy())


def test_collages_are_drawn_by_their_seed_from_one_part_of_the_digits():
    first, again, other, validation = (digit_collages(30, seed=seed, validation=part) for seed, part in
                                       ((1, False), (1, False), (2, False), (1, True)))  # fmt: skip
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any()
    crops = [set(crops_of(each)) for each in (first, other, validation)]
    assert not (crops[0] | crops[1]) & crops[2]
    for wrong in ({"size": 15}, {"digits": (0, 1)}, {"digits": (2, 1)}, {"digits": (1, 5)}, {"count": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="Received: "):
            digit_collages(**{"count": 1, **wrong})


def test_maps_of_digits_are_inside_their_boxes():
    collages = digit_collages(60, validation=True)
    network = CoDANet.from_preset("coda_digits").with_input_shape((24, 24, 1))
    result = pointing_game(network, [(collages.images, collages.classes, collages.boxes)], verbose=False)
    assert result.chance == pytest.approx(64 / 576)
    assert result.mean > 3 * result.chance


# === Other metrics ===


def test_pixels_are_removed_for_each_label_of_an_image(images):
    model = small()
    single = pixel_removal(model, [(images[[0, 0, 1]], [0, 2, 1])], n_images=3, points=4, verbose=False)
    model.compile(multi_label=True)
    several = pixel_removal(model, [(images, [[1, 0, 1], [0, 1, 0]])], n_images=3, points=4, verbose=False)
    np.testing.assert_allclose(several.aucs, single.aucs, rtol=1e-5)


def test_metrics_for_one_label_per_image_refuse_networks_with_several(images):
    model = small()
    model.compile(multi_label=True)
    data = [(images, np.array([[1, 0, 1], [0, 1, 0]]))]
    callback = training.Localization(data)
    for call in (
        lambda: evaluation.localization(model, data),
        lambda: evaluation.compare(model, data, []),
        lambda: model.fit(*data[0], callbacks=[callback], verbose=0),
    ):
        with pytest.raises(ValueError, match="needs images with one label each. Received: .*pointing_game"):
            call()
