"""Images with labels: scikit-learn's digits, folders of images, CSV files, TensorFlow Datasets (TFDS).

Pixels are in [0, 255] everywhere, as `CoDANet` takes them: uint8 as they are stored, float32 once resized or augmented.
"""

import dataclasses
import os
from typing import TYPE_CHECKING

import keras

from keras_coda.data import numpy_batches, tensorflow_batches
from keras_coda.data.augmenting import AUGMENTATIONS, Plan
from keras_coda.data.digits import load_digits
from keras_coda.data.folders import load_folder, load_tables
from keras_coda.data.label_tables import is_table
from keras_coda.data.preparation import Preparation
from keras_coda.data.tfds import load_tfds
from keras_coda.utils.checks import check_finite, check_int, check_window, require

if TYPE_CHECKING:
    import tensorflow as tf

CHARACTERS = (
    "digits",
    "mnist",
    "mnist_corrupted",
    "emnist",
    "kmnist",
    "omniglot",
    "svhn_cropped",
)  # their mirror images are other characters
MEMORY = 2**29  # bytes: smaller data sets are cached; also the limit of a shuffle buffer


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set in two parts, ready for `model.fit`.

    Attributes:
        name: "digits", the TFDS name or the name of the folder or CSV file.
        train: batches `(images, labels)`: `(batch, H, W, C)`, pixels in [0, 255], and `(batch,)`, int32; of a CSV file
            `(batch, classes)` of 0 and 1. The order changes every epoch; the last batch may be smaller. A
            `tf.data.Dataset` on the TensorFlow backend of Keras, else a `keras.utils.PyDataset` of NumPy arrays, which
            needs no TensorFlow. Both can be iterated over any number of times, have a length, and
            `as_numpy_iterator()`.
        validation: likewise, but never augmented and always in the same order, with classes mixed.
        class_names: label `i` means `class_names[i]`.
        image_shape: `(H, W, C)`.
        num_train, num_validation: numbers of images.
        batch_size: images per batch, if `load` made the data; else None.
        augmentation: how training images are augmented, if `load` made the data; else None.
        multi_label: whether images may have any number of labels, as those of a CSV file.
        window: the values of 16-bit files that became the pixels 0 and 255; None for 0 and 65535.
    """

    name: str
    train: "tf.data.Dataset | numpy_batches.Batches"
    validation: "tf.data.Dataset | numpy_batches.Batches"
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    num_train: int
    num_validation: int
    batch_size: int | None = None
    augmentation: str | None = None
    multi_label: bool = False
    window: tuple[float, float] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load(
    source: str | os.PathLike = "digits",
    *,
    batch_size: int = 64,
    image_size: int | tuple[int, int] | None = None,
    validation_split: float = 0.2,
    validation: str | os.PathLike | None = None,
    augment: str | bool | keras.Layer | None = None,
    resize_ratio: float = 1.0,
    verify: bool = True,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    window: tuple[float, float] | None = None,
    preparation: Preparation | dict | None = None,
) -> Data:
    """Load images and labels for training and validation.

    `source` is one of:

    - `"digits"`: scikit-learn's 1,797 scanned digits, `(8, 8, 1)`, 10 classes. No network; the split is stratified.
    - The path of a folder with one subfolder of images (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp; read in
      color, see `keras_coda.data.read_image`) per class. If its subfolders are `train` and `validation` (or `val`,
      `test` and other usual names, in any case), each with class folders, these are the parts. Hidden files and
      folders, those that other programs add (`@eaDir`, `__MACOSX`), and image files of other formats are left out; a
      warning counts them. WebP and TIFF files are for training and explanations; exported networks refuse them in
      requests.
    - The path of a CSV file with labels, for images that may have any number of them: `file,cat,dog` in the first line,
      then for each image its path, relative to the folder of the CSV file, and 0 or 1 for each class. Validation is
      the CSV file `validation`, or a part of this one. The network must be compiled with `multi_label=True`.
    - A TFDS name, such as `"cifar10"` or `"imagenette/160px-v2"`, unless there is a folder of that name. Validation is
      its split "validation", else "test", else the end of "train".

    Images that change size keep their proportions: they are scaled to cover the new size and cut to it at the center.

    Args:
        source: string or path, see above.
        batch_size: images per batch.
        image_size: int or `(H, W)`, in pixels; None keeps the size of the images (of a folder: the first image's).
        validation_split: share of the images for validation, in (0, 1), if the source has no validation part.
        validation: path of a second CSV file, with the images for validation; only with a CSV file.
        augment: how to augment the training images: "flip_crop" (or True) with flips and crops, "rand_augment" with
            Keras' RandAugment too, "none" (or False) not at all; see `augmentation`. None: "flip_crop", but "none" for
            "digits". Known sets of characters (MNIST, SVHN...) are never flipped. Or your own Keras layer or model,
            which is called on one image at a time, `(1, H, W, C)`, with `training=True`.
        resize_ratio: images are scaled to this multiple of their final size, at least 1, and cropped to it: augmented
            ones at a random place, others at the center. With 1, augmented images are padded with zeros before they are
            cropped. The papers' networks for ImageNet are trained on crops of 240 out of 256 pixels.
        verify: whether to decode all images of a folder first and name the damaged ones. False saves time.
        seed: int; together with `keras.utils.set_random_seed`, if called, it determines the batches of every epoch.
        data_dir: where TFDS keeps its data; None for its default.
        window: `(low, high)`, the values of files with 16 bits per channel that become the pixels 0 and 255; None for
            0 and 65535. Only with a folder or CSV file. A network that is built for the data keeps it.
        preparation: how photos of a folder, a CSV file or TFDS become images instead, a `Preparation` or its fields:
            `model.preparation` of a network that was trained elsewhere.

    Returns:
        A `Data`.

    Raises:
        ValueError: if an argument is out of range, `source` is unknown, a folder has fewer than two classes, no images
            or damaged ones (they are named), it is not clear which of its subfolders are classes, a CSV file has wrong
            lines (they are named), or a TFDS data set is not one of images with one label each.
        RuntimeError: if TFDS could not download or prepare its data.

    Example:
        ```python
        data = keras_coda.data.load("digits", batch_size=32)
        images, labels = next(iter(data.train))  # (32, 8, 8, 1) uint8 and (32,) int32
        ```
    """
    batch_size = check_int("batch_size", batch_size)
    seed = check_int("seed", seed, minimum=0)
    if image_size is not None:
        pair = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
        require(len(pair) == 2, "`image_size` must be an integer or (height, width)", image_size=image_size)
        image_size = check_int("image_size", pair[0]), check_int("image_size", pair[1])
    is_share = isinstance(validation_split, float) and 0 < validation_split < 1
    rule = "`validation_split` must be a float between 0 and 1, both excluded"
    require(is_share, rule, "Use 0.2 for a fifth of the images", validation_split=validation_split)
    is_layer = isinstance(augment, keras.Layer)
    is_known = is_layer or augment is None or isinstance(augment, bool) or augment in AUGMENTATIONS
    rule = f"`augment` must be one of {AUGMENTATIONS}, None, a boolean or a Keras layer or model"
    require(is_known, rule, augment=augment)
    rule = "`resize_ratio` must be at least 1, and exactly that with a layer of your own"
    ratio = check_finite("resize_ratio", resize_ratio)
    require(ratio >= 1 and not (is_layer and ratio > 1), rule, "Let the layer crop", resize_ratio=resize_ratio)
    is_digits = source == "digits"  # and not a path of that name
    source = os.path.expanduser(os.fspath(source))
    comes_as_table = is_table(source)
    rule = "`validation` belongs to a CSV file of labels"
    require(comes_as_table or validation is None, rule, source=source, validation=validation)
    are_files, window = comes_as_table or (not is_digits and os.path.isdir(source)), check_window(window)
    rule = "`window` belongs to image files, in folders or CSV files"
    require(are_files or window is None, rule, source=source, window=window)
    preparation = Preparation.of(preparation)
    if preparation is not None:
        rule = "`preparation` belongs to photos, and says their size"
        given = {"source": source, "image_size": image_size, "resize_ratio": resize_ratio}
        side = preparation.crop
        require(not is_digits and image_size in (None, (side, side)) and ratio == 1, rule, **given)
        image_size = side, side

    name = source
    if is_digits:
        loaded = load_digits(validation_split, seed)
    elif are_files:
        name = os.path.basename(os.path.abspath(source))
        files = (image_size and _scale(image_size, ratio), validation_split, verify, seed, window, preparation)
        loaded = load_tables(source, validation, *files) if comes_as_table else load_folder(source, *files)
    else:
        loaded = load_tfds(source, image_size, validation_split, seed, data_dir, preparation)
    parts, class_names, image_shape, counts = loaded
    if augment is None:
        augment = not is_digits
    if isinstance(augment, bool):
        augment = "flip_crop" if augment else "none"
    shape = (*(image_size or image_shape[:2]), image_shape[2])
    flip = name.split("/")[0].split(":")[0] not in CHARACTERS
    plan = Plan((*_scale(shape[:2], ratio), shape[2]), shape, batch_size, augment, flip, seed, MEMORY)
    train, validation = _batched(parts, counts, plan)
    own = (batch_size, plan.name, comes_as_table, window)
    return Data(name, train, validation, class_names, shape, counts[0], counts[1], *own)


# === Pipeline ===


def _scale(size, ratio):
    return tuple(round(ratio * side) for side in size)


def _batched(parts, counts, plan):
    if keras.backend.backend() == "tensorflow":
        return tensorflow_batches.batches(parts, counts, plan)
    return numpy_batches.batches(parts, counts, plan)
