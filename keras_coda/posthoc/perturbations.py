"""Methods that cover parts of an image and predict again: Occlusion and RISE. They need no gradients."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from keras_coda.explanations.explanation import sigmoid
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
        return gradients.encode_images(model, images) if self.fill is None else images

    def _logits(self, model, inputs, keep):
        """Return the logits ``(n, classes)`` of inputs of which the shares ``keep (n, H, W)`` remain."""
        keep = keep[..., None].astype("float32")
        points = inputs * keep if self.fill is None else inputs * keep + np.float32(self.fill) * (1 - keep)
        return gradients.predict_logits(model, points, self.fill is None)


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
        windows = self._windows(*images.shape[1:3])
        drops = self._drops(model, self._inputs(model, images), classes, windows)  # (B, windows, K)
        total, count = np.zeros((*classes.shape, *images.shape[1:3])), np.zeros(images.shape[1:3])
        for window, (rows, columns) in enumerate(windows):
            total[..., rows, columns] += drops[:, window, :, None, None]
            count[rows, columns] += 1
        return total / count

    def _windows(self, height, width):
        step = self.strides or (self.patch_size + 1) // 2
        starts = [range(0, size, step) for size in (height, width)]
        return [(slice(y, y + self.patch_size), slice(x, x + self.patch_size)) for y in starts[0] for x in starts[1]]

    def _drops(self, model, inputs, classes, windows):
        """Return how far the classes' logits fall for each window, ``(B, windows, K)`` float64."""
        cover = [*windows, (slice(0, 0), slice(0, 0))]  # the last one covers nothing
        pairs, found = np.arange(len(inputs) * len(cover)), []
        for part in gradients.chunks(inputs, gradients.LOGIT_PIXELS, len(pairs)):
            numbers, covered = np.divmod(pairs[part], len(cover))
            keep = np.ones((len(numbers), *inputs.shape[1:3]), "float32")
            for own, window in zip(keep, covered, strict=True):
                own[cover[window]] = 0
            logits = self._logits(model, inputs[numbers], keep)
            found.append(np.take_along_axis(logits, classes[numbers], axis=1).astype("float64"))
        found = np.concatenate(found).reshape(len(inputs), len(cover), -1)
        return found[:, -1:] - found[:, :-1]


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
        mask_sum = np.zeros(size)
        for masks in self._masks(inputs):
            mask_sum += masks.sum(axis=0)
            for number, own in enumerate(classes):
                logits = self._logits(model, inputs[number], masks)[:, own]  # (n, K)
                weights = sigmoid(logits.astype("float64"))
                total[number] += np.tensordot(weights, masks, axes=(0, 0))
                scores[number] += weights.sum(axis=0)
        if self.centered:
            total -= scores[..., None, None] / self.masks * mask_sum
        return total / (self.masks * self.keep)  # `keep` is the mean of a mask

    def _masks(self, inputs) -> Iterator[np.ndarray]:
        """Yield all masks for inputs ``(B, H, W, channels)``: ``(n, H, W)``, float32 in [0, 1], in limited parts."""
        size = inputs.shape[1:3]
        rng = np.random.default_rng(self.seed)
        coarse = (rng.random((self.masks, self.cells, self.cells)) < self.keep).astype("float32")
        # Rounded up, unlike in the paper: shifted masks cover images whose size is no multiple of the cells, too.
        cell_sizes = [-(-pixels // self.cells) for pixels in size]
        shifts = rng.integers(0, cell_sizes, (self.masks, 2))
        for part in gradients.chunks(inputs, gradients.LOGIT_PIXELS, self.masks):
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
