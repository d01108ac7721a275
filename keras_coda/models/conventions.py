"""How labels, probabilities and pixels of a network are read: facts about it that change none of its weights."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_coda.data.preparation import Preparation
from keras_coda.explanations.calibration import Calibration
from keras_coda.utils.checks import check_window, require, to_numpy
from keras_coda.utils.reading import read_json

_FILE = "conventions.json"  # in a `.keras` file
_OWN = "keras_coda"  # key of what Keras' own `compile` does not take, in the optimizer's entry of the compile config


@dataclasses.dataclass(frozen=True)
class Conventions:
    """What must be known of a network beside its architecture and weights. Files hold only what is not the default.

    Attributes:
        multi_label: whether an image may have any number of labels: none, one or several.
        thresholds: one probability in (0, 1] for each class, from which on an image has its label; None: 0.5.
        window: the values ``(low, high)`` of files with 16 bits per channel that become the pixels 0 and 255; None for
            0 and 65535.
        preparation: how photos become images of the size that the network was trained on; None: they are scaled to
            cover the network's size and cut to it, or keep their size if the network takes any.
        calibration: how logits become calibrated probabilities; None: there are none.

    Raises:
        ValueError: for other values, or thresholds of a network whose images have one label each.
    """

    multi_label: bool = False
    thresholds: tuple[float, ...] | None = None
    window: tuple[float, float] | None = None
    preparation: Preparation | None = None
    calibration: Calibration | None = None

    def __post_init__(self):
        is_bool = isinstance(self.multi_label, bool)
        require(is_bool, "`multi_label` must be True or False", multi_label=self.multi_label)
        if self.thresholds is not None:
            rule, fix = "Thresholds belong to networks with several labels", "compile(multi_label=True)"
            require(self.multi_label, rule, fix, multi_label=self.multi_label)
            values = to_numpy(self.thresholds).astype("float64")
            rule = "`thresholds` must be one probability in (0, 1] for each class, or None"
            require(values.ndim == 1 and ((values > 0) & (values <= 1)).all(), rule, thresholds=self.thresholds)
            object.__setattr__(self, "thresholds", tuple(values.tolist()))
        object.__setattr__(self, "window", check_window(self.window))
        object.__setattr__(self, "preparation", Preparation.of(self.preparation))
        object.__setattr__(self, "calibration", Calibration.of(self.calibration))

    @classmethod
    def of(cls, stored: dict, num_classes: int) -> "Conventions":
        """Return the conventions that a file holds, see :meth:`stored`.

        Args:
            stored: the fields, and whatever else, which is ignored.
            num_classes: number of classes of the network.

        Raises:
            ValueError: for wrong values, or another number of thresholds or slopes than classes.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        try:
            found = cls(**{name: stored[name] for name in names if stored.get(name) is not None})
        except TypeError as error:  # values that are no numbers
            raise ValueError(f"Conventions must be as this package wrote them. Received: {stored!r:.200}") from error
        return found.checked(num_classes)

    def checked(self, num_classes: int) -> "Conventions":
        """Return these; raise ``ValueError`` unless there is one threshold and slope for each class, or none at all."""
        count = num_classes if self.thresholds is None else len(self.thresholds)
        require(
            count == num_classes, "There must be one threshold for each class", thresholds=count, classes=num_classes
        )
        slopes = num_classes if self.calibration is None else len(self.calibration.slopes)
        rule = "There must be one slope of the calibration for each class"
        require(slopes == num_classes, rule, slopes=slopes, classes=num_classes)
        return self

    def for_images(self, shape) -> "Conventions":
        """Return these, without a preparation that makes images of another size than ``(B, H, W, c)``."""
        own = self.preparation
        fits = own is None or all(side in (None, own.crop) for side in shape[1:3])
        return self if fits else dataclasses.replace(self, preparation=None)

    def stored(self) -> dict[str, Any]:
        """Return the fields that are not the default, JSON-serializable."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        for name in ("preparation", "calibration"):
            if fields[name] is not None:
                fields[name] = dataclasses.asdict(fields[name])
        return {name: value for name, value in fields.items() if value}


class ModelWithConventions(keras.Model):
    """The part of :class:`~keras_coda.models.ExplainableClassifier` that says how to read its labels and images.

    Attributes:
        conventions: see :class:`Conventions`.
    """

    conventions = Conventions()  # in place of a constructor's argument, which every architecture would have to pass on
    num_classes: int

    def take_conventions(self, stored: dict) -> None:
        """Set the conventions that a file holds, see :meth:`Conventions.of`, and the metrics that belong to them."""
        self.conventions = Conventions.of(stored, self.num_classes).for_images(self.input.shape)
        if self.multi_label:
            self.compile()

    def save_assets(self, folder) -> None:
        """Write the conventions that are not the default; Keras calls it when it writes a ``.keras`` file."""
        stored = self.conventions.stored()
        if stored:
            Path(folder, _FILE).write_text(json.dumps(stored), encoding="utf-8")

    def load_assets(self, folder) -> None:
        """Read what :meth:`save_assets` wrote; ``keras.models.load_model(path, compile=False)`` reads nothing else."""
        path = Path(folder or "", _FILE)
        stored = read_json(path) if folder and path.is_file() else self.conventions.stored()
        if stored != self.conventions.stored():
            self.take_conventions(stored)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have any number of labels; set by ``compile(multi_label=True)``."""
        return self.conventions.multi_label

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """For each class the probability from which on an image has its label; None: 0.5. May be set.

        :func:`keras_coda.evaluation.best_thresholds` chooses them by validation images.
        """
        return self.conventions.thresholds

    @thresholds.setter
    def thresholds(self, value):
        self.conventions = dataclasses.replace(self.conventions, thresholds=value).checked(self.num_classes)

    def decide(self, probabilities) -> np.ndarray:
        """Return which labels images have by the thresholds: bool ``(B, classes)``.

        Args:
            probabilities: ``(B, classes)``, for instance those of an explanation.
        """
        return to_numpy(probabilities) >= np.asarray(0.5 if self.thresholds is None else self.thresholds, "float32")

    @property
    def calibration(self) -> Calibration | None:
        """How logits become calibrated probabilities: a :class:`~keras_coda.explanations.Calibration`, or None.

        :func:`keras_coda.evaluation.calibrate` fits it to validation images. May be set; training removes it.
        """
        return self.conventions.calibration

    @calibration.setter
    def calibration(self, value):
        self.conventions = dataclasses.replace(self.conventions, calibration=value).checked(self.num_classes)

    @property
    def window(self) -> tuple[float, float] | None:
        """The values of 16-bit image files that become the pixels 0 and 255; None for 0 and 65535. May be set.

        What reads files for this network, such as ``explain("scan.png")``, applies it.
        """
        return self.conventions.window

    @window.setter
    def window(self, value):
        self.conventions = dataclasses.replace(self.conventions, window=value)

    @property
    def preparation(self) -> Preparation | None:
        """How photos become images for this network: a :class:`Preparation`, or None. May be set, also to its fields.

        What reads image files for this network, such as ``explain("photo.jpg")`` and exported networks, applies it.
        """
        return self.conventions.preparation

    @preparation.setter
    def preparation(self, value):
        changed = dataclasses.replace(self.conventions, preparation=value)
        fits = changed.for_images(self.input.shape) == changed
        rule = "The preparation must make images of the network's size"
        require(fits, rule, preparation=value, input_shape=self.input.shape[1:])
        self.conventions = changed


def with_own(compile_config: dict, own: dict) -> dict:
    """Return a compile config with entries of this package.

    They are not side by side with the others: ``clone_model`` passes all of those to the ``compile`` of a plain model.
    """
    optimizer = compile_config.get("optimizer")
    if not isinstance(optimizer, dict):
        return compile_config
    return {**compile_config, "optimizer": {**optimizer, _OWN: own}}


def own_of(compile_config: dict | None) -> dict:
    """Return the entries of this package in the compile config of a saved model."""
    optimizer = (compile_config or {}).get("optimizer")
    own = optimizer.get(_OWN) if isinstance(optimizer, dict) else None
    return dict(own) if isinstance(own, dict) else {}
