"""Callbacks for ``model.fit``: contribution maps, localization, averaged weights and a time estimate.

Put callbacks that measure something before loggers such as ``keras.callbacks.TensorBoard``: only later callbacks see
the values that they add to the logs. If the optimizer averages the weights (``use_ema=True``), the averages are
measured, because ``fit`` ends with them.
"""

import contextlib
import io
import math
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

import keras
import numpy as np

from keras_coda.evaluation import grids
from keras_coda.evaluation.datasets import check_dataset, labeled_batches, require_one_label
from keras_coda.evaluation.localization_grids import localization
from keras_coda.explanations.explain import explain
from keras_coda.models.averages import averaging_optimizer, set_averages
from keras_coda.training.summaries import EventFile, require_tensorboard
from keras_coda.utils.checks import check_classes, check_images, check_int, num_classes_of, require, to_numpy
from keras_coda.utils.errors import FewerGridsWarning, NonFiniteNetworkError, NotEnoughImagesError
from keras_coda.utils.labels import check_multi_hot, class_labels
from keras_coda.visualization.figure import save_picture


class ContributionMaps(keras.callbacks.Callback):
    """Draws the contribution maps of the same images every few epochs while a network learns.

    Every ``every`` epochs it draws each image beside its maps, writes the picture to ``folder/epoch-000001.png`` and so
    on (the file appears completely or not at all), and to TensorBoard. The largest residual
    ``|Σ contributions + bias - logit|`` of these maps is logged as ``largest_residual``, NaN in epochs without maps.
    No maps are drawn after an epoch whose loss is not finite, or that leaves weights with which maps are not.

    Args:
        images: ``(N, H, W, c)``, any real dtype, pixels in [0, 255]; or a data set that yields batches of images or
            of (images, labels), of which the first ``num_images`` images are drawn. Labels as for ``fit``, but not
            soft ones.
        folder: folder of the PNG files, created when the first is written; None for no files.
        log_dir: the log folder of TensorBoard; the pictures get its subfolder ``maps``. Needs
            ``pip install "keras-coda[tensorboard]"``, on every backend. None for no summaries.
        every: int, number of epochs from one picture to the next.
        classes: classes to explain, as for :meth:`CoDANet.explain`; None for the true class if the data have one
            label for each image, else the predicted one.
        num_images: int, how many images to draw from a data set. Of an array all are drawn.

    Raises:
        ValueError: if an argument is out of range, or neither ``folder`` nor ``log_dir`` is given. At the beginning of
            the training: if images or classes do not fit the model.
        ImportError: if ``log_dir`` is given and TensorBoard is not installed.

    Example:
        ```python
        data = keras_coda.data.load("digits")
        model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        maps = keras_coda.training.ContributionMaps(data.validation, "maps", every=5)
        model.fit(data.train, epochs=20, callbacks=[maps])
        ```
    """

    def __init__(
        self,
        images,
        folder: str | os.PathLike | None = None,
        log_dir: str | os.PathLike | None = None,
        every: int = 1,
        classes=None,
        *,
        num_images: int = 8,
    ):
        super().__init__()
        require(folder is not None or log_dir is not None, "Give `folder` or `log_dir`", folder=folder, log_dir=log_dir)
        self.folder = None if folder is None else Path(folder).expanduser()
        self.log_dir = None if log_dir is None else Path(log_dir).expanduser()
        self.every = check_int("every", every)
        self.images, self.labels = _first_images(images, check_int("num_images", num_images))
        self.classes = self.labels if classes is None else classes
        self._events = None
        if self.log_dir:
            require_tensorboard()

    def on_train_begin(self, logs=None):
        """Check that images and classes fit the model."""
        channels = self.model.input_shape[-1]
        check_images(self.images, channels, self.model.input_shape[1:3])
        num_classes = num_classes_of(self.model)
        if getattr(self.model, "multi_label", False) and self.labels is not None:  # not one true class: the predicted
            check_multi_hot(self.labels, num_classes)
            self.classes = None if self.classes is self.labels else self.classes
            self.labels = None
        if self.labels is not None:
            labels = class_labels(self.labels, num_classes, len(self.images))
            self.classes = labels if self.classes is self.labels else self.classes
            self.labels = labels
        if self.classes is not None:
            check_classes(self.classes, None, len(self.images), num_classes)

    def on_epoch_end(self, epoch, logs=None):
        """Explain, draw, and log the largest residual."""
        logs = {} if logs is None else logs
        logs["largest_residual"] = math.nan
        if (epoch + 1) % self.every or not _is_finite(logs):
            return
        try:
            with averaged_weights(self.model):
                names = getattr(self.model, "class_names", None)
                explanation = explain(self.model, self.images, self.classes, class_names=names, verbose=False)
        except NonFiniteNetworkError:  # the last step can diverge after a finite loss; the next loss tells
            return
        logs["largest_residual"] = float(explanation.residual.max())
        figure = explanation.plot(self.labels, max_images=len(self.images))
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_picture(figure, self.folder / f"epoch-{epoch + 1:06d}.png", dpi=100)
        if self.log_dir:
            self._write_summaries(figure, logs["largest_residual"], epoch)

    def _write_summaries(self, figure, residual, epoch):
        if self._events is None:
            self._events = EventFile(self.log_dir / "maps")
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=100)
        self._events.image("contribution_maps", png.getvalue(), epoch)  # counted from 0, as Keras' own callback does
        self._events.scalar("largest_residual", residual, epoch)
        self._events.flush()

    def on_train_end(self, logs=None):
        """Close TensorBoard's file."""
        if self._events is not None:
            self._events.close()
            self._events = None


