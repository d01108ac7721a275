"""Images with labels from TensorFlow Datasets (TFDS)."""

import contextlib
import difflib
import sys
from typing import Any

import numpy as np

from keras_coda.data.listing import VALIDATION
from keras_coda.utils.checks import require


def load_tfds(name: str, image_size, validation_split: float, seed: int, data_dir, preparation=None) -> tuple:
    """Load a data set of single images with labels, see `keras_coda.data.load`.

    Returns:
        `(train, validation), class_names, image_shape, (num_train, num_validation)`.
    """
    builder = _find_builder(name, data_dir)
    import tensorflow_datasets as tfds

    features: Any = dict(getattr(builder.info.features, "items", dict)())
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
    names = "train", next((split for split in VALIDATION if split in splits), None)
    if names[1] is None:
        held_out = max(1, int(validation_split * splits["train"].num_examples))
        names = f"train[:-{held_out}]", f"train[-{held_out}:]"
    options = {"as_supervised": True, "read_config": tfds.ReadConfig(shuffle_seed=seed, try_autocache=False)}
    parts = [builder.as_dataset(split=split, shuffle_files=index == 0, **options) for index, split in enumerate(names)]
    if preparation is not None:
        parts = [_prepared(part, preparation, image.shape[-1]) for part in parts]
    class_names = tuple(map(str, label.names or range(label.num_classes)))
    return tuple(parts), class_names, image.shape, tuple(splits[split].num_examples for split in names)


def _prepared(dataset, preparation, channels):
    """Return the data set of the images that a preparation makes."""
    import tensorflow as tf

    shape = (preparation.crop, preparation.crop, channels)

    def prepare(image, label):
        return tf.ensure_shape(tf.numpy_function(preparation, [image], tf.float32, stateful=False), shape), label

    return dataset.map(prepare, tf.data.AUTOTUNE)


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
