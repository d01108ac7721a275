"""Images with labels as `tf.data`: scikit-learn's digits, folders of images, TensorFlow Datasets (TFDS).

Pixels are in [0, 255] everywhere, as `CoDANet` takes them: uint8 as they are stored, float32 once resized or augmented.
"""

import contextlib
import dataclasses
import difflib
import os
import sys

import keras
import numpy as np

from keras_coda.image_folders import VALIDATION_NAMES, find_parts, verify_images
from keras_coda.validation import check_int, require

CHARACTERS = ("digits", "mnist", "mnist_corrupted", "emnist", "kmnist", "omniglot", "svhn_cropped")  # never flipped
MEMORY = 2**29  # bytes: smaller data sets are cached; also the bound of a shuffle buffer


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set in two parts, ready for `model.fit`.

    Attributes:
        name: "digits", the TFDS name or the name of the folder.
        train: `tf.data.Dataset` of `(images, labels)`: `(batch, H, W, C)`, pixels in [0, 255], and `(batch,)`, int32.
            In another order every epoch; the last batch may be smaller.
        validation: the same, never augmented, always in the same order, classes mixed.
        class_names: label `i` means `class_names[i]`.
        image_shape: `(H, W, C)`.
        num_train, num_validation: numbers of images.
    """

    name: str
    train: "tf.data.Dataset"  # noqa: F821
    validation: "tf.data.Dataset"  # noqa: F821
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    num_train: int
    num_validation: int

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load(
    source="digits",
    *,
    batch_size: int = 64,
    image_size=None,
    validation_split: float = 0.2,
    augment=None,
    verify: bool = True,
    seed: int = 0,
    data_dir=None,
) -> Data:
    """Load images and labels for training and validation.

    `source` is one of:

    - `"digits"`: scikit-learn's 1,797 scanned digits, `(8, 8, 1)`, 10 classes. No network; the split is stratified.
    - The path of a folder with one subfolder of images (.bmp, .gif, .jpeg, .jpg, .png; read in color) per class. If its
      only subfolders are `train` and `validation` (or `val`, `test`), each with class folders, these are the parts.
    - A TFDS name, such as `"cifar10"` or `"imagenette/160px-v2"`, unless there is a folder of that name. Validation is
      its split "validation", else "test", else the end of "train".

    Images that change size keep their shape: they are scaled to cover the new size, and cut to it about the center.

    Args:
        source: string or path, see above.
        batch_size: images per batch.
        image_size: int or `(H, W)`, in pixels; None keeps the size of the images (for a folder: of its first image).
        validation_split: share of the images for validation, in (0, 1), if the source does not come in two parts.
        augment: whether to augment the training images with `augmentation`; None means yes, except for "digits". Known
            sets of characters (MNIST, SVHN...) are never flipped. Or your own Keras layer or model, which is called on
            one image at a time, `(1, H, W, C)`, with `training=True`.
        verify: whether to decode all images of a folder first and name the damaged ones. False for huge trusted ones.
        seed: int; with the seed of `keras.utils.set_random_seed`, if set, it determines the batches of every epoch.
        data_dir: where TFDS keeps its data; None for its default.

    Returns:
        A `Data`.

    Raises:
        ValueError: if an argument is out of range, `source` is unknown, a folder has fewer than two classes, no images
            or damaged ones (they are named), or a TFDS data set is not one of images with one label each.
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
        image_size = tuple(check_int("image_size", side) for side in pair)
    is_share = isinstance(validation_split, float) and 0 < validation_split < 1
    rule = "`validation_split` must be a float between 0 and 1, both excluded"
    require(is_share, rule, "Use 0.2 for a fifth of the images", validation_split=validation_split)
    is_known = isinstance(augment, (bool, type(None), keras.Layer))
    require(is_known, "`augment` must be None, a boolean or a Keras layer or model", augment=augment)
    is_digits = source == "digits"  # and not a path of that name
    source = os.path.expanduser(os.fspath(source))

    if is_digits:
        data = _load_digits(validation_split, seed)
    elif os.path.isdir(source):
        data = _load_folder(source, image_size, validation_split, verify, seed)
    else:
        data = _load_tfds(source, image_size, validation_split, seed, data_dir)
    if augment is None:
        augment = not is_digits
    return _pipeline(data, image_size, batch_size, augment, seed, cache=not is_digits)


