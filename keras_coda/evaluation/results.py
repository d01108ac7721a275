"""What the results of all metrics share: statistics, and JSON files."""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np

from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import require


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """The values of a metric for one explainer; each metric adds its own fields.

    Attributes:
        explainer: name of what made the maps.
        requested: how many independent units (grids, images) were asked for; there may have been fewer.
    """

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
    def mean(self) -> float:
        """Mean of all values."""
        return float(self.scores.mean())

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The values below which a quarter, a half and three quarters of all values lie."""
        return tuple(np.percentile(self.scores, [25, 50, 75]).tolist())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, from the spread of the independent units; NaN for a single one."""
        return _standard_error(self.units)

    def difference(self, other: "Result") -> tuple[float, float]:
        """Compare with another explainer on the same units, one by one: their own spread is left out.

        Args:
            other: a result of the same metric, for the same model, data and arguments.

        Returns:
            ``(mean, standard error)`` of this result's units minus the other's.

        Raises:
            ValueError: for a result of another metric or with another number of units.
        """
        kinds = type(self).__name__, type(other).__name__
        require(kinds[0] == kinds[1], "Results of the same metric can be compared", metrics=kinds)
        sizes = len(self.units), len(other.units)
        require(sizes[0] == sizes[1], "Results on the same units can be compared", "Measure both alike", units=sizes)
        differences = self.units - other.units
        return float(differences.mean()), _standard_error(differences)

    def summary(self) -> dict:
        """Return mean, quartiles, standard error, and how many units there were of those asked for."""
        return {
            "mean": self.mean,
            "quartiles": list(self.quartiles),
            "standard_error": self.standard_error,
            "units": len(self.units),
            "requested": self.requested,
        }

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """Return the summary and all fields as JSON, and write them to a file if there is a ``path``.

        The file appears whole or not at all; one of that name is replaced. NaN becomes null.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
        summary = {name: None if value != value else value for name, value in self.summary().items()}
        text = json.dumps({"metric": type(self).__name__, "summary": summary, **fields}, allow_nan=False)
        if path is not None:
            with new_file(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> "Result":
        """Read a file that :meth:`to_json` wrote.

        Raises:
            ValueError: if it holds the result of something else.
        """
        contents = json.loads(Path(path).read_text(encoding="utf-8"))
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(contents, dict) or contents.get("metric") != cls.__name__ or names - contents.keys():
            metric = contents.get("metric") if isinstance(contents, dict) else contents
            raise ValueError(f"The file must hold a {cls.__name__}. Received: path='{path}' with metric={metric!r}")
        fields = {name: contents[name] for name in names}
        return cls(**{name: np.array(value) if isinstance(value, list) else value for name, value in fields.items()})

    def __repr__(self) -> str:
        error, units = self.standard_error, f"{len(self.units)} of {self.requested}"
        return f"<{type(self).__name__} {self.explainer}: {self.mean:.3f} ± {error:.3f} ({units})>"


def _standard_error(units: np.ndarray) -> float:
    """Return the standard error of the mean of independent values; NaN for a single one."""
    return float(units.std(ddof=1) / math.sqrt(len(units))) if len(units) > 1 else math.nan
