"""The energy-based pointing game: is the map of a class inside the boxes or masks of its objects?"""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_dataset
from keras_coda.evaluation.results import Result
from keras_coda.explanations.compiled import default_batch_size
from keras_coda.explanations.explainers import Explainer, attributions, name_of
from keras_coda.utils.checks import check_images, check_int, is_float, num_classes_of, require, to_numpy
from keras_coda.utils.progress import Progress

NONE = -1  # the class of an entry without an object


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PointingGameResult(Result):
    """Scores of every class that has an object in an image, for all images.

    The classes of one image compete with each other. The standard error therefore counts images as independent.

    Attributes:
        values: ``(N,)`` in [0, 1]: the share of the positive contributions of a class that is inside the boxes or masks
            of its objects. 0 for a map without positive contributions.
        classes: ``(N,)`` int, the class.
        images: ``(N,)`` int, the number of the image in the data set; in ascending order.
        areas: ``(N,)`` in (0, 1], the share of the image inside: the score of a uniform map.
    """

    unit: ClassVar[str] = "images"
    axis_label: ClassVar[str] = "pointing game: share of the positive contributions inside the objects of the class"
    limits: ClassVar[tuple[float, float]] = (0, 1)

    values: np.ndarray
    classes: np.ndarray
    images: np.ndarray
    areas: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """All values, ``(N,)``."""
        return self.values

    @property
    def units(self) -> np.ndarray:
        """Mean of every image that has an object."""
        _, place, counts = np.unique(self.images, return_inverse=True, return_counts=True)
        return np.bincount(place, self.values) / counts

    @property
    def chance(self) -> float:
        """Score of uniform maps: the mean of ``areas``."""
        return float(self.areas.mean())

    @property
    def heading(self) -> str:
        """Heading of the column in a table."""
        return f"pointing game (chance {self.chance:.3f})"

    def summary(self) -> dict:
        """Return mean, quartiles, standard error, chance, and the numbers of images measured and requested."""
        return {**super().summary(), "chance": self.chance}


def pointing_game(
    model: keras.Model,
    dataset: Iterable,
    *,
    n_images: int | None = None,
    explainer: Explainer | None = None,
    batch_size: int | None = None,
    verbose: bool = True,
) -> PointingGameResult:
    """Measure how much of the positive contributions to a class lies inside its objects.

    For every image and every class that has an object in it, with the map ``s`` of the class,

        score = Σ of max(s, 0) inside the boxes or masks of the class / Σ of max(s, 0) over the whole image

    It is 1 for a map that is positive inside only, the share of the area for a uniform map (chance), and by definition
    0 for a map without any positive contribution. Whether the network predicts the class does not matter: choose the
    images first if it should. Scores depend on how large objects are; compare them with ``chance``.

    Args:
        model: returns logits, for images of the size of these.
        dataset: yields ``(images, classes, regions)`` in batches: images ``(batch, H, W, c)``, pixels in [0, 255];
            classes, int, ``(batch, n)``, -1 for an entry without an object; regions are boxes ``(batch, n, 4)``, which
            are ``(top, left, bottom, right)`` in pixels, the last two excluded, or masks ``(batch, n, H, W)`` of 0 and
            1. Several objects of one class count together. For one object per image: ``(batch,)``, with ``(batch, 4)``
            or ``(batch, H, W)``.
        n_images: int, only the first images are used; None for all.
        explainer: None for exact contribution maps, or a function ``(model, images, classes) -> maps``: NumPy arrays
            ``(batch, H, W, c)``, float32 in [0, 255], ``(batch,)``, int32, and real ``(batch, H, W)``.
        batch_size: maps that are made at a time; None for up to 32, fewer if they are large.
        verbose: whether to show a progress bar.

    Returns:
        A :class:`PointingGameResult`.

    Raises:
        ValueError: for batches of another form, classes that do not exist, boxes that are empty or leave the image,
            images that do not fit the model, data without any object, and an explainer whose maps have the wrong shape
            or are not finite.

    Example:
        >>> collages = keras_coda.data.digit_collages(20)
        >>> model = keras_coda.CoDANet.from_preset("coda_digits").with_input_shape((None, None, 1))
        >>> result = pointing_game(model, [(collages.images, collages.classes, collages.boxes)], verbose=False)
        >>> result.mean > 2 * result.chance
        True

    Reference:
        Wang et al.: Score-CAM, CVPR Workshops 2020 (arXiv 1910.01279), section 4.3.
    """
    name, num_classes = name_of(explainer), num_classes_of(model)
    most = None if n_images is None else check_int("n_images", n_images)
    step = None if batch_size is None else check_int("batch_size", batch_size)
    check_dataset(dataset, infinite=n_images is not None)
    seen = 0
    shares: list[float] = []
    units: list[tuple[int, int, float]] = []  # class, number of the image, area
    with Progress(most, "image", verbose) as progress:
        for batch in dataset:
            images, classes, regions = _checked(batch, model, num_classes)
            count = len(images) if most is None else min(len(images), most - seen)
            pairs = [(row, each) for row in range(count) for each in np.unique(classes[row]) if each != NONE]
            size = step or default_batch_size(*images.shape[1:3])
            for part in (pairs[start : start + size] for start in range(0, len(pairs), size)):
                rows, chosen = (np.array(column) for column in zip(*part, strict=True))
                inside = np.stack(
                    [_inside(regions[row], classes[row] == each, images.shape[1:3]) for row, each in part]
                )
                maps = attributions(explainer, model, images[rows], chosen.astype("int32")[:, None])[:, 0]
                positive = np.maximum(maps, 0)
                total = positive.sum(axis=(1, 2))
                shares += ((positive * inside).sum(axis=(1, 2)) / np.where(total > 0, total, 1)).tolist()
                units += zip(chosen.tolist(), (seen + rows).tolist(), inside.mean(axis=(1, 2)).tolist(), strict=True)
            seen += count
            progress.add(count)
            if seen == most:
                break
    require(units, "`dataset` must yield images with objects", "A generator can be used only once", images=seen)
    found_classes, numbers, areas = zip(*units, strict=True)
    arrays = np.array(shares), np.array(found_classes), np.array(numbers), np.array(areas)
    return PointingGameResult(name, seen if most is None else most, *arrays)