def augmentation(image_shape, *, flip: bool = True, padding: int = 4, seed: int | None = None) -> keras.Sequential:
    """Random horizontal flips, and crops out of the zero-padded image, as Keras layers.

    Call it on one image at a time, as `load` does: Keras' `RandomCrop` moves a whole batch by one offset.

    Args:
        image_shape: `(H, W, C)`, which is kept.
        flip: whether to flip one image in two, left to right.
        padding: pixels of zeros added on each side before the crop, that is, the largest shift. 0 for no crop.
        seed: int, or None for a random one.

    Returns:
        A model from `(1, H, W, C)`, any real dtype, to the same shape in float32; random with `training=True`.

    Raises:
        ValueError: if `image_shape` or `padding` is out of range.

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
    layers = [keras.layers.RandomFlip("horizontal", seed=seed, **options)] if flip else []
    if check_int("padding", padding, minimum=0):
        crop_seed = None if seed is None else seed + 1  # with the flip's own seed the two would be correlated
        layers.append(keras.layers.ZeroPadding2D(padding, **options))
        layers.append(keras.layers.RandomCrop(*image_shape[:2], seed=crop_seed, **options))
    layers = layers or [keras.layers.Identity(dtype="float32")]
    return keras.Sequential([keras.Input(image_shape), *layers], name="augmentation")


# === Sources: each becomes a `Data` of single images ===


def _load_digits(validation_split, seed):
    import tensorflow as tf
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.rint(digits.images[..., None] * (255 / 16)).astype("uint8")  # stored as 0..16
    split = {"test_size": validation_split, "stratify": digits.target, "random_state": seed}
    x, x_val, y, y_val = train_test_split(images, digits.target, **split)
    train, validation = (tf.data.Dataset.from_tensor_slices(part) for part in ((x, y), (x_val, y_val)))
    return Data("digits", train, validation, tuple("0123456789"), images.shape[1:], len(x), len(x_val))


def _load_folder(folder, image_size, validation_split, verify, seed):
    parts = find_parts(folder)  # {folder: {class name: paths}}
    images = [path for classes in parts.values() for paths in classes.values() for path in paths]
    if verify:
        verify_images(images)
    if image_size is None:
        from PIL import Image

        with Image.open(images[0]) as image:
            image_size = (image.height, image.width)
    directory, *others = parts
    options = {"class_names": list(parts[directory]), "batch_size": None, "image_size": image_size, "seed": seed}
    options |= {"crop_to_aspect_ratio": True, "data_format": "channels_last"}
    if not others:
        rule, count = "There must be images left for training and for validation", int(validation_split * len(images))
        require(0 < count < len(images), rule, source=folder, images=len(images), validation_split=validation_split)
        options |= {"validation_split": validation_split, "subset": "both"}
    with contextlib.redirect_stdout(sys.stderr):  # Keras prints numbers of files
        datasets = keras.utils.image_dataset_from_directory(directory, **options)
        if others:
            datasets = datasets, keras.utils.image_dataset_from_directory(*others, shuffle=False, **options)
    name = os.path.basename(os.path.abspath(folder))
    sizes = [len(dataset.file_paths) for dataset in datasets]
    train, validation = datasets
    if others:  # sorted by class, and whoever looks at the first images only would see one class
        buffer = min(sizes[1], max(1, MEMORY // (image_size[0] * image_size[1] * 3 * 4)))
        validation = validation.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
    return Data(name, train, validation, tuple(parts[directory]), (*image_size, 3), *sizes)


def _load_tfds(name, image_size, validation_split, seed, data_dir):
    builder = _find_builder(name, data_dir)
    import tensorflow_datasets as tfds

    features = dict(getattr(builder.info.features, "items", dict)())
    image, label = (features.get(key) for key in (builder.info.supervised_keys or (None, None))[:2])
    is_labelled = isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)
    rule = "The data set must consist of 8-bit images with one class label each"
    require(is_labelled and image.np_dtype == np.uint8, rule, source=name, inputs=image, targets=label)
    rule = "The images of this data set differ in size, so they must be given one"
    require(image_size or None not in image.shape, rule, "Use image_size=224, say", source=name, image_size=None)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare()
    except Exception as error:
        raise RuntimeError(
            f"TFDS could not download or prepare its data. Received: source={name!r}, data_dir={data_dir!r}. Check the "
            'network, or prepare the data elsewhere and pass `data_dir`; "digits" needs neither. '
            f"The cause is {type(error).__name__}: {error}"
        ) from error
    splits = builder.info.splits
    require("train" in splits, "The data set must have a split 'train'", source=name, splits=list(splits))
    names = "train", next((split for split in VALIDATION_NAMES if split in splits), None)
    if names[1] is None:
        held_out = max(1, int(validation_split * splits["train"].num_examples))
        names = f"train[:-{held_out}]", f"train[-{held_out}:]"
    options = {"as_supervised": True, "read_config": tfds.ReadConfig(shuffle_seed=seed, try_autocache=False)}
    train = builder.as_dataset(split=names[0], shuffle_files=True, **options)
    validation = builder.as_dataset(split=names[1], **options)
    class_names = tuple(map(str, label.names or range(label.num_classes)))
    return Data(name, train, validation, class_names, image.shape, *(splits[split].num_examples for split in names))


def _find_builder(name, data_dir):
    known = []
    try:
        import tensorflow_datasets as tfds

        known = tfds.list_builders(with_community_datasets=False)
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:
        matches = " or ".join(map(repr, difflib.get_close_matches(name, ["digits", *known])))
        cause = str(error).partition("\n")[0]
        raise ValueError(
            '`source` must be "digits", an existing folder or a TFDS name (`pip install tensorflow-datasets`). '
            f"Received: source={name!r}.{f' Did you mean {matches}?' * bool(matches)} TFDS says: {cause}"
        ) from error


# === Pipeline ===


def _pipeline(data, image_size, batch_size, augment, seed, cache):
    """Resize, cache what is small, shuffle and augment the training images, batch."""
    import tensorflow as tf

    height, width, channels = shape = (*(image_size or data.image_shape[:2]), data.image_shape[2])
    options = {"crop_to_aspect_ratio": True, "data_format": "channels_last", "dtype": "float32"}
    resizing = keras.layers.Resizing(height, width, **options) if shape != tuple(data.image_shape) else None

    def prepare(image, label):
        # Keras' layer gives back the dtype of integers: rounded pixels.
        image = resizing(tf.cast(image, "float32")) if resizing else image
        return tf.ensure_shape(image, shape), tf.cast(label, "int32")

    train, validation = (part.map(prepare, tf.data.AUTOTUNE) for part in (data.train, data.validation))
    image_bytes = height * width * channels * train.element_spec[0].dtype.size
    if cache and image_bytes * (data.num_train + data.num_validation) <= MEMORY:
        train, validation = train.cache(), validation.cache()
    train = train.shuffle(min(data.num_train, max(1, MEMORY // image_bytes)), seed=seed)
    if augment is True:
        flip = data.name.split("/")[0].split(":")[0] not in CHARACTERS
        augment = augmentation(shape, flip=flip, padding=min(4, max(1, min(height, width) // 8)), seed=seed)
    if augment is not False:
        train = _augment(train, augment, seed)
    train, validation = (part.batch(batch_size).prefetch(tf.data.AUTOTUNE) for part in (train, validation))
    return dataclasses.replace(data, train=train, validation=validation, image_shape=shape)


def _augment(images, layer, seed):
    """Apply `layer` to each image with random state of its own.

    Called as usual, the layers would draw from a state they share, and images augmented in parallel would get numbers
    that depend on timing. Here the state is an argument: its first half the seed of the layer, the second the image's.
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
