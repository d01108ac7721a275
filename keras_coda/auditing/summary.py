"""The numbers of an audit that its report is about: a few for each row, whatever the number of classes."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_coda.auditing.writing import MANIFEST, ROWS, Manifest, read_rows
from keras_coda.evaluation.calibration import Reliability
from keras_coda.utils.checks import require

STATISTICS = {
    "probability": "probability of the predicted class",
    "evidence": "sum of the absolute contributions",
    "positive_share": "share of positive contributions",
    "positive_area": "area of positive contributions",
    "residual": "completeness error, relative",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """What the rows of an audit say, without those of unreadable images.

    Attributes:
        manifest: of the audit.
        images: names, N of them.
        predicted: ``(N,)``, class indices.
        certainty: ``(N,)``: probability of the predicted class; of networks with several labels the smallest distance
            of a probability from its threshold.
        is_right: ``(N,)``, 1 if the predicted class is a true one, 0 if not, NaN where that is unknown.
        statistics: for each of :data:`STATISTICS` ``(N,)`` float32.
        calibrated: ``(N,)`` calibrated probability of the predicted class; None without a calibration.
        errors: ``(image, reason)`` of images that could not be read.
        versions: JSON, of the first row.
    """

    manifest: Manifest
    images: list[str]
    predicted: np.ndarray
    certainty: np.ndarray
    is_right: np.ndarray
    statistics: dict[str, np.ndarray]
    calibrated: np.ndarray | None
    errors: list[tuple[str, str]]
    versions: str

    @classmethod
    def of(cls, folder: str | os.PathLike) -> "Summary":
        """Read a finished audit.

        Raises:
            ValueError: if the folder holds none.
        """
        folder = Path(folder).expanduser()
        rule, fix = "The folder must hold a finished audit", "Run `keras-coda audit` to its end"
        require((folder / MANIFEST).is_file(), rule, fix, folder=str(folder), missing=MANIFEST)
        manifest = Manifest.from_json(folder / MANIFEST)
        images: list[str] = []
        numbers: list[tuple] = []
        errors: list[tuple[str, str]] = []
        versions = ""
        for shard in manifest.shards:  # one file at a time is in memory
            for row in read_rows(folder / ROWS / shard["file"]):
                versions = versions or row["versions"]
                if row["error"] is not None:
                    errors.append((row["image"], row["error"]))
                    continue
                images.append(row["image"])
                numbers.append(_numbers(row))
        table = np.array(numbers, "float64").reshape(len(numbers), 4 + len(STATISTICS))
        statistics = dict(zip(STATISTICS, table[:, 4:].T.astype("float32"), strict=True))
        calibrated = None if np.isnan(table[:, 3]).any() else table[:, 3]
        predicted = table[:, 0].astype("int64")
        return cls(manifest, images, predicted, table[:, 1], table[:, 2], statistics, calibrated, errors, versions)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes."""
        return self.manifest.arguments["class_names"]

    def reliability(self) -> list[Reliability]:
        """Return how often predictions are right, without and with calibration; nothing where labels are unknown."""
        known = ~np.isnan(self.is_right)
        if not known.any():
            return []
        is_right = self.is_right[known].astype(bool)
        every = {"sigmoids of the logits": self.statistics["probability"], "calibrated": self.calibrated}
        return [
            Reliability(np.asarray(shares, "float64")[known], is_right, float("nan"), name)
            for name, shares in every.items()
            if shares is not None
        ]


def _numbers(row):
    best, calibrated = row["predicted"], row["calibrated_probabilities"]
    probability = row["probabilities"][best]
    certainty = probability
    if row["thresholds"] is not None:
        certainty = float(np.abs(np.subtract(row["probabilities"], row["thresholds"])).min())
    is_right = np.nan if row["labels"] is None else float(best in row["labels"])
    more = (row[name] for name in STATISTICS if name != "probability")
    return best, certainty, is_right, np.nan if calibrated is None else calibrated[best], probability, *more
