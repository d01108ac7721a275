"""PenalizedModel: a Keras model that is trained with an optional penalty beside its loss."""

from collections.abc import Mapping, Sequence

import keras

from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.models.losses import OneVsAllCrossentropy
from keras_coda.models.penalties import get_penalties, upgrade_penalties
from keras_coda.models.penalties.penalty import Batch, Penalty
from keras_coda.utils.checks import check_fit_data

_PENALTY = "penalty"  # name of the metric; the logs have the name that the penalty gives it


class PenalizedModel(keras.Model):
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
            metrics: list of Keras metrics; ``"auto"``: accuracy, for int and one-hot labels.
            penalties: what training adds to the loss, for instance ``[keras_coda.models.LinearMapPenalty(0.1)]``; or a
                dict of names and weights, ``{"linear_map": 0.1}``. Only one may have a weight above 0. Its value,
                without the weight, is in the logs of training; validation computes neither the penalty nor its value.
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
        if isinstance(metrics, str) and metrics == "auto":
            metrics = ["accuracy"]
        if jit_compile == "auto" and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            jit_compile = bool(tf.config.list_physical_devices("GPU"))
        self.penalties = get_penalties(penalties)
        self._penalty, self._measured = next((each for each in self.penalties if each.weight), None), None
        if self._penalty is not None and self._penalty_tracker is None:
            self._penalty_tracker = keras.metrics.Mean(name=_PENALTY)
            self._draws = keras.random.SeedGenerator()  # only with a penalty, because it advances Keras' global seed
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )

    def get_compile_config(self):
        """Return the arguments of :meth:`compile`, serialized, and whether the optimizer has its variables."""
        is_built = bool(getattr(self.optimizer, "built", False))
        penalties = keras.saving.serialize_keras_object(list(self.penalties))
        return {**super().get_compile_config(), "penalties": penalties, "optimizer_is_built": is_built}

    def compile_from_config(self, config):
        """Compile with the arguments of a saved model; Keras leaves this to models with a ``compile`` of their own."""
        config = upgrade_penalties(keras.saving.deserialize_keras_object(config))
        is_built = config.pop("optimizer_is_built", True)  # earlier versions did not save it
        self.compile(**config)
        if is_built:  # then the file has the values of its variables
            self.optimizer.build(self.trainable_variables)

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

        Raises:
            ValueError: for labels out of range.

        Warns:
            PixelRangeWarning: if pixels do not look like values in [0, 255].
        """
        check_fit_data(x, y, self.num_classes)
        create_training_variables(self, x, y)
        return super().fit(
            x,
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
    spec = getattr(x, "element_spec", None)
    labels = spec[1] if isinstance(spec, tuple) and len(spec) > 1 else y
    metrics = model._compile_metrics  # noqa: SLF001 - Keras has no public access to metrics without variables
    if metrics is not None and not metrics.built and getattr(labels, "shape", None):
        metrics.build(keras.KerasTensor((None, *labels.shape[1:])), model.output)  # only shapes matter