def _checked(batch, model, num_classes):
    """Return images ``(B, H, W, c)`` float32, classes ``(B, n)`` int and regions, boxes or masks, ``(B, n, ...)``."""
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    kinds = [type(part).__name__ for part in parts[:4]]
    rule = "`dataset` must yield (images, classes, boxes or masks)"
    require(len(parts) == 3, rule, "For arrays, pass `[(images, classes, boxes)]`", batch=kinds)
    images = check_images(parts[0], model.input_shape[-1], model.input_shape[1:3])
    classes, regions = (to_numpy(part) for part in parts[1:])
    if classes.ndim == 1:
        classes, regions = classes[:, None], regions[:, None]
    height, width = images.shape[1:3]
    is_box, is_mask = (regions.shape == (*classes.shape, *end) for end in ((4,), (height, width)))
    fits = classes.ndim == 2 and len(classes) == len(images) and (is_box or is_mask)
    rule = "Classes must be (batch, n), and boxes (batch, n, 4) or masks (batch, n, H, W) with the size of the images"
    require(fits, rule, images=images.shape, classes=classes.shape, regions=regions.shape)
    is_class = np.issubdtype(classes.dtype, np.integer) and ((classes >= NONE) & (classes < num_classes)).all()
    rule = f"Classes must be integers in [0, {num_classes - 1}], or {NONE} for an entry without an object"
    fix = "For multi-hot labels, list the classes of the objects"
    require(is_class, rule, fix, dtype=str(classes.dtype), classes=np.unique(classes)[:10].tolist())
    is_real = regions.dtype == bool or np.issubdtype(regions.dtype, np.integer) or is_float(regions.dtype)
    require(is_real, "Boxes and masks must be numbers", dtype=str(regions.dtype))
    objects = regions[classes != NONE]
    if is_box:
        ends = np.array([height, width])
        is_fit = ((objects[:, :2] >= 0) & (objects[:, 2:] <= ends) & (objects[:, :2] < objects[:, 2:])).all(axis=1)
        is_fit &= (objects == np.floor(objects)).all(axis=1)
        rule = "Boxes must be (top, left, bottom, right) in whole pixels inside the image, and not empty"
    else:
        is_fit = ((objects == 0) | (objects == 1)).all(axis=(1, 2)) & objects.any(axis=(1, 2))
        rule = "Masks must be 0 and 1, and not empty"
    wrong = objects[~is_fit]
    shown = wrong[:3].tolist() if is_box else len(wrong)
    require(not len(wrong), rule, "", image=(height, width), wrong=shown)
    return images, classes, regions


def _inside(regions, chosen, size):
    """Return which pixels lie in one of the chosen regions of an image: bool ``size``."""
    if regions.ndim == 3:
        return regions[chosen].any(axis=0)
    inside = np.zeros(size, bool)
    for top, left, bottom, right in regions[chosen].astype(int):
        inside[top:bottom, left:right] = True
    return inside
