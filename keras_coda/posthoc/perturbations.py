"""Methods that cover parts of an image and predict again: Occlusion and RISE. They need no gradients."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from keras import ops

from keras_coda.posthoc import gradients
from keras_coda.posthoc.method import Method
from keras_coda.utils.checks import check_finite, check_int, require


class _Perturbation(Method):
    """Base of methods with an argument ``fill``: what is put in the place of covered pixels."""

    fill: float | None

    def __post_init__(self):
        if self.fill is not None:
            in_range = 0 <= check_finite("fill", self.fill) <= 255
            require(in_range, "`fill` must be None or a pixel value in [0, 255]", fill=self.fill)

    def _inputs(self, model, images):
        """Return what is covered: encoded images or images, on the device."""
        return gradients.encode_images(model, images) if self.fill is None else ops.convert_to_tensor(images)


# === Occlusion ===


@dataclasses.dataclass(frozen=True)
class OcclusionSensitivity(_Perturbation):
    """How far the logit falls when a window of the image is covered: at each pixel the mean over windows that cover it.

    tf-explain predicts one image at a time, uses the model's output as a probability, places windows side by side,
    enlarges their values bilinearly, and exchanges height and width.

    Args:
        patch_size: int, side of the window in pixels; 5 and 9 in the paper's comparison, for images of 32x32 pixels.
        strides: int, pixels from one window to the next; None for half a window. ``patch_size``: side by side.
        fill: None: the encoding of covered pixels becomes zero, as in the pixel removal metric; the model must be
            explainable. A float in [0, 255]: the value of covered pixels, for any model; 127.5 in tf-explain.

    Reference:
        Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (arXiv 1311.2901), section 4.2.
    """

    patch_size: int
    strides: int | None = None
    fill: float | None = None

    def __post_init__(self):
        check_int("patch_size", self.patch_size)
        if self.strides is not None:
            is_dense = check_int("strides", self.strides) <= self.patch_size
            rule = "`strides` must not exceed `patch_size`, or some pixels would never be covered"
            require(is_dense, rule, strides=self.strides, patch_size=self.patch_size)
        super().__post_init__()

    def _maps(self, model, images, classes):
        size = images.shape[1:3]
        corners = self._corners(*size)
        drops = self._drops(model, self._inputs(model, images), size, classes, corners)  # (B, windows, K)
        total, count = np.zeros((*classes.shape, *size)), np.zeros(size)
        for window, (y, x) in enumerate(corners):
            rows, columns = slice(y, y + self.patch_size), slice(x, x + self.patch_size)
            total[..., rows, columns] += drops[:, window, :, None, None]
            count[rows, columns] += 1
        return total / count

    def _corners(self, height, width):
        """Return the first row and column of every window."""
        step = self.strides or (self.patch_size + 1) // 2
        return [(y, x) for y in range(0, height, step) for x in range(0, width, step)]

    def _drops(self, model, inputs, size, classes, corners):
        """Return how far the classes' logits fall for each window, ``(B, windows, K)`` float64."""
        places = np.array([*corners, size], "int32")  # the last window covers nothing
        count, found = len(classes) * len(places), []
        for part in gradients.chunks(count, size, gradients.LOGIT_PIXELS):
            images, windows = np.divmod(part, len(places))
            chosen = np.column_stack([images, places[windows]]).astype("int32")
            options = {"size": self.patch_size, "fill": self.fill}
            found.append(gradients.covered_logits(model, inputs, chosen, classes, **options))
        logits = np.concatenate(found)[:count].reshape(len(classes), len(places), -1).astype("float64")
        return logits[:, -1:] - logits[:, :-1]


# === RISE ===


