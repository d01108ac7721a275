"""Results of searches and studies: tables, figures and JSON."""

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from keras_coda.utils.checks import require
from keras_coda.utils.records import Record
from keras_coda.utils.tables import markdown_table, to_html
from keras_coda.visualization import studies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HYPERPARAMETERS = ("temperature", "rank_multiplier", "learning_rate", "linear_map_regularization")
METRICS = ("val_accuracy", "localization")


@dataclasses.dataclass(frozen=True, repr=False)
class TuningResult(Record):
    """The trials of a search.

    Attributes:
        objective: formula of what was maximized.
        trials: one dict for each trial, the best first and failed ones last: ``trial``, ``status``, ``score`` (value of
            the objective; larger is better), the four hyperparameters, ``epochs``, ``val_accuracy``, ``localization``,
            ``localization_error`` (its standard error), ``localization_grids``, ``localization_chance`` (its value
            for uniform maps, 1 / images of a grid) and ``message`` (why a trial failed). None if there is no value.
            Without a grid, localization and localization_grids are 0. Trials of earlier versions have no
            ``localization_chance``.
    """

    json_indent: ClassVar[int] = 2

    objective: str
    trials: tuple[dict, ...]

    @property
    def best(self) -> dict:
        """The hyperparameters of the best trial; raises ``ValueError`` if no trial was completed."""
        return {name: self._completed()[0][name] for name in HYPERPARAMETERS}

    def table(self) -> str:
        """Return all trials as a Markdown table, the best first."""
        located = _heading(self.trials)
        head = ("trial", "T", "ranks ×", "learning rate", "λ", "epochs", "accuracy", located, "score")
        rows = []
        for trial in self.trials:
            cells = [trial["trial"], *(f"{trial[name]:.3g}" for name in HYPERPARAMETERS), str(trial["epochs"])]
            if trial["score"] is None:
                rows.append((*cells, trial["status"].lower(), trial["message"] or "–", "–"))
                continue
            value = number(trial["localization"], trial["localization_error"])
            value = value if trial["localization_grids"] else "0 (no grid)"
            rows.append((*cells, number(trial["val_accuracy"]), value, number(trial["score"])))
        return markdown_table(head, rows)

    def __repr__(self) -> str:
        done = [trial for trial in self.trials if trial["score"] is not None]
        best = (
            f"best {self.objective} {number(done[0]['score'])} in trial {done[0]['trial']}"
            if done
            else "none completed"
        )
        return f"<TuningResult: {len(self.trials)} trials, {best}>"

    def _repr_html_(self) -> str:
        return to_html(self.table())

    def plot(self) -> "Figure":
        """Draw accuracy and localization against each searched hyperparameter, as a ``matplotlib.figure.Figure``."""
        return studies.plot_trials(self._completed(), HYPERPARAMETERS)

    def _completed(self):
        completed = [trial for trial in self.trials if trial["score"] is not None]
        messages = [trial["message"] for trial in self.trials][:3]
        require(completed, "At least one trial must be completed", trials=len(self.trials), messages=messages)
        return completed


@dataclasses.dataclass(frozen=True, repr=False)
class TemperatureStudy(Record):
    """Accuracy and quality of the maps at several temperatures.

    Attributes:
        runs: one dict for each temperature and seed: ``temperature``, ``seed``, ``accuracy``, ``localization`` and
            ``removal`` (area under the curve, least important pixels removed first), each with its standard error
            (``..._error``), ``untouched`` (the probability of the true class before any pixel is removed), ``grids``,
            ``localization_chance`` (the localization of uniform maps, 1 / images of a grid), ``images`` and ``note``.
            None if there is no value; the note says why. Runs of earlier versions have no ``localization_chance``.
    """

    json_indent: ClassVar[int] = 2

    runs: tuple[dict, ...]

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures, increasing."""
        return tuple(sorted({run["temperature"] for run in self.runs}))

    def curve(self, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a metric as a function of the temperature.

        Args:
            metric: ``"accuracy"``, ``"localization"``, ``"removal"`` or ``"untouched"``.

        Returns:
            ``(temperatures, means, errors)``, each a float64 array ``(temperatures with a value,)``: the mean over the
            seeds that have a value, and its standard error. With one seed, the error comes from the grids and images,
            and does not include how much another training would differ. NaN if it is unknown.
        """
        points = []
        for temperature in self.temperatures:
            runs = [run for run in self.runs if run["temperature"] == temperature and run[metric] is not None]
            values = [run[metric] for run in runs]
            error = runs[0].get(f"{metric}_error") if len(runs) == 1 else None
            if len(runs) > 1:
                error = np.std(values, ddof=1) / math.sqrt(len(runs))
            if runs:
                points.append((temperature, np.mean(values), math.nan if error is None else error))
        temperatures, means, errors = np.array(points, "float64").reshape(-1, 3).T
        return temperatures, means, errors

    def table(self) -> str:
        """Return the mean ± standard error of every metric at each temperature as a Markdown table."""
        metrics = ("accuracy", "localization", "removal", "untouched")
        cells = {metric: dict(zip(*self._texts(metric), strict=True)) for metric in metrics}
        rows = []
        for temperature in self.temperatures:
            runs = [run for run in self.runs if run["temperature"] == temperature]
            notes = "; ".join(dict.fromkeys(run["note"] for run in runs if run["note"]))
            values = (cells[metric].get(temperature, "–") for metric in metrics)
            rows.append((f"{temperature:g}", str(len(runs)), *values, notes))
        head = ("T", "runs", "accuracy", _heading(self.runs), "removal AUC", "untouched", "note")
        return markdown_table(head, rows)

    def __repr__(self) -> str:
        temperatures = ", ".join(f"{temperature:g}" for temperature in self.temperatures)
        return f"<TemperatureStudy: {len(self.runs)} runs at the temperatures {temperatures or 'none'}>"

    def _repr_html_(self) -> str:
        return to_html(self.table())

    def plot(self, published: dict | None = None) -> "Figure":
        """Draw the three metrics against the temperature as a ``matplotlib.figure.Figure``.

        Args:
            published: ``{metric: {temperature: value}}`` of published values to draw too, such as
                :data:`keras_coda.tuning.S_CODA_CIFAR10`; or None.
        """
        return studies.plot_temperatures(self, published)

    def _texts(self, metric):
        temperatures, means, errors = self.curve(metric)
        return temperatures, [number(mean, error) for mean, error in zip(means, errors, strict=True)]


def _heading(runs):
    """Return the heading of the column of localization, with the value of uniform maps as far as it is known."""
    chances = sorted({run["localization_chance"] for run in runs if run.get("localization_chance")})
    return f"localization (chance {', '.join(f'{chance:.3f}' for chance in chances)})" if chances else "localization"


def number(value: float, error: float | None = None) -> str:
    """Return a number as text, with its standard error unless that is None or NaN."""
    return f"{value:.3f}" if error is None or math.isnan(error) else f"{value:.3f} ± {error:.3f}"
