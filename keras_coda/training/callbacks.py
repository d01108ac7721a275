"""Callbacks for ``model.fit``: maps and localization while a network learns, averaged weights, an estimate of hours.

Add those that measure something before loggers such as ``keras.callbacks.TensorBoard``: what they put into the logs,
later callbacks see. Where the optimizer averages weights (``use_ema=True``), they look at the averages, with which
``fit`` ends.
"""

import contextlib
import io
import math
import os
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_coda import evaluation, visualization
from keras_coda.evaluation.datasets import check_dataset
from keras_coda.explanations.explain import explain
from keras_coda.utils.checks import check_classes, check_images, check_int, num_classes_of, require, to_numpy
from keras_coda.utils.errors import FewerGridsWarning, NotEnoughImagesError


class ContributionMaps(keras.callbacks.Callback):
    """Draws the contribution maps of the same images again and again while a network learns.

    Every ``every`` epochs it writes ``folder/epoch-000001.png`` and so on, each image beside its maps, whole or not at
    all, and the picture to TensorBoard. The largest residual ``|Σ contributions + bias - logit|`` of these maps goes
    into the logs as ``largest_residual``; NaN in epochs without maps. If the loss is not finite there are none.

    Args:
        images: ``(N, H, W, c)``, any real dtype, pixels in [0, 255]; or a data set that yields images or (images, int
            labels) in batches, whose first ``num_images`` are taken.
        folder: for the PNG files, created when they come; None for none.
        log_dir: where TensorBoard looks, with a folder ``maps`` for these; needs
            ``pip install "keras-coda[tensorboard]"``. None for none.
        every: int, epochs from one picture to the next.
        classes: classes to explain, as for :meth:`CoDANet.explain`; None for the true class where the data have
            labels, else the predicted one.
        num_images: int, how many images of a data set. An array is taken as a whole.

    Raises:
        ValueError: if an argument is out of range, or neither ``folder`` nor ``log_dir`` is given. When training
            begins: if images or classes do not fit the model.
        ImportError: if TensorBoard is needed and not installed.

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
        self._writer = None
        if self.log_dir:
            require_tensorboard()

    def on_train_begin(self, logs=None):
        """Check that images and classes fit the model."""
        channels = self.model.input_shape[-1]
        check_images(self.images, channels, self.model.input_shape[1:3])
        if self.classes is not None:
            check_classes(self.classes, None, len(self.images), num_classes_of(self.model))

    def on_epoch_end(self, epoch, logs=None):
        """Explain, draw, and log the largest residual."""
        logs = {} if logs is None else logs
        logs["largest_residual"] = math.nan
        if (epoch + 1) % self.every or not _is_finite(logs):
            return
        with averaged_weights(self.model):
            names = getattr(self.model, "class_names", None)
            explanation = explain(self.model, self.images, self.classes, class_names=names, verbose=False)
        logs["largest_residual"] = float(explanation.residual.max())
        figure = explanation.plot(self.labels, max_images=len(self.images))
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            visualization.save_picture(figure, self.folder / f"epoch-{epoch + 1:06d}.png", dpi=100)
        if self.log_dir:
            self._write_summaries(figure, logs["largest_residual"], epoch)

    def _write_summaries(self, figure, residual, epoch):
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir / "maps"))
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=100)
        with self._writer.as_default(step=epoch):  # counted from 0, as Keras' own callback does
            tf.summary.image("contribution_maps", tf.io.decode_png(png.getvalue(), channels=3)[None])
            tf.summary.scalar("largest_residual", residual)
        self._writer.flush()

    def on_train_end(self, logs=None):
        """Close TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Localization(keras.callbacks.Callback):
    """Measures the localization of the maps every few epochs, and puts it into the logs as ``localization``.

    Args:
        dataset: labeled validation images, as for :func:`keras_coda.evaluation.localization`.
        every: int, epochs from one measurement to the next.
        n_grids: int, as for the metric: the fewer, the faster and the less certain.
        grid: int, images along a side of a grid.
        missing: what is logged in epochs without a measurement: in between, and when the network does not classify
            enough images correctly and confidently for one grid, as in the beginning. 0.0 where a tuner, which
            compares epochs, is to maximize the value (with ``every=1``, say).

    Raises:
        ValueError: if an argument is out of range; when training begins, if the network has too few classes.

    Example:
        ```python
        located = keras_coda.training.Localization(data.validation, every=5)
        model.fit(data.train, epochs=20, callbacks=[located, keras.callbacks.CSVLogger("log.csv")])
        ```
    """

    def __init__(
        self, dataset: Iterable, every: int = 5, n_grids: int = 50, *, grid: int = 3, missing: float = math.nan
    ):
        super().__init__()
        check_dataset(dataset)
        self.dataset, self.missing = dataset, float(missing)
        self.every, self.n_grids = check_int("every", every), check_int("n_grids", n_grids)
        self.grid = check_int("grid", grid, minimum=2)

    def on_train_begin(self, logs=None):
        """Check that the network has enough classes."""
        rule, num_classes = f"A grid needs {self.grid**2} different classes", num_classes_of(self.model)
        require(num_classes >= self.grid**2, rule, "Use a smaller `grid`", grid=self.grid, num_classes=num_classes)

    def on_epoch_end(self, epoch, logs=None):
        """Measure and log."""
        logs = {} if logs is None else logs
        logs["localization"] = self.missing
        if (epoch + 1) % self.every or not _is_finite(logs):
            return
        with averaged_weights(self.model), warnings.catch_warnings():
            warnings.simplefilter("ignore", FewerGridsWarning)  # it would be said every time anew
            options = {"grid": self.grid, "n_grids": self.n_grids, "verbose": False}
            with contextlib.suppress(NotEnoughImagesError):  # `missing` stays
                logs["localization"] = evaluation.localization(self.model, self.dataset, **options).mean


