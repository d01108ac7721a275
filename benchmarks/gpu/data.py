"""Labeled images as arrays: those of a packed file, scikit-learn's digits, or random ones."""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_coda.data.images import read_image
from keras_coda.data.listing import Images
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import require
from keras_coda.utils.errors import UnreadableFileError

HELD_OUT = 500  # images of each class, as in `experiments`, where there are many; else a fifth
_ARRAYS = ("prefix", "files", "lengths", "labels", "class_names")


@dataclasses.dataclass(frozen=True)
class Data:
    """Images ``(n, H, W, c)`` uint8 with labels ``(n,)`` int32, in a part to train on and one to evaluate on.

    Attributes:
        images: to train on.
        labels: of them.
        held_out: the last images of each class, in an order of their own.
        held_out_labels: of them.
        class_names: one per class.
        may_flip: whether a mirror image still belongs to its class.
    """

    images: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray
    class_names: tuple[str, ...]
    may_flip: bool

    @property
    def pad(self) -> int:
        """Pixels of padding from which crops are taken: the papers' 4 of 32, in proportion."""
        return min(4, min(self.images.shape[1:3]) // 8)

    def batches(self, size: int = 250) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the held-out images in batches of nearly equal size, so that few programs are compiled."""
        count = -(-len(self.held_out) // size)
        return list(zip(*(np.array_split(each, count) for each in (self.held_out, self.held_out_labels)), strict=True))


def load(source: str, limit: int | None = None) -> Data:
    """Load images.

    Args:
        source: ``"digits"``, ``"random"`` (32x32, RGB) or the path of a file of :func:`pack`.
        limit: number of held-out images; None for all.
    """
    may_flip = source != "digits"
    if source == "digits":
        from keras_coda.data.digits import all_digits

        images, labels = all_digits()
        names = tuple("0123456789")
    elif source == "random":
        images, labels = random_images(1000, (32, 32, 3))
        names = tuple(f"class {index}" for index in range(10))
    else:
        images, labels, names = unpack(source)
    held = min(HELD_OUT, max(1, min(np.bincount(labels)) // 5))
    is_held = np.zeros(len(labels), bool)
    for label in range(len(names)):
        is_held[np.flatnonzero(labels == label)[-held:]] = True
    labels = labels.astype("int32")
    order = np.random.default_rng(0).permutation(np.flatnonzero(is_held))[:limit]
    return Data(images[~is_held], labels[~is_held], images[order], labels[order], names, may_flip)


def random_images(count: int, shape: tuple[int, int, int], classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return random pixels ``(count, *shape)`` uint8, and labels, every class equally often."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape), "uint8")
    return pixels, np.arange(count) % classes


def pack(folder: str | os.PathLike, file: Path) -> int:
    """Write the image files of a folder, one folder for each class in it, to one file; return their number.

    The files themselves are kept, so that no pixel changes. What all of them begin with (JPEG files of one program
    share their tables) is stored once: 16 MB instead of 51 MB for CIFAR-10 as JPEG.

    Raises:
        ValueError: if there are no images in folders of classes.
    """
    found = Images.of(folder)
    names = sorted({key[0] for key in found.by_folder if key})
    rule = "A folder of images must have one folder of images for each class"
    require(len(names) > 1, rule, "For CIFAR-10, unpack its training images", folder=str(folder), classes=names)
    of_classes = found.of_classes((), names)
    labels = [label for label, paths in enumerate(of_classes.values()) for _ in paths]
    contents = [Path(path).read_bytes() for paths in of_classes.values() for path in paths]
    prefix = os.path.commonprefix(contents)  # noqa: RUF071 (the common bytes are wanted)
    files = [content[len(prefix) :] for content in contents]
    arrays = {
        "prefix": np.frombuffer(prefix, "uint8"),
        "files": np.frombuffer(b"".join(files), "uint8"),
        "lengths": np.array([len(each) for each in files], "int64"),
        "labels": np.array(labels, "int32"),
        "class_names": np.array(names),
    }
    with new_file(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)
    return len(files)


def unpack(file: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the images (n, H, W, 3) uint8, labels and class names of a file of :func:`pack`.

    Raises:
        UnreadableFileError: if the file is damaged, or another one.
        ValueError: if the images are not all of one size.
    """
    try:
        with np.load(file) as stored:
            prefix, files, lengths, labels, names = (stored[name] for name in _ARRAYS)
    except Exception as error:  # NumPy raises many types for damaged files
        raise UnreadableFileError(
            f"The images must be a file that `python -m benchmarks.gpu pack` wrote. Received: '{file}' ({error})"
        ) from error
    ends = np.cumsum(lengths)
    prefix, files = prefix.tobytes(), files.tobytes()

    def decode(number):
        content = prefix + files[ends[number] - lengths[number] : ends[number]]
        return read_image(content, 3, name=f"image {number} of '{file}'")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(decode, range(len(lengths))))
    sizes = sorted({image.shape for image in images})
    require(len(sizes) == 1, "All images must be of one size", "Resize the files", file=str(file), sizes=sizes[:5])
    return np.stack(images), labels, tuple(map(str, names))
