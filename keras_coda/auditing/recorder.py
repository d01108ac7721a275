"""The images of an audit, and the rows that a network gives for them: the same for writing and for checking."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.auditing.rows import make_rows, unreadable_row
from keras_coda.data.label_tables import is_table, read_tables
from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.explanations.explain import (
    calibration_of,
    class_names_of,
    explain,
    preparation_of,
    thresholds_of,
    window_of,
)
from keras_coda.explanations.explanation import Explanation
from keras_coda.explanations.files import find_images
from keras_coda.explanations.inputs import pixel_reader
from keras_coda.utils.checks import require
from keras_coda.utils.errors import NotEnoughMemoryError, UnreadableImageError
from keras_coda.utils.hashing import digest, digest_of_model


@dataclasses.dataclass(frozen=True)
class AuditedImages:
    """The image files of an audit, by their names in its rows.

    Attributes:
        root: the folder from which names are paths.
        labels: for each name the indices of its true classes, None where they are unknown.
    """

    root: Path
    labels: Mapping[str, Sequence[int] | None]

    @classmethod
    def of(
        cls, data: str | os.PathLike, class_names: Sequence[str] | None, without: Path | None = None
    ) -> "AuditedImages":
        """List the images of a folder, or of a CSV file of labels as for :func:`keras_coda.data.load`.

        An image of a folder has the label of the innermost folder that is named like a class of the network.

        Args:
            data: the folder or file.
            class_names: of the network.
            without: a folder whose images are left out: that of the audit.

        Raises:
            ValueError: for a folder without images, and a CSV file with other classes.
        """
        names = list(class_names or ())
        if is_table(os.fspath(data)):
            table = read_tables(data)[0]
            rule = "The CSV file must have a column for each class of the network"
            require(set(table.class_names) == set(names), rule, columns=table.class_names, classes=class_names)
            order = [names.index(name) for name in table.class_names]
            root = Path(os.path.abspath(table.source)).parent
            paths = [Path(os.path.abspath(path)) for path in table.paths]
            every = [sorted(order[k] for k, has in enumerate(row) if has) for row in table.labels]
            return cls(root, {_name(path, root): own for path, own in zip(paths, every, strict=True)})
        root = Path(data).expanduser().resolve()
        require(root.is_dir(), "`data` must be a folder of images, or a CSV file of labels", data=str(data))
        found: dict[str, Sequence[int] | None] = {}
        for path in find_images([root], without):
            folders = path.relative_to(root).parts[-2::-1]
            label = next((names.index(folder) for folder in folders if folder in names), None)
            found[_name(path, root)] = None if label is None else [label]
        return cls(root, found)


def _name(path, root):
    return Path(os.path.relpath(path, root)).as_posix()


class Recorder:
    """Makes the rows of image files with one network.

    Args:
        model: as for :func:`keras_coda.explain`, for images of one or three channels.
        images: which files there are.
        keep_maps: whether rows hold the maps.
        max_side: if the network takes images of any size, larger ones are reduced to this longer side; None: never.
        batch_size: images explained at a time.
        exact_maps: whether rows also have ``exact_map``, the map ``(H, W)`` before any rounding, which is no column.

    Attributes:
        model_hash: content hash of the network.
        preparation: how files become pixels, JSON-serializable.
    """

    def __init__(
        self,
        model,
        images: AuditedImages,
        *,
        keep_maps: bool = False,
        max_side: int | None = None,
        batch_size: int = 32,
        exact_maps: bool = False,
    ):
        input_shape = compiled_explainer(model).decomposition.input_shape
        prepared, window = preparation_of(model), window_of(model)
        self._pixels, is_fixed = pixel_reader(input_shape, max_side, window, prepared)
        self._model, self._images, self._keep_maps = model, images, keep_maps
        self._exact_maps = exact_maps
        self._step = batch_size if is_fixed else 1
        self._thresholds = thresholds_of(model, self.num_classes)
        self.model_hash = digest_of_model(model)
        *size, channels = input_shape
        self.preparation: dict[str, Any] = {"size": size, "channels": channels, "window": window}
        self.preparation["preparation"] = None if prepared is None else dataclasses.asdict(prepared)
        self.preparation["max_side"] = None if is_fixed else max_side

    @property
    def num_classes(self) -> int:
        """Number of classes of the network."""
        return compiled_explainer(self._model).decomposition.num_classes

    def rows(self, names: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of images, a list for each batch, in the order of the names."""
        for start in range(0, len(names), self._step):
            chosen = names[start : start + self._step]
            rows: dict[str, dict] = {}
            readable: dict[str, tuple[np.ndarray, str]] = {}
            for name in chosen:
                pixels, found = self._read(name)
                if isinstance(pixels, str):
                    rows[name] = self._unreadable(name, pixels, found)
                else:
                    readable[name] = pixels, found
            rows.update(zip(readable, self._explained(readable), strict=True))
            yield [rows[name] for name in chosen]

    def explain(self, names: Sequence[str]) -> list[tuple[list[str], Explanation]]:
        """Explain predicted classes; return names and explanation for each size of images, without unreadable ones."""
        by_size: dict[tuple, dict[str, np.ndarray]] = {}
        for name in names:
            pixels, _ = self._read(name)
            if not isinstance(pixels, str):
                by_size.setdefault(pixels.shape, {})[name] = pixels
        return [
            (list(read), explain(self._model, np.stack(list(read.values())), verbose=False))
            for read in by_size.values()
        ]

    def labeled_batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield ``(images, labels)`` of all images, labels ``(B, C)`` of 0 and 1.

        Raises:
            ValueError: for images whose label is not known.
            UnreadableImageError: for files that cannot be read.
        """
        unknown = [name for name, labels in self._images.labels.items() if labels is None]
        rule, fix = "The label of each image must be known", "Use a folder named like its class for each, or a CSV file"
        require(not unknown, rule, fix, images_without=len(unknown), first=unknown[:3])
        names = list(self._images.labels)
        for start in range(0, len(names), self._step):
            read = {name: self._read(name)[0] for name in names[start : start + self._step]}
            bad = [f"'{name}' ({reason})" for name, reason in read.items() if isinstance(reason, str)]
            if bad:
                raise UnreadableImageError(f"Images must be readable. Received: {', '.join(bad[:5])}.")
            labels = np.zeros((len(read), self.num_classes), "int32")
            for row, name in zip(labels, read, strict=True):
                row[list(self._images.labels[name] or ())] = 1
            yield np.stack(list(read.values())), labels

    def _read(self, name):
        """Return the image as the network takes it, or the reason why that cannot be, and the hash of its file."""
        try:
            content = (self._images.root / name).read_bytes()
        except OSError as error:
            return error.strerror or type(error).__name__, None
        found = hashlib.sha256(content).hexdigest()
        try:
            return self._pixels(content, name=name), found
        except UnreadableImageError as error:
            return str(error), found

    def _explained(self, readable) -> list[dict]:
        """Return the rows of images that could be read; a network may still refuse some of them."""
        if not readable:
            return []
        names = list(readable)
        try:
            found = explain(self._model, np.stack([pixels for pixels, _ in readable.values()]), verbose=False)
        except NotEnoughMemoryError:  # says nothing about the image
            raise
        except ValueError as error:
            if len(names) == 1:
                return [self._unreadable(names[0], str(error), readable[names[0]][1])]
            return [row for name in names for row in self._explained({name: readable[name]})]
        calibration = calibration_of(self._model)
        rows = make_rows(
            names,
            logits=found.logits,
            contributions=found.contributions[:, 0],
            predicted=found.classes[:, 0],
            bias=found.bias,
            offsets=None if found.offsets is None else found.offsets[:, 0],
            thresholds=self._thresholds,
            calibrated=None if calibration is None else calibration(found.logits),
            image_hashes=[readable[name][1] for name in names],
            labels=[self._images.labels.get(name) for name in names],
            model_hash=self.model_hash,
            preparation=self.preparation,
            keep_maps=self._keep_maps,
        )
        if self._exact_maps:
            rows = [{**row, "exact_map": one_map} for row, one_map in zip(rows, found.contributions[:, 0], strict=True)]
        return rows

    def _unreadable(self, name, reason, image_hash):
        options = {"model_hash": self.model_hash, "preparation": self.preparation}
        return unreadable_row(name, reason, image_hash=image_hash, labels=self._images.labels.get(name), **options)


def hash_of_names(names: Sequence[str]) -> str:
    """Return a content hash of which images there are, in their order."""
    return digest(*(os.fsencode(name).hex() for name in names))


def names_of_classes(model) -> list[str]:
    """Return the names of a network's classes: their numbers if it has none."""
    count = compiled_explainer(model).decomposition.num_classes
    return [str(name) for name in class_names_of(model) or range(count)]