class Localization(keras.callbacks.Callback):
    """Measures the localization of the maps every few epochs, and logs it as ``localization``.

    Args:
        dataset: labeled validation images, as for :func:`keras_coda.evaluation.localization`.
        every: int, number of epochs from one measurement to the next.
        n_grids: int, as for the metric. Fewer grids are faster, and the value is less certain.
        grid: as for the metric; None for the largest that the network's number of classes allows, at most 3x3.
        missing: float, logged in epochs without a measurement: those between two measurements, and those in which the
            network classifies too few images correctly and confidently for one grid, as in the first epochs. Use 0.0
            (and ``every=1``) if a tuner maximizes the value, because it compares epochs.

    Raises:
        ValueError: if an argument is out of range; at the beginning of the training, if the network has fewer classes
            than ``grid`` has cells, or the first images or labels do not fit it.

    Example:
        ```python
        located = keras_coda.training.Localization(data.validation, every=5)
        model.fit(data.train, epochs=20, callbacks=[located, keras.callbacks.CSVLogger("log.csv")])
        ```
    """

    def __init__(
        self,
        dataset: Iterable,
        every: int = 5,
        n_grids: int = 50,
        *,
        grid: grids.Grid | None = None,
        missing: float = math.nan,
    ):
        super().__init__()
        check_dataset(dataset)
        self.dataset, self.missing = dataset, float(missing)
        self.every, self.n_grids = check_int("every", every), check_int("n_grids", n_grids)
        self.grid = None if grid is None else grids.check(grid)

    def on_train_begin(self, logs=None):
        """Check that the network has enough classes for the grids, and that the first batch of the data fits it."""
        require_one_label(self.model, "Localization on grids")
        with contextlib.suppress(NotEnoughImagesError):  # a single class: `missing` is logged
            grids.choose(self.grid, num_classes_of(self.model))
        if iter(self.dataset) is not self.dataset:  # else the images would be missing later
            next(labeled_batches(self.dataset, self.model, limit=1))

    def on_epoch_end(self, epoch, logs=None):
        """Measure and log."""
        logs = {} if logs is None else logs
        logs["localization"] = self.missing
        if (epoch + 1) % self.every or not _is_finite(logs):
            return
        with averaged_weights(self.model), warnings.catch_warnings():
            warnings.simplefilter("ignore", FewerGridsWarning)  # it would be repeated at every measurement
            options = {"grid": self.grid, "n_grids": self.n_grids, "verbose": False}
            with contextlib.suppress(NotEnoughImagesError, NonFiniteNetworkError):  # `missing` stays
                logs["localization"] = localization(self.model, self.dataset, **options).mean


