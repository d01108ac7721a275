"""PenalizedModel: a Keras model that is trained with an optional penalty beside its loss."""

from collections.abc import Iterable, Mapping, Sequence

import keras

from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.models.averages import separate_averages
from keras_coda.models.conventions import Conventions, ModelWithConventions, own_of, with_own
from keras_coda.models.distribution import any_batch_size, with_own_rows
from keras_coda.models.label_guard import LabelGuard
from keras_coda.models.losses import ClassAccuracy, OneVsAllCrossentropy
from keras_coda.models.multi_label import LabelAccuracy, multi_label_metrics
from keras_coda.models.penalties import get_penalties, upgrade_penalties
from keras_coda.models.penalties.penalty import Batch, Penalty
from keras_coda.utils.checks import check_fit_images, require

HALF = ("float16", "bfloat16")  # dtypes in which a training step is smaller than the rounding of a weight
_PENALTY = "penalty"  # name of the metric; the logs have the name that the penalty gives it


class PenalizedModel(ModelWithConventions):
    """The part of :class:`~keras_coda.models.ExplainableClassifier` that is about training.

    Attributes:
        penalties: tuple of the penalties that the model is compiled with.
    """

    _penalty_tracker = _draws = None  # made by the first `compile` with a penalty

    def compile(
        self,
        optimizer="auto",
        loss="auto",
        metrics="auto",
        *,
        penalties: Sequence[Penalty] | Mapping[str, float] = (),
        multi_label: bool | None = None,
        loss_weights=None,
        weighted_metrics=None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ):
        """Configure training. The constructor calls it with the defaults.

        Args:
            optimizer: Keras optimizer or name; ``"auto"``: Adam with a learning rate of 1e-3.
            loss: Keras loss or name; ``"auto"``: :class:`~keras_coda.OneVsAllCrossentropy`, which takes int and one-hot
                labels.
            metrics: list of Keras metrics; ``"auto"``: accuracy, or those of
                :func:`~keras_coda.models.multi_label_metrics`. ``"accuracy"``, here and in ``weighted_metrics``, is
                :class:`~keras_coda.models.ClassAccuracy`, for int and one-hot labels, or with several labels
                :class:`~keras_coda.models.LabelAccuracy`.
            penalties: what training adds to the loss, for instance ``[keras_coda.models.LinearMapPenalty(0.1)]``; or a
                dict of names and weights, ``{"linear_map": 0.1}``. Only one may have a weight above 0. Its value,
                without the weight, is in the logs of training; validation computes neither the penalty nor its value.
            multi_label: whether an image may have any number of labels, which then are ``(batch, classes)`` of 0 and 1;
                None: as before, at first False. Files keep it.
            loss_weights: see ``keras.Model.compile``, also for the next three arguments.
            weighted_metrics: list of Keras metrics.
            run_eagerly: whether to run without compiled graphs.
            steps_per_execution: number of batches per call of the compiled function.
            jit_compile: whether to compile with XLA; ``"auto"``: on TensorFlow only with a GPU (on CPUs graphs without
                XLA are as fast and need less memory).
            auto_scale_loss: whether to scale the loss under the dtype policy ``"mixed_float16"``.

        Raises:
            ValueError: if ``penalties`` are not penalties, or more than one has a weight above 0.
        """
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = keras.optimizers.Adam(1e-3)
        if isinstance(loss, str) and loss == "auto":
            loss = OneVsAllCrossentropy()
        if multi_label is not None and multi_label != self.multi_label:
            self.conventions = Conventions(multi_label, window=self.window)
        if isinstance(metrics, str) and metrics == "auto":
            metrics = multi_label_metrics(self.num_classes) if self.multi_label else [ClassAccuracy()]
        if jit_compile == "auto" and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            jit_compile = bool(tf.config.list_physical_devices("GPU"))
        self._label_ranks: dict[str, int] = {}  # of the labels that compiled functions were traced for
        self.penalties = get_penalties(penalties)
        self._penalty, self._measured = next((each for each in self.penalties if each.weight), None), None
        if self._penalty is not None and self._penalty_tracker is None:
            self._penalty_tracker = keras.metrics.Mean(name=_PENALTY)
            self._draws = keras.random.SeedGenerator()  # only with a penalty, because it advances Keras' global seed
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=self._with_own_accuracy(metrics),
            weighted_metrics=self._with_own_accuracy(weighted_metrics),
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )

    def get_compile_config(self):
        """Return the arguments of :meth:`compile`, serialized, and whether the optimizer has its variables."""
        config = super().get_compile_config()
        is_built = bool(getattr(self.optimizer, "built", False))
        own = {"penalties": keras.saving.serialize_keras_object(list(self.penalties)), "optimizer_is_built": is_built}
        stored = self.conventions.stored()
        return with_own(config, {**own, "conventions": stored} if stored else own)

    def compile_from_config(self, config):
        """Compile with the arguments of a saved model; Keras leaves this to models with a ``compile`` of their own."""
        own = own_of(config)
        self.conventions = Conventions.of(own.pop("conventions", {}), self.num_classes)
        # Earlier versions had what is now `own` side by side with the others.
        config = upgrade_penalties(keras.saving.deserialize_keras_object({**config, **own}))
        is_built = config.pop("optimizer_is_built", True)  # earlier versions did not save it
        self.compile(**config)
        if is_built:  # then the file has the values of its variables
            self.optimizer.build(self.trainable_variables)

    def quantize(self, *args, **kwargs):
        """Raise ``NotImplementedError``: dynamic-linear layers compute with floats, and maps would not be exact."""
        raise NotImplementedError(
            "A network that explains itself exactly cannot be quantized: its layers compute their weights from the "
            f"image, in floats. Received: {self.name!r}. Halve its file with `save_to_preset(folder, "
            'weights_dtype="float16")`, or its memory in training with dtype="mixed_bfloat16".'
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss; in training, with the penalty that the model is compiled with."""
        self._measured = self._penalty if training else None
        if self._measured is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        decomposition = compiled_explainer(self).decomposition
        batch, value = self._penalty.measure(decomposition, Batch(x, y, y_pred, sample_weight), self._draws)
        self._penalty_tracker.update_state(value)
        penalty = self._aggregate_additional_loss(self._penalty.weight * value)
        return super().compute_loss(*batch, training) + penalty

    def get_metrics_result(self):
        """Return the values of all metrics, and in training that of the penalty, under the name that it logs."""
        results = super().get_metrics_result()
        value = results.pop(_PENALTY, None)
        return results if self._measured is None else {**results, self._measured.logged: value}

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Train; see ``keras.Model.fit``, which has the same arguments.

        Labels, in ``y`` and in data sets, are class indices ``(batch,)`` or ``(batch, 1)``, integers or floats without
        a fraction, or ``(batch, num_classes)``, one-hot or soft; with ``multi_label``, ``(batch, num_classes)`` of 0
        and 1. Those of arrays are checked before the training begins, those of data sets as they are read.

        Raises:
            InvalidLabelsError: a ``ValueError``, for labels out of range, with a fraction, or of another shape.
            ValueError: if weights to train are 16-bit floats.

        Warns:
            PixelRangeWarning: if pixels do not look like values in [0, 255].
        """
        require_full_precision([variable.dtype for variable in self.trainable_variables])
        check_fit_images(x)
        guard = self._label_guard()
        guard.check(y)
        if isinstance(validation_data, (tuple, list)) and len(validation_data) > 1:
            guard.check(validation_data[1])
        else:
            validation_data = guard.watch(validation_data)
        create_training_variables(self, x, y)
        self.calibration = None  # it is that of the weights before
        self._forget_other_labels("train_function", x, y)
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, (tuple, list)) else (validation_data, None)
            self._forget_other_labels("test_function", *pair[:2])
        with guard.raising(), any_batch_size():
            history = super().fit(
                guard.watch(x),
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                # A tf.data.Dataset shuffles itself. Keras would only warn that it ignores `shuffle=True`, the default.
                shuffle=False if hasattr(x, "element_spec") else shuffle,
                class_weight=class_weight,
                sample_weight=sample_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_steps=validation_steps,
                validation_batch_size=validation_batch_size,
                validation_freq=validation_freq,
            )
        separate_averages(self)
        return history

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        """Measure loss and metrics; see ``keras.Model.evaluate``, which has the same arguments.

        Raises:
            InvalidLabelsError: a ``ValueError``, as :meth:`fit`.
        """
        guard = self._label_guard()
        if not kwargs:  # Keras' own calls, during `fit`, have one: their data are watched already
            guard.check(y)
            x = guard.watch(x)
            self._forget_other_labels("test_function", x, y)
        with guard.raising(), any_batch_size():
            return super().evaluate(
                x,
                y,
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=sample_weight,
                steps=steps,
                callbacks=callbacks,
                return_dict=return_dict,
                **kwargs,
            )

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Return logits, not probabilities: ``(N, num_classes)`` float32. Their sigmoids are the probabilities.

        The largest logit is that of the predicted class. ``keras.ops.sigmoid(logits)`` are the probabilities. Classes
        are not exclusive: probabilities need not sum to 1, and a softmax would be wrong. :meth:`explain` returns both.

        Of several processes that train together on JAX each gets the logits of its own images.

        Args:
            x: images ``(N, H, W, c)``, pixels in [0, 255], or a data set, as for ``keras.Model.predict``.
            batch_size: as for ``keras.Model.predict``, like the other arguments.
            verbose: whether to show progress.
            steps: number of batches to predict; None: all.
            callbacks: list of Keras callbacks.
        """
        with any_batch_size():
            return super().predict(x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks)

    def make_predict_function(self, force=False):
        """Compile the prediction."""
        made = None if force else self.predict_function
        function = super().make_predict_function(force)
        if keras.backend.backend() == "jax" and self.predict_function is not made:
            self.predict_function = with_own_rows(self.predict_function)
        return function

    def _forget_other_labels(self, name, x, y):
        """Drop a compiled function that was traced for labels of another rank.

        TensorFlow would trace it again for labels of unknown rank, of which no form could be told.
        """
        shape = getattr(_labels(x, y), "shape", None)
        if shape is None:
            return
        rank = getattr(shape, "rank", None) or 2 if hasattr(shape, "rank") else len(shape)  # see `LabelGuard.watch`
        if self._label_ranks.get(name, rank) != rank:
            setattr(self, name, None)
        self._label_ranks[name] = rank

    def _label_guard(self):
        strict = self.multi_label or isinstance(self.loss, OneVsAllCrossentropy)
        return LabelGuard(self.num_classes, strict, self.multi_label)

    def _with_own_accuracy(self, metrics):
        """Return a list of metrics with this package's accuracy in place of Keras' one; anything else as it is."""
        if not isinstance(metrics, (list, tuple)):
            return metrics
        accuracy = LabelAccuracy if self.multi_label else ClassAccuracy
        return [accuracy(name) if name in ("accuracy", "acc") else name for name in metrics]


def require_full_precision(dtypes: Iterable[str], policy: str | None = None) -> None:
    """Raise ``ValueError`` if one of the dtypes of the weights to train is a 16-bit float.

    Args:
        dtypes: of the variables.
        policy: name of the policy that they come from, for the error.
    """
    half = next((dtype for dtype in dtypes if dtype in HALF), None)
    fix = f'Use dtype="mixed_{half}", globally keras.config.set_dtype_policy("mixed_{half}")'
    rule = "Weights must be float32 to learn: the steps of training are smaller than the rounding of 16-bit floats"
    require(half is None, rule, fix, dtype=policy or half)


def create_training_variables(model, x, y):
    """Create the variables of the optimizer and the metrics before TensorFlow traces the training step.

    Otherwise Keras creates them during the first step, and TensorFlow traces a function that creates variables twice,
    so that training takes twice as long to start. Other backends of Keras create them before the step.

    Args:
        model: a compiled model with one output.
        x: as for ``fit``; of a ``tf.data.Dataset``, the shape of the labels is read.
        y: as for ``fit``.
    """
    if keras.backend.backend() != "tensorflow" or model.distribute_strategy.num_replicas_in_sync > 1:
        return  # with several replicas, each needs the variables: Keras sees to that
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    labels = _labels(x, y)
    metrics = model._compile_metrics  # noqa: SLF001 - Keras has no public access to metrics without variables
    if metrics is not None and not metrics.built and getattr(labels, "shape", None):
        metrics.build(keras.KerasTensor((None, *labels.shape[1:])), model.output)  # only shapes matter


def _labels(x, y):
    """Return the labels of ``fit`` or, of a ``tf.data.Dataset``, their spec: both have a shape."""
    spec = getattr(x, "element_spec", None)
    return spec[1] if isinstance(spec, tuple) and len(spec) > 1 else y