@dataclasses.dataclass(frozen=True)
class RISE(_Perturbation):
    """The mean of random masks, each weighted by the probability of the class that the masked image has.

    A mask is a coarse grid of cells, each kept with the probability ``keep``, enlarged bilinearly and shifted at
    random. With ``centered=False`` as in the paper all values are positive: the map estimates the probability of the
    class if a pixel is kept. tf-explain does not have this method.

    Args:
        masks: int, number of masks, the same for every image and call. The error of a map falls with its square root;
            the paper uses 4,000 to 8,000, for images of 224x224 pixels.
        cells: int, cells along each side of a mask; 7 in the paper.
        keep: float in (0, 1), the probability that a cell is kept; 1/2 in the paper.
        centered: whether to subtract the mean probability over all masks from the weights. The map then has positive
            values where keeping a pixel makes the class more likely, and negative ones where it makes it less likely.
            Apart from noise the order of the pixels is the same.
        seed: int, of the masks.
        fill: see :class:`OcclusionSensitivity`. None: the encoding is multiplied by the mask. A float: the value that
            masked pixels approach; 0 in the paper, where it is the mean color.

    Reference:
        Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation (arXiv 1806.07421), section 3, equation 6.
    """

    masks: int = 2000
    cells: int = 7
    keep: float = 0.5
    centered: bool = False
    seed: int = 0
    fill: float | None = None

    def __post_init__(self):
        check_int("masks", self.masks)
        check_int("cells", self.cells, minimum=2)
        check_int("seed", self.seed, minimum=0)
        require(0 < check_finite("keep", self.keep) < 1, "`keep` must be between 0 and 1", keep=self.keep)
        super().__post_init__()

    def _maps(self, model, images, classes):
        inputs, size = self._inputs(model, images), images.shape[1:3]
        total, scores = np.zeros((*classes.shape, *size)), np.zeros(classes.shape)
        mask_sum, length = np.zeros(size), 0
        for masks in self._masks(size):
            count, length = len(masks), max(length, len(masks))
            mask_sum += masks.sum(axis=0)
            # Empty masks add nothing to the total. With them all parts have one length, for which JAX compiles.
            masks = ops.convert_to_tensor(np.pad(masks, ((0, length - count), (0, 0), (0, 0))))
            for number in range(len(images)):
                own = slice(number, number + 1)
                found = gradients.masked_probabilities(model, inputs[own], masks, classes[own], fill=self.fill)
                scores[number] += found[0][:count].sum(axis=0)
                total[number] += found[1]
        if self.centered:
            total -= scores[..., None, None] / self.masks * mask_sum
        return total / (self.masks * self.keep)  # `keep` is the mean of a mask

    def _masks(self, size) -> Iterator[np.ndarray]:
        """Yield all masks for images of ``size``: ``(n, H, W)``, float32 in [0, 1], in limited parts."""
        rng = np.random.default_rng(self.seed)
        coarse = (rng.random((self.masks, self.cells, self.cells)) < self.keep).astype("float32")
        # Rounded up, unlike in the paper: shifted masks cover images whose size is no multiple of the cells, too.
        cell_sizes = [-(-pixels // self.cells) for pixels in size]
        shifts = rng.integers(0, cell_sizes, (self.masks, 2))
        for indices in gradients.chunks(self.masks, size, gradients.LOGIT_PIXELS):
            part = np.unique(indices)
            rows, columns = (self._interpolation(size[axis], cell_sizes[axis], shifts[part, axis]) for axis in (0, 1))
            yield rows @ coarse[part] @ columns.transpose(0, 2, 1)

    def _interpolation(self, size, cell_size, shifts):
        """Return the weights ``(n, size, cells)`` with which the cells of a line make its pixels.

        The line is enlarged bilinearly to one cell more than it has, and ``size`` pixels are cut out from the shift on.
        """
        pixels = shifts[:, None] + np.arange(size) + 0.5
        places = pixels * self.cells / ((self.cells + 1) * cell_size) - 0.5  # in units of cells, their centers at 0, 1
        places = np.clip(places, 0, self.cells - 1)[..., None]
        return np.maximum(0, 1 - np.abs(places - np.arange(self.cells))).astype("float32")