class ValidateAverages(keras.callbacks.Callback):
    """Validates with the weights that the optimizer averages, and continues the training with the latest weights.

    ``keras.callbacks.SwapEMAWeights`` does so too, but swaps the two by additions and subtractions, whose rounding
    changes the weights slightly at every validation. Here they come back exactly.
    """

    def __init__(self):
        super().__init__()
        self._stack = contextlib.ExitStack()

    def on_test_begin(self, logs=None):
        """Set the averaged weights."""
        self._stack.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs=None):
        """Set the latest weights again."""
        self._stack.close()


class TimeEstimate(keras.callbacks.Callback):
    """Prints once how long a training will take, estimated from its first steps.

    The first two steps, which compile, and validation are not counted. Nothing is printed if Keras does not know the
    number of steps in advance, or an epoch has fewer than three steps.

    Args:
        steps: int, how many steps to time; fewer if the first epoch has fewer.
        shortest: float, in seconds: nothing is printed if the training will take less.
    """

    def __init__(self, steps: int = 20, shortest: float = 0.0):
        super().__init__()
        self.steps, self.shortest = check_int("steps", steps), shortest

    def on_train_begin(self, logs=None):
        """Start counting steps."""
        self._count, self._start, self._epoch = 0, None, None

    def on_epoch_begin(self, epoch, logs=None):
        """Remember the first epoch of this call of ``fit``, which is not 0 when a training is resumed."""
        self._epoch = epoch if self._epoch is None else self._epoch

    def on_train_batch_end(self, batch, logs=None):
        """Time the steps, and print the estimate after the last one to be timed."""
        if self._count is None:
            return
        self._count += 1
        if self._count == 2:
            self._start = self._now()
        per_epoch = self.params.get("steps")
        if per_epoch is None or self._count < min(2 + self.steps, per_epoch) or self._count < 3:
            return
        timed = self._count - 2
        seconds = (self._now() - self._start) / timed
        epochs = self.params["epochs"] - self._epoch
        total = seconds * per_epoch * epochs
        if total >= self.shortest:
            print(
                f"\nEstimate: {duration(total)} for {epochs} epochs of {per_epoch:,} steps, from {seconds:.3g} s per "
                f"step in the first {timed} (without compilation and validation)."
            )
        self._count = None

    def _now(self):
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)  # waits until an accelerator has finished the step
        return perf_counter()


@contextlib.contextmanager
def averaged_weights(model: keras.Model):
    """Set the weights that the optimizer averaged (``use_ema=True``) within the block; restore the latest after it."""
    if averaging_optimizer(model) is None:
        yield
        return
    variables = model.trainable_variables
    own = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    try:
        set_averages(model)
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def _first_images(source, count):
    """Return ``(images, labels)`` as arrays; labels are None if there are none."""
    is_batches = isinstance(source, list) and bool(source) and isinstance(source[0], tuple)
    if hasattr(source, "shape") or (isinstance(source, list) and not is_batches):
        return to_numpy(source), None
    check_dataset(source, infinite=True)
    pairs, seen = [], 0
    for batch in source:
        images, labels = batch[:2] if isinstance(batch, (tuple, list)) else (batch, None)
        pairs.append((to_numpy(images), None if labels is None else to_numpy(labels)))
        seen += len(pairs[-1][0])
        if seen >= count:
            break
    require(pairs, "The data set must yield images", images=0)
    images, labels = zip(*pairs, strict=True)
    images = np.concatenate(images)[:count]
    return images, None if labels[0] is None else np.concatenate(labels)[:count]


def _is_finite(logs):
    return math.isfinite(logs.get("loss", 0.0))


def duration(seconds: float) -> str:
    """Return a time as text, in days, hours, minutes or seconds."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