class ValidateAverages(keras.callbacks.Callback):
    """Validates with the averaged weights of the optimizer, and goes on training with the others.

    As ``keras.callbacks.SwapEMAWeights``, which exchanges them by adding and subtracting: rounding then leaves the
    weights changed a little after every validation. Here they come back exactly.
    """

    def __init__(self):
        super().__init__()
        self._stack = contextlib.ExitStack()

    def on_test_begin(self, logs=None):
        """Put the averages in."""
        self._stack.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs=None):
        """Put the weights back."""
        self._stack.close()


class TimeEstimate(keras.callbacks.Callback):
    """Says, once, how long a training will take, from the time of its own first steps.

    The first two steps, which compile, do not count; validation is left out. Nothing is said where Keras does not know
    the number of steps beforehand, or an epoch has fewer than three.

    Args:
        steps: int, how many steps to time; fewer if the first epoch has fewer.
        shortest: float, seconds: trainings that will take less pass without a word.
    """

    def __init__(self, steps: int = 20, shortest: float = 0.0):
        super().__init__()
        self.steps, self.shortest = check_int("steps", steps), shortest

    def on_train_begin(self, logs=None):
        """Begin to count."""
        self._count, self._start, self._epoch = 0, None, None

    def on_epoch_begin(self, epoch, logs=None):
        """Remember where the training begins."""
        self._epoch = epoch if self._epoch is None else self._epoch

    def on_train_batch_end(self, batch, logs=None):
        """Time the steps, and say how many hours all of them will take."""
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
                f"\nEstimate: {_duration(total)} for {epochs} epochs of {per_epoch:,} steps, by {seconds:.3g} s per "
                f"step in the first {timed} (without compilation and validation)."
            )
        self._count = None

    def _now(self):
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)  # waits for an accelerator to be done
        return time.perf_counter()


@contextlib.contextmanager
def averaged_weights(model: keras.Model):
    """Give a model the weights its optimizer averaged (``use_ema=True``) within the block, and its own after it."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of loss scaling
    if not getattr(optimizer, "use_ema", False) or not optimizer.built:
        yield
        return
    variables = model.trainable_variables
    own = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    try:
        optimizer.finalize_variable_values(variables)
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def require_tensorboard() -> None:
    """Raise an ``ImportError`` that says what to install unless there is TensorBoard, which TensorFlow writes by."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Summaries for TensorBoard need it installed: `pip install "keras-coda[tensorboard]"`.'
        ) from error


def _first_images(source, count):
    """Return ``(images, labels)`` as arrays; labels are None if there are none."""
    if hasattr(source, "shape") or isinstance(source, list):
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


def _duration(seconds):
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
