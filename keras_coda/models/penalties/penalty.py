"""The base class of penalties: terms that training adds to the classification loss."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.utils.checks import check_finite, require


class Batch(NamedTuple):
    """What the classification loss of a training step is computed from, as Keras passes it to ``compute_loss``."""

    images: Any  # (batch, H, W, c), any real dtype, pixels in [0, 255]
    labels: Any  # int (batch,) or (batch, 1), or (batch, classes), one-hot or soft
    logits: Any  # (batch, classes), float32
    sample_weight: Any = None  # (batch,) or (batch, 1)


@dataclasses.dataclass(frozen=True)
class Penalty(abc.ABC):
    """A function of the maps that training adds to the classification loss, times a weight.

    A new penalty is a subclass in a file of its own, a frozen dataclass that is registered with Keras, and an entry in
    ``keras_coda.models.penalties.PENALTIES``. ``compile``, recipes and the command line find it there.

    Args:
        weight: float >= 0. A penalty with weight 0 is never computed.

    Attributes:
        logged: name of the value, without its weight, in the logs of training.

    Raises:
        ValueError: if the weight is negative or not a finite number.
    """

    logged: ClassVar[str]

    weight: float

    def __post_init__(self):
        name = f"{type(self).__name__}.weight"
        weight = check_finite(name, self.weight)
        require(weight >= 0, f"`{name}` must not be negative", **{name: weight})
        object.__setattr__(self, "weight", weight)  # an attribute of a frozen dataclass is set like this

    @abc.abstractmethod
    def measure(self, decomposition: Decomposition, batch: Batch, seed) -> tuple[Batch, Any]:
        """Compute the penalty in a training step, differentiably and with ``keras.ops`` only.

        Args:
            decomposition: of the model.
            batch: what Keras passes to ``compute_loss``.
            seed: ``keras.random.SeedGenerator`` for all random choices.

        Returns:
            ``(batch, value)``: the batch whose classification loss is computed next, and the penalty without its
            weight, a scalar. Logits that were computed along with the maps belong in the batch: only one forward pass
            is then differentiated.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """Say in a few words what is added to the loss."""

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "Penalty":
        """Create the penalty that :meth:`get_config` described."""
        return cls(**config)
