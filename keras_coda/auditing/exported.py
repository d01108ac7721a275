"""The rows of an audit from an exported network: a SavedModel alone, which decodes the image files itself."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_coda.auditing.rows import make_rows, unreadable_row
from keras_coda.exporters.loading import LoadedSignature
from keras_coda.exporters.schema import BYTES, EXPLAIN

SIGNATURE = EXPLAIN + BYTES
_PROBLEM = re.compile(r"The image file cannot be served: .*?(?=\. Save it as|\] \[|$)")


@dataclasses.dataclass(frozen=True)
class Item:
    """An image of a data set.

    Attributes:
        name: its name in the rows.
        content: its file, whole; None if it could not be read.
        error: then the reason.
    """

    name: str
    content: bytes | None
    error: str = ""


class ExportedNetwork:
    """Makes the rows of image files with an exported network.

    Args:
        folder: of the SavedModel; it has the signature ``contributions_bytes``.
        model_hash: content hash of the SavedModel.
        thresholds: probability of each class from which on it is decided for; None: the predicted class is.
        keep_maps: whether rows hold the maps.
        package_versions: for the rows: those of the process that begins, not of each worker.
    """

    def __init__(
        self,
        folder: str,
        *,
        model_hash: str,
        thresholds: Sequence[float] | None = None,
        keep_maps: bool = False,
        package_versions: Mapping[str, str] | None = None,
    ):
        self._explain = LoadedSignature(folder, SIGNATURE)
        self._thresholds, self._keep_maps = thresholds, keep_maps
        self._shared: dict[str, Any] = {
            "model_hash": model_hash,
            "preparation": {"signature": SIGNATURE},
            "package_versions": package_versions,
        }

    def rows(self, items: Sequence[Item]) -> tuple[list[dict], list[dict]]:
        """Return the rows of the images that the network could explain, and those of all others with the reason."""
        readable = [item for item in items if item.content is not None]
        good, bad = self._explained(readable)
        bad += [self._unreadable(item, item.error) for item in items if item.content is None]
        return good, bad

    def _explained(self, items):
        """Halve a batch that fails until the images that are to blame are alone."""
        if not items:
            return [], []
        try:
            return self._rows([(item.name, item.content) for item in items]), []
        except ValueError as error:  # damaged files; logits that are not finite
            if len(items) == 1:
                return [], [self._unreadable(items[0], _reason(error))]
            parts = (self._explained(half) for half in (items[: len(items) // 2], items[len(items) // 2 :]))
            (good, bad), (more, worse) = parts
            return good + more, bad + worse

    def _rows(self, images):
        names, contents = zip(*images, strict=True)
        outputs = self._explain(image_bytes=list(contents))
        offsets = outputs.get("offsets")
        return make_rows(
            names,
            logits=outputs["logits"],
            contributions=outputs["contributions"][:, 0],
            predicted=outputs["classes"][:, 0],
            bias=float(outputs["bias"][0]),
            offsets=None if offsets is None else offsets[:, 0],
            thresholds=self._thresholds,
            calibrated=outputs.get("calibrated_probabilities"),
            image_hashes=[hashlib.sha256(content).hexdigest() for content in contents],
            keep_maps=self._keep_maps,
            **self._shared,
        )

    def _unreadable(self, item, reason):
        found = None if item.content is None else hashlib.sha256(item.content).hexdigest()
        return unreadable_row(item.name, reason, image_hash=found, **self._shared)


def _reason(error):
    """Return what a graph says about an image, without the names of its nodes."""
    text = str(error)
    found = _PROBLEM.search(text)
    return found[0] if found else re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*?\]", "", text).strip().splitlines()[0]
