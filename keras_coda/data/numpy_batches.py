"""Batches of images with labels for backends of Keras other than TensorFlow: NumPy and threads."""

import copy
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from keras_coda.data.augmenting import Plan, augmentation, layer_on_one_image
from keras_coda.data.resizing import resize
from keras_coda.utils.checks import require
from keras_coda.utils.memory import available_memory, readable_size

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # of the images of a batch


class Images(Protocol):
    """Images that can be read one at a time: an array ``(N, H, W, C)``, or files on a disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, H, W, C)``."""

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int) -> np.ndarray:
        """Return one image, ``(H, W, C)``."""


def batches(parts: Any, counts: tuple[int, int], plan: Plan) -> tuple["Batches", "Batches"]:
    """Resize, shuffle and augment the training images, and batch; see `keras_coda.data.tensorflow_batches.batches`."""
    (train, labels), (others, other_labels) = (
        _in_memory(part, count, plan) if hasattr(part, "element_spec") else part
        for part, count in zip(parts, counts, strict=True)
    )
    order = np.arange(len(other_labels))
    if getattr(others, "is_sorted", False):
        order = np.random.default_rng(plan.seed).permutation(len(order))
        others = dataclasses.replace(others, paths=[others.paths[index] for index in order])
    cut = None if plan.stored == plan.shape else center_crops(plan.shape[:2])
    options = {"memory": plan.memory // 2}  # for each of the parts
    return (
        Batches(
            _sized(train, plan), labels, plan.batch_size, change=_augmentation(plan, cut), seed=plan.seed, **options
        ),
        Batches(_sized(others, plan), other_labels[order], plan.batch_size, change=cut, **options),
    )


def _augmentation(plan, cut):
    if plan.augment == "none":
        return cut
    if plan.is_own_layer:
        return layer_calls(plan.augment, plan.shape)
    crops = random_crops(plan.shape[:2], flip=plan.flip, padding=plan.padding)
    if plan.augment == "flip_crop":
        return crops
    layer = augmentation(plan.shape, flip=False, padding=0, rand_augment=True, seed=plan.seed)
    return in_turn(crops, layer_calls(layer, plan.shape))


def _sized(images, plan):
    return images if tuple(images.shape[1:]) == plan.stored else Resized(images, plan.stored[:2])


def _in_memory(dataset, count, plan):
    """Return the images of a `tf.data.Dataset` and their labels as arrays."""
    spec = dataset.element_spec[0]
    are_sized = tuple(spec.shape) == plan.stored
    dtype = np.dtype(spec.dtype.name if are_sized else "float32")
    needed, free = count * math.prod(plan.stored) * dtype.itemsize, available_memory()
    rule = "The images of TFDS must fit in memory, except on the TensorFlow backend of Keras"
    fix = "Choose a smaller `image_size`, or that backend, or store the images in folders"
    fits = free is None or needed < free
    require(fits, rule, fix, needed=readable_size(needed), free=readable_size(free or 0))
    images, labels = np.empty((count, *plan.stored), dtype), np.empty(count, "int32")
    for index, (image, label) in enumerate(dataset.as_numpy_iterator()):
        images[index], labels[index] = image if are_sized else resize(image, plan.stored[:2]), label
    return images, labels


class Resized:
    """Images at another size, float32, each resized when it is asked for."""

    dtype = np.dtype("float32")

    def __init__(self, images: "Images", size: tuple[int, int]):
        self._images, self._size = images, size
        self.shape = (len(images), *size, images.shape[-1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        """Return one image, ``(*size, C)``."""
        return resize(self._images[index], self._size)


class Whole(np.ndarray):
    """An array of a batch that each of several processes has whole, rather than its own rows."""


class _Draws(np.random.Generator):
    """Draws random numbers for all images of a batch, and gives those of some: equal for any number of processes."""

    def __init__(self, bits, rows, count):
        super().__init__(bits)
        self._rows, self._count = rows, count

    def integers(self, low, high, size):
        """Return integers for these images; ``size`` is their number, or a shape that begins with it."""
        shape = size[1:] if isinstance(size, tuple) else ()
        return super().integers(low, high, (self._count, *shape))[self._rows]

    def random(self, size):
        """Return numbers from 0 to 1 for these images."""
        return super().random(self._count)[self._rows]


class Batches(keras.utils.PyDataset):
    """Batches ``(images, labels)`` of NumPy arrays: ``(batch, H, W, C)`` and int32.

    Labels are ``(batch,)`` or, of images with several labels, ``(batch, classes)``.
    Iterate over them any number of times: each begins an epoch.

    Args:
        images: see :class:`Images`.
        labels: int ``(N,)`` or ``(N, classes)``.
        batch_size: int; the last batch may be smaller.
        change: takes the images of a batch and a ``numpy.random.Generator``, and returns them changed; None for as
            they are.
        seed: int, for another order in each epoch and for the random numbers of ``change``; None for the given order.
        memory: bytes: smaller sets of files are kept in memory once they are read.
    """

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        batch_size: int,
        *,
        change: Change | None = None,
        seed: int | None = None,
        memory: int = 0,
    ):
        are_files = not isinstance(images, np.ndarray)
        super().__init__(workers=2 if are_files or change else 1)  # threads: one batch is made during a training step
        self._images, self._labels = images, np.asarray(labels, "int32")
        self._batch_size, self._change, self._seed = batch_size, change, seed
        self.place = 0, 1, 1
        self._epoch = 0
        self._order = 0, self._shuffled(0)  # an epoch, and its order
        is_small = math.prod(images.shape) * np.dtype(images.dtype).itemsize <= memory
        self._kept = np.empty(images.shape, images.dtype) if are_files and is_small else None
        self._is_kept = np.zeros(len(self._labels), bool)

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def part(self, index: int, count: int, devices: int) -> "Batches":
        """Return the batches of one of several processes that train together: its own rows of every batch.

        A batch that the devices cannot divide, such as the last one of an epoch, comes as :class:`Whole`.

        Args:
            index: the number of the process, from 0.
            count: the number of processes.
            devices: the number of devices of all processes, which must divide the batch size.
        """
        rule = "The batch size must be a multiple of the number of devices that train together"
        require(self._batch_size % devices == 0, rule, batch_size=self._batch_size, devices=devices)
        part = copy.copy(self)
        part.place = index, count, devices
        return part

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} batches. Received: index={index}")
        epoch, order = self._order
        if epoch != self._epoch:
            epoch, order = self._order = self._epoch, self._shuffled(self._epoch)
        chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
        place, count, devices = self.place
        is_divided = len(chosen) % devices == 0
        own = np.array_split(np.arange(len(chosen)), count)[place] if is_divided else np.arange(len(chosen))
        images, labels = self._read(chosen[own]), self._labels[chosen[own]]
        if self._change is not None:
            images = self._change(images, _Draws(np.random.PCG64([self._seed or 0, epoch, index]), own, len(chosen)))
        return (images, labels) if is_divided else (images.view(Whole), labels.view(Whole))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        try:
            yield from (self[index] for index in range(len(self)))
        finally:
            self.on_epoch_end()

    def as_numpy_iterator(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return an iterator over the batches, as that of a ``tf.data.Dataset``."""
        return iter(self)

    def on_epoch_end(self) -> None:
        """Shuffle anew for the next epoch."""
        self._epoch += 1  # and nothing else: Python may close an iterator when NumPy is gone

    def _shuffled(self, epoch):
        order = np.arange(len(self._labels))
        return order if self._seed is None else np.random.default_rng([self._seed, epoch]).permutation(order)

    def _read(self, chosen):
        if isinstance(self._images, np.ndarray):
            return self._images[chosen]
        if self._kept is not None and self._is_kept[chosen].all():
            return self._kept[chosen]
        with ThreadPoolExecutor(min(len(chosen), os.cpu_count() or 1)) as threads:
            images = np.stack(list(threads.map(self._images.__getitem__, chosen)))
        if self._kept is not None:
            self._kept[chosen] = images
            self._is_kept[chosen] = True
        return images


def random_crops(size: tuple[int, int], *, flip: bool, padding: int) -> Change:
    """Return the function that flips and crops each image of a batch at random, as ``keras_coda.data.augmentation``.

    Args:
        size: height and width of the result.
        flip: whether to flip one image in two, left to right.
        padding: pixels of zeros added on each side before the crop.
    """
    height, width = size

    def change(images, rng):
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        padded = np.pad(images.astype("float32"), sides)
        ends = padded.shape[1] - height + 1, padded.shape[2] - width + 1
        corners = rng.integers(0, ends, (len(images), 2))
        steps = np.where(rng.random(len(images)) < (0.5 if flip else 0), -1, 1)
        return np.stack([
            image[top : top + height, left : left + width][:, ::step]
            for image, (top, left), step in zip(padded, corners, steps, strict=True)
        ])  # fmt: skip

    return change


def center_crops(size: tuple[int, int]) -> Change:
    """Return the function that cuts the images of a batch evenly to a height and width."""

    def change(images, rng):
        top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], size, strict=True))
        return images[:, top : top + size[0], left : left + size[1]]

    return change


def layer_calls(layer: keras.Layer, image_shape: Sequence[int]) -> Change:
    """Return the function that applies a Keras layer to each image of a batch, with random numbers of its own.

    Args:
        layer: layer or model, called on ``(1, H, W, C)`` with ``training=True``.
        image_shape: ``(H, W, C)``.
    """
    one = layer_on_one_image(layer, image_shape)

    def one_by_one(images, draws):
        return ops.stack([one(image, draw) for image, draw in zip(images, draws, strict=True)])

    def change(images, rng):
        nonlocal run
        draws = rng.integers(0, 2**31, len(images)).astype("uint32")
        try:
            changed = run(images, draws)
        except Exception:
            if run is one_by_one:
                raise
            run = one_by_one  # JAX compiles no layer that cuts images at places it draws, as Keras' RandomCrop
            changed = run(images, draws)
        return ops.convert_to_numpy(changed)

    run = one_by_one
    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(jax.vmap(one))
    return change


def in_turn(*changes: Change) -> Change:
    """Return the function that applies several, one after another."""

    def change(images, rng):
        for each in changes:
            images = each(images, rng)
        return images

    return change
