"""Random changes of training images, and how images are made ready for training."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_coda.utils.checks import check_int, require

AUGMENTATIONS = ("none", "flip_crop", "rand_augment")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is done to the images of a data set, on every backend of Keras.

    Attributes:
        stored: `(H, W, C)` that images are resized to and kept at.
        shape: `(H, W, C)` of the images of a batch, at most as large.
        batch_size: images per batch.
        augment: one of `AUGMENTATIONS`, or a Keras layer.
        flip: whether half of the images are flipped, if `augment` is not "none".
        seed: of the order and of all random changes.
        memory: bytes: smaller data sets are kept in memory.
    """

    stored: tuple[int, int, int]
    shape: tuple[int, int, int]
    batch_size: int
    augment: str | keras.Layer
    flip: bool
    seed: int
    memory: int

    @property
    def padding(self) -> int:
        """Pixels of zeros added on each side before a random crop; 0 if images are stored larger."""
        height, width, _ = self.shape
        return min(4, max(1, min(height, width) // 8)) if self.stored == self.shape else 0

    @property
    def is_own_layer(self) -> bool:
        """Whether images are augmented by a layer of the user."""
        return isinstance(self.augment, keras.Layer)

    @property
    def name(self) -> str:
        """The name of the augmentation."""
        return self.augment.name if isinstance(self.augment, keras.Layer) else self.augment


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


def layer_on_one_image(layer: keras.Layer, image_shape: Sequence[int | None]) -> Callable[[Any, Any], Any]:
    """Return the function that applies a layer to one image, with random numbers that belong to this image alone.

    Called as usual, layers draw random numbers from one state that they share, so images that are augmented in parallel
    would get numbers that depend on timing. Here the state is an argument of the call: its first half is the seed of
    the layer, its second half a number drawn for the image.

    Args:
        layer: Keras layer or model, called on ``(1, H, W, C)`` with ``training=True``.
        image_shape: ``(H, W, C)``.

    Returns:
        A function of an image ``(H, W, C)`` and an integer, to the image in float32; with ``keras.ops`` only.
    """
    # A model takes `training`, whether its layers do or not.
    model = layer if isinstance(layer, keras.Model) else keras.Sequential([layer])
    if not model.built:
        model.build((1, *image_shape))
    weights = [ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    state = [ops.convert_to_numpy(variable) for variable in model.non_trainable_variables]
    is_seed = [variable.name == "seed_generator_state" for variable in model.non_trainable_variables]

    def augment(image, draw):
        own = [
            ops.stack([value[0], ops.cast(draw, value.dtype)]) if seed else value
            for value, seed in zip(state, is_seed, strict=True)
        ]
        output, _ = model.stateless_call(weights, own, image[None], training=True)
        return ops.cast(output[0], "float32")

    return augment
