"""Images with labels as `tf.data`: scikit-learn's digits, folders of images, TensorFlow Datasets (TFDS).

Pixels are in [0, 255] everywhere, as `CoDANet` takes them: uint8 as they are stored, float32 once resized or augmented.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from keras_coda.data.digits import load_digits
from keras_coda.data.folders import load_folder
from keras_coda.data.tfds import load_tfds
from keras_coda.utils.checks import check_finite, check_int, require

if TYPE_CHECKING:
    import tensorflow as tf

AUGMENTATIONS = ("none", "flip_crop", "rand_augment")
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
        name: "digits", the TFDS name or the name of the folder.
        train: `tf.data.Dataset` of `(images, labels)`: `(batch, H, W, C)`, pixels in [0, 255], and `(batch,)`, int32.
            The order changes every epoch; the last batch may be smaller.
        validation: likewise, but never augmented and always in the same order, with classes mixed.
        class_names: label `i` means `class_names[i]`.
        image_shape: `(H, W, C)`.
        num_train, num_validation: numbers of images.
        batch_size: images per batch, if `load` made the data; else None.
        augmentation: how training images are augmented, if `load` made the data; else None.
    """

    name: str
    train: "tf.data.Dataset"
    validation: "tf.data.Dataset"
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    num_train: int
    num_validation: int
    batch_size: int | None = None
    augmentation: str | None = None

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
    augment: str | bool | keras.Layer | None = None,
    resize_ratio: float = 1.0,
    verify: bool = True,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> Data:
    """Load images and labels for training and validation.

    `source` is one of:

    - `"digits"`: scikit-learn's 1,797 scanned digits, `(8, 8, 1)`, 10 classes. No network; the split is stratified.
    - The path of a folder with one subfolder of images (.bmp, .gif, .jpeg, .jpg, .png, .webp; read in color, see
      `keras_coda.data.read_image`) per class. If its subfolders are `train` and `validation` (or `val`, `test` and
      other usual names, in any case), each with class folders, these are the parts. Hidden files and folders, those
      that other programs add (`@eaDir`, `__MACOSX`), and image files of other formats are left out; a warning counts
      them. WebP files are for training and explanations; exported networks refuse them in requests.
    - A TFDS name, such as `"cifar10"` or `"imagenette/160px-v2"`, unless there is a folder of that name. Validation is
      its split "validation", else "test", else the end of "train".

    Images that change size keep their proportions: they are scaled to cover the new size and cut to it at the center.

    Args:
        source: string or path, see above.
        batch_size: images per batch.
        image_size: int or `(H, W)`, in pixels; None keeps the size of the images (of a folder: the first image's).
        validation_split: share of the images for validation, in (0, 1), if the source has no validation part.
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

    Returns:
        A `Data`.

    Raises:
        ValueError: if an argument is out of range, `source` is unknown, a folder has fewer than two classes, no images
            or damaged ones (they are named), it is not clear which of its subfolders are classes, or a TFDS data set is
            not one of images with one label each.
        RuntimeError: if TFDS could not download or prepare its data.
        NotImplementedError: if images are to be augmented under another backend of Keras than TensorFlow.

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

    name = source
    if is_digits:
        loaded = load_digits(validation_split, seed)
    elif os.path.isdir(source):
        name = os.path.basename(os.path.abspath(source))
        scaled = image_size and _scale(image_size, ratio)
        loaded = load_folder(source, scaled, validation_split, verify, seed, MEMORY)
    else:
        loaded = load_tfds(source, image_size, validation_split, seed, data_dir)
    (train, validation), class_names, image_shape, (num_train, num_validation) = loaded
    data = Data(name, train, validation, class_names, image_shape, num_train, num_validation)
    if augment is None:
        augment = not is_digits
    return _pipeline(data, image_size, batch_size, augment, seed, cache=not is_digits, resize_ratio=ratio)


def augmentation(
    image_shape: Sequence[int],
    *,
    flip: bool = True,
    padding: int = 4,
    crop_from: tuple[int, int] | None = None,
    rand_augment: bool = False,
    seed: int | None = None,
) -> keras.Sequential:
    """Build Keras layers for random horizontal flips, crops of the zero-padded or a larger image, and RandAugment.

    Call it on one image at a time, as `load` does: Keras' `RandomCrop` moves a whole batch by one offset.

    Args:
        image_shape: `(H, W, C)` of the result.
        flip: whether to flip one image in two, left to right.
        padding: pixels of zeros added on each side before the crop, that is, the largest shift. 0 for no crop.
        crop_from: `(height, width)` of larger images to crop, instead of padding; None for images of `image_shape`.
        rand_augment: whether to apply two random operations of Keras' `RandAugment` after that, of strength 1/3: the
            10 of 30 of other implementations, but on Keras' own scale, on which rotations are stronger. Needs Keras
            3.11: older versions choose the operations once for all images of a `tf.data` pipeline.
        seed: int, or None for a random one.

    Returns:
        A model from `(1, H, W, C)`, any real dtype, to `(1, *image_shape)` in float32; random with `training=True`.

    Raises:
        ValueError: if an argument is out of range.
        ImportError: if Keras is too old for `rand_augment`.

    Example:
        ```python
        augment = keras_coda.data.augmentation((32, 32, 3), seed=0)
        augment(np.zeros((1, 32, 32, 3), "uint8"), training=True)
        ```
    """
    is_shape = isinstance(image_shape, (tuple, list)) and len(image_shape) == 3
    require(is_shape, "`image_shape` must be (height, width, channels)", image_shape=image_shape)
    image_shape = tuple(check_int("image_shape", side) for side in image_shape)
    options = {"dtype": "float32", "data_format": "channels_last"}  # a mixed precision policy would round the pixels
    seeds = [None if seed is None else seed + i for i in range(3)]  # with one seed they would be correlated
    layers = [keras.layers.RandomFlip("horizontal", seed=seeds[0], **options)] if flip else []
    if check_int("padding", padding, minimum=0) and not crop_from:
        layers.append(keras.layers.ZeroPadding2D(padding, **options))
    if padding or crop_from:
        layers.append(keras.layers.RandomCrop(*image_shape[:2], seed=seeds[1], **options))
    if rand_augment:
        require(image_shape[2] == 3, "RandAugment needs images with 3 channels", image_shape=image_shape)
        if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 11):
            raise ImportError(
                f"RandAugment needs Keras 3.11 or later. Received: Keras {keras.__version__}. Upgrade it, or use "
                'augment="flip_crop".'
            )
        layers.append(keras.layers.RandAugment((0, 255), num_ops=2, factor=1 / 3, seed=seeds[2], **options))
    layers = layers or [keras.layers.Identity(dtype="float32")]
    source = (*(crop_from or image_shape[:2]), image_shape[2])
    return keras.Sequential([keras.Input(source), *layers], name="augmentation")


# === Pipeline ===


def _scale(size, ratio):
    return tuple(round(ratio * side) for side in size)


def _pipeline(data, image_size, batch_size, augment, seed, cache, resize_ratio=1.0):
    """Resize, cache what is small, shuffle and augment the training images, batch."""
    import tensorflow as tf

    height, width, channels = shape = (*(image_size or data.image_shape[:2]), data.image_shape[2])
    scaled = (*_scale((height, width), resize_ratio), channels)
    top, left = (scaled[0] - height) // 2, (scaled[1] - width) // 2
    options = {"crop_to_aspect_ratio": True, "data_format": "channels_last", "dtype": "float32"}
    resizing = keras.layers.Resizing(*scaled[:2], **options) if scaled != tuple(data.image_shape) else None

    def prepare(image, label):
        # Keras' layer gives back the dtype of integers: rounded pixels.
        image = resizing(tf.cast(image, "float32")) if resizing else image
        return tf.ensure_shape(image, scaled), tf.cast(label, "int32")

    def cut(image, label):
        return image[top : top + height, left : left + width], label

    train, validation = (part.map(prepare, tf.data.AUTOTUNE) for part in (data.train, data.validation))
    image_bytes = math.prod(scaled) * train.element_spec[0].dtype.size
    if cache and image_bytes * (data.num_train + data.num_validation) <= MEMORY:
        train, validation = train.cache(), validation.cache()
    train = train.shuffle(min(data.num_train, max(1, MEMORY // image_bytes)), seed=seed)
    if isinstance(augment, bool):
        augment = "flip_crop" if augment else "none"
    name = augment.name if isinstance(augment, keras.Layer) else augment
    if augment in ("flip_crop", "rand_augment"):
        flip = data.name.split("/")[0].split(":")[0] not in CHARACTERS
        options = {"flip": flip, "padding": min(4, max(1, min(height, width) // 8)), "seed": seed}
        options["crop_from"] = scaled[:2] if scaled != shape else None
        augment = augmentation(shape, rand_augment=name == "rand_augment", **options)
    train = train.map(cut) if augment == "none" else augment_images(train, augment, seed)
    train, validation = (part.batch(batch_size).prefetch(tf.data.AUTOTUNE) for part in (train, validation.map(cut)))
    facts = {"batch_size": batch_size, "augmentation": name, "image_shape": shape}
    return dataclasses.replace(data, train=train, validation=validation, **facts)


def augment_images(images, layer, seed):
    """Apply a layer to each image, with random numbers that belong to this image alone.

    Called as usual, layers draw random numbers from one state that they share, so images that are augmented in parallel
    would get numbers that depend on timing. Here the state is an argument of the call: its first half is the seed of
    the layer, its second half a number drawn for the image.

    Args:
        images: `tf.data.Dataset` of `(image, label)`, images `(H, W, C)`.
        layer: Keras layer or model, called on `(1, H, W, C)` with `training=True`.
        seed: int.

    Returns:
        A `tf.data.Dataset` of the augmented images, float32, and their labels.

    Raises:
        NotImplementedError: under another backend of Keras than TensorFlow.
    """
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError("Augmentation needs the TensorFlow backend of Keras. Pass augment=False, or set it.")
    if not isinstance(layer, keras.Model):  # a model takes `training`, whether its layers do or not
        layer = keras.Sequential([layer])
    if not layer.built:
        layer.build((1, *images.element_spec[0].shape))

    weights = [keras.ops.convert_to_numpy(v) for v in layer.trainable_variables]
    state = [keras.ops.convert_to_numpy(v) for v in layer.non_trainable_variables]
    is_seed = [v.name == "seed_generator_state" for v in layer.non_trainable_variables]

    def augment(image_and_label, draw):
        image, label = image_and_label
        own = [tf.stack([v[0], tf.cast(draw, v.dtype)]) if seed else v for v, seed in zip(state, is_seed, strict=True)]
        output, _ = layer.stateless_call(weights, own, image[None], training=True)
        return tf.cast(output[0], "float32"), label

    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(images, draws).map(augment, num_parallel_calls=tf.data.AUTOTUNE)
