"""What the results of all metrics have in common: statistics, JSON files, and how they are shown."""

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from keras_coda.utils.checks import require
from keras_coda.utils.records import Record
from keras_coda.visualization import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False)
class Result(Record):
    """The values of a metric for one explainer. A metric adds its fields, and ``scores``.

    The class attributes say how results are shown. ``unit`` is the plural name of what is counted. ``panel`` is how
    they are drawn: ``"boxes"`` for the distribution of ``scores``, on an axis from ``limits`` (a pair, or None) that is
    called ``axis_label``; or ``"curves"``, see :class:`~keras_coda.evaluation.PixelRemovalResult`.

    Attributes:
        explainer: name of the explainer that made the maps.
        requested: how many independent units (grids, images) were asked for; there may be fewer.
    """

    json_key: ClassVar[str] = "metric"
    unit: ClassVar[str] = "units"
    panel: ClassVar[str] = "boxes"
    axis_label: ClassVar[str] = "score"
    limits: ClassVar[tuple[float, float] | None] = None

    explainer: str
    requested: int

    @property
    def scores(self) -> np.ndarray:
        """All values of the metric."""
        raise NotImplementedError

    @property
    def units(self) -> np.ndarray:
        """One value for each independent unit."""
        return self.scores

    @property
    def chance(self) -> float | None:
        """Score of a map without information, or None if there is no such score."""
        return None

    @property
    def heading(self) -> str:
        """Heading of the metric's column in the table of a comparison."""
        return type(self).__name__.removesuffix("Result")

    @property
    def footnote(self) -> str:
        """What was measured, for the line below the table of a comparison."""
        return f"{len(self.units)} {self.unit}"

    @property
    def mean(self) -> float:
        """Mean of all values."""
        return float(self.scores.mean())

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile of all values."""
        return tuple(np.percentile(self.scores, [25, 50, 75]).tolist())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, from the spread of the independent units; NaN if there is only one."""
        return _standard_error(self.units)

    @property
    def text(self) -> str:
        """Mean ± standard error as text, or the mean alone if there is only one unit."""
        error = "" if math.isnan(self.standard_error) else f" ± {self.standard_error:.3f}"
        return f"{self.mean:.3f}{error}"

    def difference(self, other: "Result") -> tuple[float, float]:
        """Return the mean difference to another explainer, measured on the same units.

        The units are compared one by one. Hence the standard error does not contain the spread between units.

        Args:
            other: a result of the same metric, for the same model, data and arguments.

        Returns:
            ``(mean, standard error)`` of this result's units minus the other's.

        Raises:
            ValueError: if the other result is of another metric, or has another number of units.
        """
        kinds = type(self).__name__, type(other).__name__
        require(kinds[0] == kinds[1], "Only results of the same metric can be compared", metrics=kinds)
        sizes = len(self.units), len(other.units)
        rule = "Only results on the same units can be compared"
        require(sizes[0] == sizes[1], rule, "Measure both on the same data", units=sizes)
        differences = self.units - other.units
        return float(differences.mean()), _standard_error(differences)

    def summary(self) -> dict:
        """Return mean, quartiles, standard error, and the numbers of units measured and requested."""
        return {
            "mean": self.mean,
            "quartiles": list(self.quartiles),
            "standard_error": self.standard_error,
            "units": len(self.units),
            "requested": self.requested,
        }

    def extra_json(self) -> dict:
        """Return the summary, which is written to the JSON file beside the fields."""
        return {"summary": self.summary()}

    def plot(self) -> "Figure":
        """Draw the result as a ``matplotlib.figure.Figure``."""
        return metrics.plot_comparison([self])

    def __repr__(self) -> str:
        units = f"{len(self.units)} of {self.requested}"
        return f"<{type(self).__name__} {self.explainer}: {self.text} ({units})>"


def _standard_error(units: np.ndarray) -> float:
    """Return the standard error of the mean of independent values; NaN for a single value."""
    return float(units.std(ddof=1) / math.sqrt(len(units))) if len(units) > 1 else math.nan
