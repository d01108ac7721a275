"""How much memory an explanation needs, and how much of it is done at a time, so that memory stays bounded."""

import dataclasses
import math
from functools import cached_property

import keras

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.layers.dynamic_linear import Window
from keras_coda.layers.head import GlobalSumPooling2D
from keras_coda.utils.errors import NotEnoughMemoryError
from keras_coda.utils.memory import available_memory, readable_size

# Floats that a step of an explanation may need at a time (1 GiB), over images, pixels and classes. Estimates leave out
# what TensorFlow keeps for itself. Below the third constant, in bytes, nobody is asked how much memory is free.
FLOATS, BATCH, SMALL = 2**28, 32, 2**29
# Tiles may be smaller than whole images, at the cost of what they overlap. They need not use all of it.
FLOATS_OF_TILE, FEWEST_PIXELS = 2**27, 128**2


@dataclasses.dataclass(frozen=True)
class Workload:
    """What one image of a size costs.

    Attributes:
        decomposition: the parts of the model.
        image_shape: ``(H, W, c)``.
    """

    decomposition: Decomposition
    image_shape: tuple[int, int, int]

    @property
    def pixels(self) -> int:
        """Number of locations of the encoded image."""
        return self.shapes[0][1] * self.shapes[0][2]

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the encoded image and of each layer's output, with a batch of one.

        Raises:
            ValueError: by a layer for which the image is too small.
        """
        shapes = [tuple(self.decomposition.encoder.compute_output_shape((1, *self.image_shape)))]
        for layer in self.decomposition.chain:
            shapes.append(_output_shape(layer, shapes[-1]))
        return tuple(shapes)

    def floats(self, targets: int) -> int:
        """Return about how many floats there are at the same time if one image is explained for several classes."""
        layers = zip(self.decomposition.chain, self.shapes, self.shapes[1:], strict=False)
        kept, passing = zip(*(layer.footprint(before, after, targets) for layer, before, after in layers), strict=True)
        return math.prod(self.shapes[0]) + sum(kept) + max(passing)

    def needs_tiles(self, targets: int) -> bool:
        """Tell whether to explain an image in tiles. Only layers with windows can be tiled exactly.

        Tiles compute the forward pass twice. So they are used if one image with one class needs more than twice
        ``FLOATS``, or if a whole image leaves room for fewer classes at a time than a tile: then the forward pass would
        be repeated for each group of classes.
        """
        if self.windows is None or self.floats(targets) <= FLOATS or self.decomposition.has_offsets:
            return False
        return self.floats(1) > 2 * FLOATS or self.plan(1, targets, None)[1] < self.tile(targets)[1]

    def plan(self, images: int, targets: int, batch_size: int | None) -> tuple[int, int]:
        """Return how many images to explain at a time, and for how many of the classes.

        Args:
            images: number of all images.
            targets: number of all classes.
            batch_size: images at a time; None: as many as fit, up to 32.
        """
        of_all = self.floats(targets)
        if batch_size is None:  # all classes at once, because that needs one forward pass only; or one class
            batch_size = max(1, min(BATCH, FLOATS // (of_all if of_all <= FLOATS else self.floats(1))))
        size = min(images, batch_size)
        most = FLOATS // size
        if of_all <= most:
            return size, targets
        low, high = 1, targets  # how many fit, and how many do not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.floats(middle) <= most else (low, middle)
        return size, low if low >= 4 else 1  # one class at a time needs less memory for each than a few do

    @cached_property
    def windows(self) -> tuple[Window, ...] | None:
        """The windows of all layers before the sum over locations; None if tiles cannot give the exact result."""
        before = layers_before_sum(self.decomposition)
        windows = None if before is None else [layer.windows for layer in before]
        return None if windows is None or None in windows else tuple(window for each in windows for window in each)

    def tile(self, targets: int) -> tuple[int, int]:
        """Return about how many pixels a tile may have, and for how many of the classes it is explained at a time."""
        while targets > 1 and FLOATS_OF_TILE * self.pixels // self.floats(targets) < FEWEST_PIXELS:
            targets = math.ceil(targets / 2)
        return max(1, FLOATS_OF_TILE * self.pixels // self.floats(targets)), targets

    def check_memory(self, floats: int, images: int, targets: int) -> None:
        """Raise :class:`NotEnoughMemoryError` if there is less memory than a number of floats needs."""
        if 4 * floats < SMALL:
            return
        free = available_memory()
        if free is None or 4 * floats <= free:
            return
        (height, width), share = self.image_shape[:2], math.sqrt(free / (4 * floats))
        raise NotEnoughMemoryError(
            f"An explanation must fit into memory. Received: {images} images of {height}x{width} pixels, {targets} "
            f"classes each, which need about {readable_size(4 * floats)}; {readable_size(free)} are free. Explain "
            f"images of at most {max(1, int(height * share))}x{max(1, int(width * share))} pixels, or fewer images or "
            "classes at a time."
        )


def _output_shape(layer, input_shape):
    try:
        return tuple(layer.compute_output_shape(input_shape))
    except NotImplementedError:  # a layer of a user's, whose shape Keras finds by running it without values
        return tuple(layer.compute_output_spec(keras.KerasTensor(input_shape, "float32")).shape)


def layers_before_sum(decomposition: Decomposition) -> tuple | None:
    """Return the layers before the first sum over all locations; None if there is no such sum."""
    chain = decomposition.chain
    sums = [index for index, layer in enumerate(chain) if isinstance(layer, GlobalSumPooling2D)]
    return chain[: sums[0]] if sums else None
