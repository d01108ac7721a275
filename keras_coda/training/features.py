"""Features of a frozen trunk, computed once for all epochs and kept on the disk."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_coda.data import numpy_batches, tensorflow_batches
from keras_coda.data.augmenting import Plan
from keras_coda.data.load import MEMORY, Data
from keras_coda.explanations import graph
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import require, to_numpy
from keras_coda.utils.hashing import digest, digest_of_model
from keras_coda.utils.progress import Progress

_IMAGES = 256  # in a file


def split_at_features(model: ExplainableClassifier) -> tuple[keras.Model, ExplainableClassifier]:
    """Return the frozen trunk of a classifier and the rest. They share its layers: training the rest trains it.

    Args:
        model: a classifier whose trunk is frozen, for instance a :func:`keras_coda.models.hybrid`.

    Returns:
        ``(trunk, head)``: from images to features, and from features to logits.

    Raises:
        ValueError: if there is no trunk, or it is not frozen.
    """
    activations = Decomposition.of(model).activations
    value = next(each for each in graph.values(model) if each.name == activations)
    while len(value.inputs) == 1 and not getattr(value.operation, "weights", ()):
        (value,) = value.inputs
    rule = "Features are those of a trunk with weights that is a layer or model of its own"
    require(value.inputs and not value.calls, rule, "Build it with `models.hybrid`", model=model.name)
    trunk = keras.Model(model.inputs[0], value.tensor, name="trunk")
    trainable = [each.path for each in trunk.trainable_weights]
    rule = "Features are computed once, so that the trunk must be frozen"
    require(not trainable, rule, "Use `trainable_trunk=False`", trainable=trainable[:3])
    return trunk, ExplainableClassifier(value.tensor, model.outputs[0], class_names=model.class_names)


def cached_features(
    trunk: keras.Model, images: np.ndarray, folder: str | os.PathLike, *, verbose: bool | str = "auto"
) -> np.ndarray:
    """Return the features of images, from the disk where they were computed before.

    Each file holds the features of 256 images. Its name is a hash of the trunk, its weights and these images, so that
    no other features are ever taken for them; an interrupted call continues where it was.

    Args:
        trunk: see :func:`split_at_features`.
        images: ``(N, H, W, c)``, pixels in [0, 255].
        folder: of the files; created if it does not exist.
        verbose: True for a progress bar, False for none, ``"auto"`` for one if it takes longer than two seconds.

    Returns:
        ``(N, h, w, channels)``, float32.

    Raises:
        ValueError: for images of another shape.
    """
    rule = "The images must be (N, height, width, channels) as the trunk takes them"
    expected = trunk.inputs[0].shape[1:]
    fits = images.ndim == 4 and all(want in (None, got) for want, got in zip(expected, images.shape[1:], strict=True))
    require(fits and len(images), rule, images=images.shape, trunk=expected)
    folder, of_trunk = Path(folder).expanduser(), digest_of_model(trunk)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with Progress(len(images), "image", show=verbose) as progress:
        for start in range(0, len(images), _IMAGES):
            part = images[start : start + _IMAGES]
            parts.append(_features(trunk, part, folder / f"{digest(of_trunk, part)}.npy"))
            progress.add(len(part))
    return np.concatenate(parts)


def _features(trunk, images, path):
    if path.is_file():
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # damaged: made again
            path.unlink()
        else:
            return found
    features = np.asarray(trunk.predict(images, batch_size=32, verbose=0), "float32")
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, features)
    return features


def feature_data(
    model: ExplainableClassifier, data: Data, folder: str | os.PathLike, *, seed: int = 0, verbose: bool | str = "auto"
) -> tuple[ExplainableClassifier, Data]:
    """Return the trainable part of a hybrid, and the features of data to train it on.

    Training it trains ``model``, too, with the same result as training ``model`` on the images in the same order.

    Args:
        model: see :func:`split_at_features`.
        data: loaded without augmentation: features of changed images would have to be computed anew.
        folder: see :func:`cached_features`.
        seed: of the order of the training images.
        verbose: as for :func:`cached_features`.

    Returns:
        ``(head, features)``, for ``train(head, features, out)``.

    Raises:
        ValueError: for augmented data, or as :func:`split_at_features`.

    Example:
        >>> images = keras.Input((8, 8, 1))
        >>> trunk = keras.Model(images, keras.layers.Conv2D(4, 3, activation="relu", name="features")(images))
        >>> model = keras_coda.models.hybrid(trunk, 10, filters=(10,), ranks=2)
        >>> head, features = feature_data(model, keras_coda.data.load("digits"), "features")
        >>> features.image_shape
        (6, 6, 4)
    """
    rule = "Features are computed once, so that images must not be augmented"
    augmented = data.augmentation not in (None, "none")
    require(not augmented, rule, 'Use data.load(..., augment="none")', augmentation=data.augmentation)
    trunk, head = split_at_features(model)
    (images, labels), (others, other_labels) = _arrays(data.train, True), _arrays(data.validation, False)
    features, more = (cached_features(trunk, part, folder, verbose=verbose) for part in (images, others))
    shape = features.shape[1:]
    plan = Plan(shape, shape, data.batch_size or 64, "none", False, seed, MEMORY)
    module = tensorflow_batches if keras.backend.backend() == "tensorflow" else numpy_batches
    parts = (features, labels), (more, other_labels)
    train, validation = module.batches(parts, (len(features), len(more)), plan)
    return head, dataclasses.replace(data, train=train, validation=validation, image_shape=shape)


def _arrays(batches: Iterable, is_shuffled):
    """Return all images and labels; shuffled ones in an order that depends on nothing but the images."""
    pairs = [(to_numpy(images), to_numpy(labels)) for images, labels in batches]
    images, labels = (np.concatenate(each) for each in zip(*pairs, strict=True))
    if is_shuffled:
        order = np.argsort([digest(image) for image in images], kind="stable")
        images, labels = images[order], labels[order]
    return images, labels
