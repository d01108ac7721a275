"""What all post-hoc methods have in common: a name made from their arguments, and checks of what they explain."""

import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np

from keras_coda.posthoc import gradients
from keras_coda.utils.checks import check_given_classes, check_images, num_classes_of, require


class Method:
    """Base of all methods. A subclass is a dataclass and has ``_maps``."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # every subclass is a dataclass

    @property
    def __name__(self) -> str:
        fields = [(field, getattr(self, field.name)) for field in dataclasses.fields(self)]
        changed = [f"{field.name}={value!r}" for field, value in fields if value != field.default]
        kind: type = type(self)
        return f"{kind.__name__}({', '.join(changed)})" if changed else kind.__name__

    def __call__(self, model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Explain the logit of one class for every image.

        Args:
            model: returns logits ``(B, classes)``; functional or sequential.
            images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255].
            classes: ``(B,)`` int.

        Returns:
            Maps ``(B, H, W)``, float32.

        Raises:
            ImportError: on TensorFlow, if tf-explain or OpenCV are not installed.
            TypeError, ValueError: for images or classes that do not fit the model. ValueError on Torch.
        """
        return self._checked_maps(model, images, classes, "(batch,), one class for each image", 1)[:, 0]

    def of_classes(self, model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Explain K logits for every image: the same maps as K calls, from shared predictions.

        Args:
            model: see :meth:`__call__`.
            images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255].
            classes: ``(B, K)`` int.

        Returns:
            Maps ``(B, K, H, W)``, float32.
        """
        return self._checked_maps(model, images, classes, "(batch, K), K classes for each image", 2)

    def _checked_maps(self, model, images, classes, what, axes):
        gradients.tf_explain()
        num_classes, shape = num_classes_of(model), model.input_shape
        images = check_images(images, shape[-1], shape[1:3])
        require(np.ndim(classes) == axes, f"`classes` must be {what}", classes=classes)
        return self._maps(model, images, check_given_classes(classes, len(images), num_classes)).astype("float32")

    def _maps(self, model, images, classes):
        """Return the maps ``(B, K, H, W)`` of float32 images for the classes ``(B, K)``."""
        raise NotImplementedError
