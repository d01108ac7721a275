"""Recipes: the settings of a training as data, with this package's default and those of the papers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_coda.data.load import AUGMENTATIONS
from keras_coda.models.penalties import get_penalties, upgrade_penalties
from keras_coda.training.schedules import cosine_schedule, step_schedule
from keras_coda.utils.checks import check_finite, check_int, require

SCHEDULES = ("cosine", "step")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training, other than the network and the data.

    The optimizer is Adam. All fields are JSON-serializable: ``Recipe(**json.loads(text))`` reads what
    ``json.dumps(dataclasses.asdict(recipe))`` wrote, and ``dataclasses.replace(recipe, epochs=5)`` changes a field.

    Args:
        recipe: name, which is only recorded.
        epochs: int, passes over the training images.
        batch_size: int, images per step. :func:`keras_coda.data.load` makes the batches, not the training.
        learning_rate: float > 0, the peak.
        schedule: ``"cosine"``, see :func:`~keras_coda.training.schedules.cosine_schedule`, or ``"step"``, see
            :func:`~keras_coda.training.schedules.step_schedule`.
        warmup: float in [0, 1), the share of the steps (schedule "step": of the epochs) in which the rate rises.
        warmup_rate: float > 0, the rate at the beginning of the warm-up; None for the schedule's default. Only for
            "step".
        decay: float >= 1, the divisor of the rate. Only for "step".
        decay_epochs: int, number of epochs after which the rate is divided again. Only for "step".
        augmentation: ``"none"``, ``"flip_crop"``, ``"rand_augment"``, or None to choose by the data; see ``augment``
            of :func:`keras_coda.data.load`, which augments the images.
        resize_ratio: float >= 1, size of the images before they are cropped relative to the size after it; see
            ``resize_ratio`` of :func:`keras_coda.data.load`.
        ema: momentum in (0, 1) of an exponential moving average of the weights, with which the network is validated
            and the training ends; None for no averaging.
        penalties: weights (float >= 0) of the optional penalty terms added to the classification loss, by name:
            ``"linear_map"``, see :class:`~keras_coda.models.LinearMapPenalty`, or ``"map_consistency"``, see
            :class:`~keras_coda.models.MapConsistency`. Only one may be above 0.

    Raises:
        ValueError: if a field is out of range.
    """

    recipe: str = "default"
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.1
    warmup_rate: float | None = None
    decay: float | None = None
    decay_epochs: int | None = None
    augmentation: str | None = None
    resize_ratio: float = 1.0
    ema: float | None = None
    penalties: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_int("batch_size", self.batch_size)
        is_known = self.schedule in SCHEDULES
        require(is_known, f"`schedule` must be one of {SCHEDULES}", schedule=self.schedule)
        require(0 <= check_finite("warmup", self.warmup) < 1, "`warmup` must be in [0, 1)", warmup=self.warmup)
        steps = {name: getattr(self, name) for name in ("warmup_rate", "decay", "decay_epochs")}
        if self.schedule == "step":
            is_complete = None not in (self.decay, self.decay_epochs)
            rule = 'The schedule "step" needs `decay` and `decay_epochs`'
            require(is_complete, rule, "For instance decay=2, decay_epochs=30", **steps)
        else:
            is_alone = set(steps.values()) == {None}
            rule = '`warmup_rate`, `decay` and `decay_epochs` belong to the schedule "step"'
            require(is_alone, rule, schedule=self.schedule, **steps)
        is_known = self.augmentation in (*AUGMENTATIONS, None)
        require(is_known, f"`augmentation` must be one of {AUGMENTATIONS} or None", augmentation=self.augmentation)
        require(
            check_finite("resize_ratio", self.resize_ratio) >= 1,
            "`resize_ratio` must be at least 1",
            resize_ratio=self.resize_ratio,
        )
        require(self.ema is None or 0 < check_finite("ema", self.ema) < 1, "`ema` must be in (0, 1)", ema=self.ema)
        require(isinstance(self.penalties, dict), "`penalties` must be a dict", penalties=self.penalties)
        weights = zip(self.penalties, (penalty.weight for penalty in get_penalties(self.penalties)), strict=True)
        object.__setattr__(self, "penalties", {name: weight for name, weight in weights if weight})
        self.learning_rates(1)  # checks the other fields

    def learning_rates(self, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
        """Return the learning rate schedule of a training with ``steps_per_epoch`` steps in each epoch."""
        steps = check_int("epochs", self.epochs) * steps_per_epoch
        if self.schedule == "cosine":
            return cosine_schedule(self.learning_rate, steps, int(self.warmup * steps))
        assert self.decay is not None  # see __post_init__
        assert self.decay_epochs is not None
        return step_schedule(
            self.learning_rate,
            self.epochs,
            steps_per_epoch,
            decay=self.decay,
            decay_epochs=self.decay_epochs,
            warmup_epochs=round(self.warmup * self.epochs),
            warmup_rate=self.warmup_rate,
        )

    def optimizer(self, steps_per_epoch: int) -> keras.optimizers.Adam:
        """Return the optimizer of a training with ``steps_per_epoch`` steps in each epoch."""
        rates = self.learning_rates(steps_per_epoch)
        if self.ema is None:
            return keras.optimizers.Adam(rates)
        return keras.optimizers.Adam(rates, use_ema=True, ema_momentum=self.ema)

    def describe(self) -> str:
        """Return a short description of the optimization."""
        words = ["Adam"]
        if self.warmup:
            words.append("linear warm-up")
        cosine = "cosine decay to 0"
        words.append(cosine if self.schedule == "cosine" else f"rate / {self.decay:g} every {self.decay_epochs} epochs")
        if self.ema is not None:
            words.append(f"weights averaged with momentum {self.ema:g}")
        words += [penalty.describe() for penalty in get_penalties(self.penalties) if penalty.weight]
        return ", ".join(words)


def upgrade(arguments: dict) -> dict:
    """Convert the arguments that an earlier version recorded for a training, study or search to those of this version.

    Args:
        arguments: dict with the fields of a recipe among others (training), or with a dict of them under ``"recipe"``
            (study and search).
    """
    if isinstance(arguments.get("recipe"), dict):
        return {**arguments, "recipe": upgrade_penalties(arguments["recipe"])}
    return upgrade_penalties(arguments)


_STEPS: dict[str, Any] = {"recipe": "paper", "schedule": "step"}
_CIFAR = Recipe(
    **_STEPS, epochs=200, batch_size=16, learning_rate=2.5e-4, warmup=0.0, decay=1.5, decay_epochs=30,
    augmentation="flip_crop",
)  # fmt: skip
_IMAGENET = Recipe(
    **_STEPS, epochs=60, batch_size=64, learning_rate=1e-3, warmup=15 / 60, warmup_rate=2.5e-4, decay=2.0,
    decay_epochs=20, augmentation="rand_augment", resize_ratio=256 / 240,
)  # fmt: skip
NAMES = ("default", "paper")


def recipe(name: str, image_size: Sequence[int | None] = (32, 32)) -> Recipe:
    """Return a recipe by name.

    Args:
        name: ``"default"``, for a few epochs on a CPU, or ``"paper"``: the authors' recipe for CIFAR-10, or for
            ImageNet-100 if the network takes images of 128 pixels or more.
        image_size: ``(height, width)`` of the network's images in pixels, each None for any size.

    Raises:
        ValueError: for another name.

    Reference:
        The training details in the supplements of CVPR 2021 and TPAMI 2022.
    """
    require(name in NAMES, f"A recipe is one of {NAMES}", recipe=name)
    if name == "default":
        return Recipe()
    return _IMAGENET if max(size or 0 for size in image_size) >= 128 else _CIFAR
