"""Images with labels from folders that have one subfolder of images per class, or from CSV files."""

import dataclasses
import os
import sys
import time
import warnings
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool

import numpy as np

from keras_coda.data.images import check_image, image_size, read_image
from keras_coda.data.label_tables import read_tables
from keras_coda.data.listing import EXTENSIONS, Images, find_parts, subfolders
from keras_coda.data.preparation import Preparation
from keras_coda.data.resizing import resize
from keras_coda.utils.checks import require
from keras_coda.utils.class_names import as_text
from keras_coda.utils.errors import ImagesLeftOutWarning, UnreadableImageError


def load_folder(
    folder: str, size, validation_split: float, verify: bool, seed: int, window=None, preparation=None
) -> tuple:
    """Prepare a folder of class folders, see `keras_coda.data.load`.

    The files are split, and ordered in each epoch, as `keras.utils.image_dataset_from_directory` does it for the same
    seed: accuracies that were measured on a part of a folder stay comparable.

    Returns:
        `(train, validation), class_names, image_shape, (num_train, num_validation)`. Each part is a pair,
        :class:`Files` and labels. The images are float32.
    """
    found = find_images(folder)
    parts = [[(path, label) for label, paths in enumerate(part.values()) for path in paths] for part in found]
    return _prepared(
        folder, parts, tuple(map(as_text, found[0])), size, validation_split, verify, seed, window, preparation
    )


def load_tables(
    source: str, validation, size, validation_split: float, verify: bool, seed: int, window=None, preparation=None
) -> tuple:
    """Prepare images with the labels of one or two CSV files, see `keras_coda.data.load`.

    Returns:
        As :func:`load_folder`, with labels ``(N, classes)`` of 0 and 1.
    """
    tables = read_tables(source, validation)
    parts = [list(zip(table.paths, table.labels, strict=True)) for table in tables]
    return _prepared(source, parts, tables[0].class_names, size, validation_split, verify, seed, window, preparation)


def _prepared(source, parts, class_names, size, validation_split, verify, seed, window, preparation):
    """Check, split and shuffle lists of ``(path, label)``."""
    if verify:
        verify_images([path for part in parts for path, _ in part])
    size = size or image_size(parts[0][0][0])
    comes_split = len(parts) == 2
    np.random.RandomState(seed).shuffle(parts[0])
    if not comes_split:
        rule, count = "There must be images left for training and for validation", int(validation_split * len(parts[0]))
        fits = 0 < count < len(parts[0])
        require(fits, rule, source=source, images=len(parts[0]), validation_split=validation_split)
        parts = [parts[0][:-count], parts[0][-count:]]

    loaded = []
    for is_sorted, part in zip((False, comes_split), parts, strict=True):
        files, labels = zip(*part, strict=True)
        loaded.append((Files(files, size, is_sorted, window, preparation), np.array(labels, "int32")))
    return tuple(loaded), class_names, (*size, 3), tuple(map(len, parts))


@dataclasses.dataclass(frozen=True)
class Files:
    """The images of files, in color and at one size: read when they are asked for.

    Attributes:
        paths: of the files.
        size: height and width that images are scaled to cover, and cut to.
        is_sorted: whether they come class by class: whoever looks at the first ones would see one class.
        window: of files with 16 bits per channel, see :func:`~keras_coda.data.read_image`.
        preparation: what makes images of that size of photos, or None.
    """

    paths: Sequence[str]
    size: tuple[int, int]
    is_sorted: bool
    window: tuple[float, float] | None = None
    preparation: Preparation | None = None
    dtype = np.dtype("float32")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As of an array with all the images."""
        return (len(self.paths), *self.size, 3)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Read one image, ``(*size, 3)``."""
        return resize(self.read(self.paths[index]), self.size)

    def read(self, path) -> np.ndarray:
        """Read one file, prepared or at its own size, ``(H, W, 3)`` float32."""
        pixels = read_image(path, 3, window=self.window)
        return pixels.astype("float32") if self.preparation is None else self.preparation(pixels)


def find_images(folder: str) -> list[dict[str, list[str]]]:
    """Find the images of training and validation, or of the one part to split: for each ``{class name: paths}``.

    Raises:
        ValueError: if there are fewer than two classes, a class has no images, or the parts have different classes.

    Warns:
        ImagesLeftOutWarning: if images are left out.
    """
    folders = find_parts(folder)
    listed = Images.of(folder, linked=len(folders))  # links to the folders of parts and classes
    images, left_out = [], listed.left_out()
    for part in folders:
        names = () if part == folder else (os.path.basename(part),)
        images.append(listed.of_classes(names, subfolders(part)))
        if beside := listed.by_folder.get(names):
            left_out.append(
                f"Images must lie in the folder of a class. Received: '{part}' with {len(beside)} images beside these "
                f"folders, which are left out; the first is '{os.path.basename(beside[0])}'."
            )
    for sentence in left_out:
        warnings.warn(sentence, ImagesLeftOutWarning, stacklevel=4)
    counts = [{name: len(paths) for name, paths in part.items()} for part in images]
    rule = f"There must be at least two class folders, each with images ({', '.join(EXTENSIONS)})"
    fix = "Lay images out as folder/class_name/image.jpg"
    require(len(counts[0]) >= 2 and all(counts[0].values()), rule, fix, source=folders[0], images_per_class=counts[0])
    is_matched = counts[0].keys() == counts[-1].keys() and any(counts[-1].values())
    rule = "Training and validation must have the same class folders, with images"
    require(is_matched, rule, source=folder, images_per_class=counts)
    return images


def verify_images(paths):
    """Decode all images; raise a `ValueError` that names those that are damaged."""
    start = shown = time.monotonic()
    damaged = []
    with ThreadPool() as pool:
        for count, (path, error) in enumerate(zip(paths, pool.imap(_problem, paths, 16), strict=True), start=1):
            if error:
                damaged.append(f"{path} ({error})")
            now, last = time.monotonic(), count == len(paths)
            if now - start > 2 and (last or now - shown > 0.5):
                print(f"\rChecked {count} of {len(paths)} images", end="\n" if last else "", file=sys.stderr)
                shown = now
    listed = "; ".join(damaged[:10]) + "; ..." * (len(damaged) > 10)
    rule = "All the images must be readable"
    require(not damaged, rule, "Repair or remove them", damaged=len(damaged), files=listed)


def _problem(path):
    """Return why an image cannot be read, or None."""
    try:
        check_image(path)
    except UnreadableImageError as error:
        return str(error.__cause__ or error)
    return None
