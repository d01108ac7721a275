"""ExplainableClassifier: training, exact explanations, export and presets, whatever the architecture."""

import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_coda import explanations
from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.exporters import saved_model, single_file
from keras_coda.models import presets
from keras_coda.models.losses import OneVsAllCrossentropy
from keras_coda.models.penalties import NAMES, check_penalties
from keras_coda.models.penalties.linear_map import logits_and_linear_map
from keras_coda.models.penalties.map_consistency import whole_and_masked
from keras_coda.models.resized_copies import resized_copy
from keras_coda.utils.checks import check_class_names, check_fit_data, require


@keras.saving.register_keras_serializable("keras_coda")
class ExplainableClassifier(keras.Model):
    """A functional image classifier that explains its logits exactly and is compiled on construction.

    Args:
        inputs: Keras tensor, images ``(batch, height, width, channels)``, pixels in [0, 255].
        outputs: Keras tensor, logits ``(batch, num_classes)``.
        name: name of the model.
        class_names: one string per class, for pictures and exports, or None.
        trainable: whether the weights can be trained.
        dtype: dtype policy of the layers, from which Keras decides about loss scaling; None for the global one.
    """

    def __init__(
        self, inputs, outputs, name: str | None = None, *, class_names=None, trainable: bool = True, dtype=None
    ):
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)
        if dtype is not None:  # before `compile`, which scales the loss under mixed_float16
            self.dtype_policy = keras.dtype_policies.get(dtype)
        self.num_classes = outputs.shape[-1]
        self.class_names = check_class_names(class_names, self.num_classes)
        self.training_figures = {}
        self._penalty_trackers, self._draws = {}, None
        self.compile()

    def compile(
        self,
        optimizer="auto",
        loss="auto",
        metrics="auto",
        *,
        linear_map_regularization: float = 0.0,
        map_consistency: float = 0.0,
        jit_compile="auto",
        **kwargs,
    ):
        """Configure training; called on construction with the defaults.

        Args:
            optimizer: Keras optimizer or name; ``"auto"``: Adam with a rate of 1e-3.
            loss: Keras loss or name; ``"auto"``: :class:`~keras_coda.models.losses.OneVsAllCrossentropy`, which takes
            int
                and one-hot labels.
            metrics: list of Keras metrics; ``"auto"``: accuracy, for int and one-hot labels.
            linear_map_regularization: float >= 0, the weight λ of ``mean |W_{0→L}|`` in the training loss, which
                keeps linear maps small; see :mod:`keras_coda.models.penalties.linear_map`, also for its cost. Logs
                then have
                ``linear_map``, the mean itself; validation leaves it out of its loss.
            map_consistency: float >= 0, the weight μ in the loss of how far maps are from foretelling what removing
                pixels does, ``inconsistency`` in the logs; see :mod:`keras_coda.models.penalties.map_consistency`. The
                loss must take soft
                labels, as the default does. Only one of the two may be above 0.
            jit_compile: whether to run through XLA; ``"auto"``: on TensorFlow only with a GPU (on CPUs plain graphs are
                as fast and leaner).
            **kwargs: see ``keras.Model.compile``.
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
        weights = check_penalties(linear_map_regularization, map_consistency)
        self.linear_map_regularization, self.map_consistency = weights.values()
        self._penalty, self._measured = next((name for name in NAMES if weights[name]), None), None
        if self._penalty is not None and self._penalty not in self._penalty_trackers:
            self._penalty_trackers[self._penalty] = keras.metrics.Mean(name=NAMES[self._penalty])
            self._draws = self._draws or keras.random.SeedGenerator()  # only here: it moves Keras' global seed on
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=jit_compile, **kwargs)

    def get_compile_config(self):
        """Return the arguments of :meth:`compile`, serialized."""
        return {**super().get_compile_config(), **{name: getattr(self, name) for name in NAMES}}

    def compile_from_config(self, config):
        """Compile as a saved model was; Keras leaves this to classes with a ``compile`` of their own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss; in training with the penalty of the maps that :meth:`compile` was asked for."""
        self._measured = self._penalty if training else None
        if self._measured is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        decomposition = compiled_explainer(self).decomposition
        # The logits of the pass that gives the maps: to differentiate the first one, too, would take longer.
        if self._penalty == "map_consistency":
            y, y_pred, sample_weight, value = whole_and_masked(decomposition, x, y, sample_weight, self._draws)
        else:
            y_pred, value = logits_and_linear_map(decomposition, x, y, self._draws)
        self._penalty_trackers[self._penalty].update_state(value)
        penalty = self._aggregate_additional_loss(getattr(self, self._penalty) * value)
        return super().compute_loss(x, y, y_pred, sample_weight, training) + penalty

    def get_metrics_result(self):
        """Return the values of all metrics; of the penalties only the one that was measured, in training."""
        hidden = {logged for name, logged in NAMES.items() if name != self._measured}
        return {name: value for name, value in super().get_metrics_result().items() if name not in hidden}

    def fit(self, x=None, y=None, **kwargs):
        """Train; see ``keras.Model.fit``. Warns where pixels do not look like values in [0, 255]."""
        check_fit_data(x, y, self.num_classes)
        if hasattr(x, "element_spec"):  # a tf.data.Dataset shuffles itself; Keras' default would only warn of that
            kwargs.setdefault("shuffle", False)
        return super().fit(x, y, **kwargs)

    def explain(self, images, classes=None, **kwargs) -> explanations.Explanation:
        """Explain predictions exactly; see :func:`keras_coda.explain` for all arguments.

        Args:
            images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255].
            classes: None for the predicted class, an int, ``(B,)`` or ``(B, K)``.
            **kwargs: ``top_k``, ``wrt``, ``linear_map``, ``batch_size``, ``verbose``, ``jit_compile``.

        Returns:
            An :class:`~keras_coda.Explanation` whose maps sum to ``logit - logit_bias``.
        """
        return explanations.explain(self, images, classes, **{"class_names": self.class_names, **kwargs})

    def explain_batches(self, dataset, **kwargs) -> Iterator[explanations.Explanation]:
        """Explain a data set a batch at a time; see :func:`keras_coda.explain_batches`."""
        return explanations.explain_batches(self, dataset, **{"class_names": self.class_names, **kwargs})

    def with_input_shape(self, input_shape: Sequence[int | None]) -> "ExplainableClassifier":
        """Return a network with the same weights for images of another size; it is made at the first call only.

        Every call gives it the present weights of this network: after training, call again. What it explains is
        compiled once. It is not part of this network: nothing is saved with it or counted among its layers.

        Args:
            input_shape: ``(height, width, channels)``; height and width may be None, for images of any size.

        Returns:
            This network itself if it has that input shape.

        Raises:
            ValueError: for another number of channels.
        """
        return resized_copy(self, input_shape)

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Write the network with predictions and maps for other runtimes, whole or not at all.

        Args:
            filepath: the folder or file to be; for TF Serving ``<base>/<integer version>``. It must not exist.
            format: ``"tf_saved_model"``, a folder, see :func:`keras_coda.exporters.saved_model.export_saved_model`;
            ``"onnx"``
                or ``"litert"``, a file, see :mod:`keras_coda.exporters.single_file`.
            **kwargs: ``top_k``, ``image_size``, ``linear_map``, ``verbose``; for a SavedModel also ``warmup``.
        """
        if format in single_file.FORMATS:
            return single_file.convert(self, filepath, format, **kwargs)
        rule = f'`format` must be "tf_saved_model", {" or ".join(map(repr, single_file.FORMATS))}'
        require(format == "tf_saved_model", rule, format=format)
        return saved_model.export_saved_model(self, filepath, **kwargs)

    @classmethod
    def from_preset(cls, name_or_folder: str | os.PathLike, *, load_weights: bool | None = None, **overrides):
        """Build a network by name, or load one that :meth:`save_to_preset` wrote.

        Args:
            name_or_folder: a name among ``keras_coda.models.presets.names()``, or a folder.
            load_weights: True: there must be trained weights; False: leave them out; None: load them if there are.
            **overrides: constructor arguments to change, for instance ``temperature=100`` or ``dtype``;
                ``num_classes`` also sets the width of the last layer.

        Raises:
            ValueError: for an unknown name (near matches are named), a damaged folder, or weights that do not exist
                or do not fit.
        """
        folder = presets.folder(name_or_folder)
        if folder is None:
            if load_weights:
                raise ValueError(
                    f"The preset must come with weights. Received: {str(name_or_folder)!r}, an architecture only, with "
                    "load_weights=True. Leave `load_weights` out and train it."
                )
            contents, config = {}, presets.architecture(name_or_folder)
        else:
            contents, weights = presets.read(folder)
            config = contents["config"]
        num_classes = overrides.get("num_classes", config.get("num_classes"))
        if num_classes != config.get("num_classes"):
            config = {**config, "filters": (*config["filters"][:-1], num_classes), "class_names": None}
        model = cls(**{**config, **overrides})
        if folder is not None and load_weights is not False:
            try:
                model._without_optimizer().load_weights(weights)
            except (ValueError, OSError, KeyError) as error:
                raise ValueError(
                    "The weights of the preset must fit the architecture. "
                    f"Received: '{weights}' for overrides={overrides}. To change the architecture, train anew: "
                    f"load_weights=False. ({error})"
                ) from error
            model.training_figures = contents.get("training_figures", {})
        return model

    def save_to_preset(self, folder: str | os.PathLike, *, weights_dtype: str = "float32") -> None:
        """Write configuration, class names, pixel convention, ``training_figures`` and weights to a new folder.

        Args:
            folder: it must not exist.
            weights_dtype: ``"float16"`` halves the file; each weight is rounded to 11 significant bits.

        Raises:
            FileExistsError: if ``folder`` exists.
            ValueError: for another ``weights_dtype``, or weights too large for it.
        """
        require(
            weights_dtype in ("float32", "float16"), "`weights_dtype` must be float32 or float16", dtype=weights_dtype
        )
        config = {key: value for key, value in self.get_config().items() if key not in ("dtype", "trainable")}
        model = self
        if weights_dtype == "float16":
            largest = max(float(np.abs(weights).max()) for weights in self.get_weights())
            fix = 'Use weights_dtype="float32"'
            require(largest < 65504, "Weights must be finite, and below 65504 for float16", fix, largest=largest)
            model = type(self)(**config, dtype="float16")
            model.set_weights(self.get_weights())
        save_weights = model._without_optimizer().save_weights  # noqa: SLF001 (of this class)
        presets.write(folder, config, save_weights, training_figures=dict(self.training_figures))

    def _without_optimizer(self) -> keras.Model:
        """The same layers as a plain model; Keras' weights files hold the optimizer's variables else."""
        return keras.Model(self.inputs, self.outputs)
