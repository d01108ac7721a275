"""What searches and studies found: tables, figures and JSON; and the folders they are kept in."""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np

from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import require
from keras_coda.visualization import studies

HYPERPARAMETERS = ("temperature", "rank_multiplier", "learning_rate", "linear_map_regularization")


class _Json:
    """A dataclass of JSON's types that is written to a file, whole or not at all, and read again."""

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """Return everything as JSON, and write it to a file if there is a ``path``, whole or not at all."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        text = json.dumps({"kind": type(self).__name__, **fields}, indent=2, allow_nan=False)
        if path is not None:
            with new_file(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, path: str | os.PathLike):
        """Read a file that :meth:`to_json` wrote; raises ``ValueError`` if it holds something else."""
        contents = json.loads(Path(path).read_text(encoding="utf-8"))
        kind = contents.pop("kind", None) if isinstance(contents, dict) else None
        require(kind == cls.__name__, f"The file must hold a {cls.__name__}", path=str(path), kind=kind)
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in contents.items()})


@dataclasses.dataclass(frozen=True)
class TuningResult(_Json):
    """What a search found.

    Attributes:
        objective: what was maximized.
        trials: one dict each, the best first and failed ones last: ``trial``, ``status``, ``score`` (of the objective;
            larger is better), the four hyperparameters, ``epochs``, ``val_accuracy``, ``localization``,
            ``localization_error`` (its standard error), ``localization_grids`` and ``message`` (why a trial failed);
            None where there is no value. Without a grid the localization is 0.
    """

    objective: str
    trials: tuple[dict, ...]

    @property
    def best(self) -> dict:
        """The four hyperparameters of the best trial; raises ``ValueError`` if no trial was completed."""
        return {name: self._completed()[0][name] for name in HYPERPARAMETERS}

    def table(self) -> str:
        """Return all trials as a Markdown table, the best first."""
        head = ("trial", "T", "ranks ×", "learning rate", "λ", "epochs", "accuracy", "localization", "score")
        rows = []
        for trial in self.trials:
            cells = [trial["trial"], *(f"{trial[name]:.3g}" for name in HYPERPARAMETERS), str(trial["epochs"])]
            if trial["score"] is None:
                rows.append((*cells, trial["status"].lower(), trial["message"] or "–", "–"))
                continue
            value = number(trial["localization"], trial["localization_error"])
            value = value if trial["localization_grids"] else "0 (no grid)"
            rows.append((*cells, number(trial["val_accuracy"]), value, number(trial["score"])))
        return _markdown(head, rows)

    def plot(self):
        """Draw accuracy and localization against whatever was searched, as a ``matplotlib.figure.Figure``."""
        return studies.plot_trials(self._completed(), HYPERPARAMETERS)

    def _completed(self):
        completed = [trial for trial in self.trials if trial["score"] is not None]
        messages = [trial["message"] for trial in self.trials][:3]
        require(completed, "At least one trial must be completed", trials=len(self.trials), messages=messages)
        return completed


@dataclasses.dataclass(frozen=True)
class TemperatureStudy(_Json):
    """Accuracy and quality of the maps at several temperatures.

    Attributes:
        runs: one dict for each temperature and seed: ``temperature``, ``seed``, ``accuracy``, ``localization`` and
            ``removal`` (area under the curve, least important first), each with its standard error (``..._error``),
            ``untouched`` (the probability of the true class before any pixel is removed), ``grids``, ``images``, and
            ``note``. None where there is no value, which the note explains.
    """

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
            ``(temperatures, means, errors)``, float64 each: the mean over the seeds that have a value, and its
            standard error. Of several seeds that is the error of their mean; of a single one, it comes from the grids
            and images, and does not know how much another training would differ. NaN where it cannot be known.
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
        return tuple(np.array(points, "float64").reshape(-1, 3).T)

    def table(self) -> str:
        """Return mean ± standard error of every metric at each temperature as a Markdown table."""
        metrics = ("accuracy", "localization", "removal", "untouched")
        cells = {metric: dict(zip(*self._texts(metric), strict=True)) for metric in metrics}
        rows = []
        for temperature in self.temperatures:
            runs = [run for run in self.runs if run["temperature"] == temperature]
            notes = "; ".join(dict.fromkeys(run["note"] for run in runs if run["note"]))
            values = (cells[metric].get(temperature, "–") for metric in metrics)
            rows.append((f"{temperature:g}", str(len(runs)), *values, notes))
        return _markdown(("T", "runs", "accuracy", "localization", "removal AUC", "untouched", "note"), rows)

    def plot(self, published: dict | None = None):
        """Draw the three metrics against the temperature as a ``matplotlib.figure.Figure``.

        Args:
            published: ``{metric: {temperature: value}}`` to draw beside, such as
                :data:`keras_coda.tuning.S_CODA_CIFAR10`, or None.
        """
        return studies.plot_temperatures(self, published)

    def _texts(self, metric):
        temperatures, means, errors = self.curve(metric)
        return temperatures, [number(mean, error) for mean, error in zip(means, errors, strict=True)]


def number(value: float, error: float | None = None) -> str:
    """Write a number, with its standard error where there is one."""
    return f"{value:.3f}" if error is None or math.isnan(error) else f"{value:.3f} ± {error:.3f}"


def claim_folder(out: Path, file: str, arguments: dict, *, what: str, foreign: tuple[str, ...]) -> None:
    """Create the folder of a search or study, or raise ``ValueError`` if it is another one's.

    Args:
        out: the folder.
        file: name of the file in it that holds the arguments.
        arguments: what makes this search or study another one than the next, JSON-serializable.
        what: "search" or "study", for errors.
        foreign: names of what a search or study leaves behind beside that file.
    """
    recorded, arguments = out / file, json.loads(json.dumps(arguments))
    found = [name for name in foreign if (out / name).exists()]  # before another process may begin the same search
    if not recorded.exists():
        require(not found, f"The folder must be new or hold a {what}", out=str(out), found=found, without=file)
        out.mkdir(parents=True, exist_ok=True)
        with new_file(recorded) as temporary:
            temporary.write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")
    before = json.loads(recorded.read_text(encoding="utf-8"))
    changed = [name for name in sorted(before.keys() | arguments.keys()) if before.get(name) != arguments.get(name)]
    now, was = ({name: values.get(name) for name in changed} for values in (arguments, before))
    rule = f"A {what} goes on with the arguments it began with"
    require(not changed, rule, "Repeat them as they were, or choose another folder", out=str(out), now=now, before=was)


def _markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
