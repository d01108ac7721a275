"""CoDANet: a Convolutional Dynamic Alignment Network as a Keras model."""

import math
import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_coda import explanations
from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.exporters import saved_model, single_file
from keras_coda.layers.dau import DAUConv2D
from keras_coda.layers.encoding import AddInverse, PixelDropout
from keras_coda.layers.head import GlobalSumPooling2D, LogitScaling
from keras_coda.models import presets
from keras_coda.models.losses import OneVsAllCrossentropy
from keras_coda.models.penalties import NAMES, check_penalties
from keras_coda.models.penalties.linear_map import logits_and_linear_map
from keras_coda.models.penalties.map_consistency import whole_and_masked
from keras_coda.models.resized_copies import resized_copy
from keras_coda.utils.checks import (
    check_class_names,
    check_fit_data,
    check_image_shape,
    check_int,
    check_layers,
    require,
)

LOGIT_BIAS = math.log(0.1 / 0.9)  # CVPR 2021, section 3.2: every class starts at a probability of 0.1


@keras.saving.register_keras_serializable("keras_coda")
class CoDANet(keras.Model):
    """An image classifier whose every logit is an input-dependent linear function of the pixels.

    Dynamic Alignment Units follow one another with nothing in between; the class maps of the last layer are summed
    over space: ``logit = sum / temperature + logit_bias``. The network scales and encodes images by itself and is
    compiled on construction: ``CoDANet(num_classes=10).fit(dataset)`` is a complete program. One entry per layer in
    ``filters``, ``ranks``, ``kernel_sizes`` and ``strides``.

    Args:
        num_classes: int, at least 2.
        input_shape: ``(height, width, channels)`` of images; height and width may be None.
        filters: ints, units of each layer; the last must equal ``num_classes``. None: a small network of five layers.
        ranks: int for all layers, or one each.
        kernel_sizes: int for all layers, or one (an int or a pair) each.
        strides: int for all layers, or one (an int or a pair) each.
        rescaling: ``"squash"`` or ``"l2"``, see :mod:`keras_coda.layers.rescaling`.
        temperature: float > 0; larger values force stronger alignment, hence sharper maps.
        logit_bias: float, the logit of a class for which nothing speaks.
        class_names: one string per class, for pictures and exports, or None.
        pixel_dropout: float in [0, 1), the largest share of an image's pixels that training removes at random, see
            :class:`~keras_coda.layers.encoding.PixelDropout`. Predictions and maps see whole images.
        name: name of the model.
        dtype: dtype policy of the alignment layers, for instance ``"mixed_bfloat16"``; logits and explanations are
            float32 under every policy.

    Input: images ``(batch, height, width, channels)``, any real dtype, pixels in [0, 255].
    Output: logits ``(batch, num_classes)``, float32; their sigmoids are the class probabilities.

    Raises:
        ValueError: for arguments that are not positive, lists of unequal length, names that do not fit.

    Example:
        >>> model = CoDANet(num_classes=3, input_shape=(16, 16, 3))
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype="uint8")
        >>> explanation = model.explain(images)
        >>> bool((explanation.residual < 1e-4).all())
        True

    Reference:
        Böhle, Fritz, Schiele: Convolutional Dynamic Alignment Networks for Interpretable Classifications, CVPR 2021
        (arXiv 2104.00032); Optimising for Interpretability, TPAMI 2022 (arXiv 2109.13004).
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        input_shape: Sequence[int | None] = (None, None, 3),
        filters: Sequence[int] | None = None,
        ranks: int | Sequence[int] = 16,
        kernel_sizes: int | Sequence = 3,
        strides: int | Sequence | None = None,
        rescaling: str = "squash",
        temperature: float = 64.0,
        logit_bias: float = LOGIT_BIAS,
        class_names: Sequence[str] | None = None,
        pixel_dropout: float = 0.0,
        name: str | None = None,
        dtype=None,
        trainable: bool = True,
    ):
        num_classes = check_int("num_classes", num_classes)
        require(num_classes >= 2, "`num_classes` must be at least 2 (two classes: 2)", num_classes=num_classes)
        input_shape = check_image_shape(input_shape)
        if filters is None:
            filters = (16, 32, 32, 64, num_classes)
            strides = (1, 2, 1, 2, 1) if strides is None else strides
        strides = 1 if strides is None else strides
        filters, ranks, kernel_sizes, strides = check_layers(num_classes, filters, ranks, kernel_sizes, strides)
        class_names = check_class_names(class_names, num_classes)

        # === Functional Model ===
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        inputs = keras.Input(input_shape, dtype="float32", name="images")
        x = keras.layers.Rescaling(1 / 255, dtype="float32", name="pixel_scaling")(inputs)
        x = AddInverse(dtype="float32", name="add_inverse")(x)
        if pixel_dropout:
            x = PixelDropout(pixel_dropout, dtype="float32", name="pixel_dropout")(x)
        for index, (units, rank, size, stride) in enumerate(zip(filters, ranks, kernel_sizes, strides, strict=True)):
            x = DAUConv2D(units, size, rank, stride, rescaling, dtype=policy, name=f"dau_{index + 1}")(x)
        # Sums over many locations, and the logits, in float32 under every policy.
        x = GlobalSumPooling2D(dtype="float32", name="sum_pooling")(x)
        scaling = LogitScaling(temperature, logit_bias, dtype="float32", name="logits")
        outputs = scaling(x)
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)

        # === Config ===
        self.dtype_policy = policy
        self.num_classes = num_classes
        self.filters = filters
        self.ranks = ranks
        self.kernel_sizes = kernel_sizes
        self.strides = strides
        self.rescaling = rescaling
        self.temperature = scaling.temperature
        self.logit_bias = scaling.logit_bias
        self.class_names = class_names
        self.pixel_dropout = pixel_dropout
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

    def with_input_shape(self, input_shape: Sequence[int | None]) -> "CoDANet":
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

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "input_shape": tuple(self.input.shape[1:]),
            "filters": self.filters,
            "ranks": self.ranks,
            "kernel_sizes": self.kernel_sizes,
            "strides": self.strides,
            "rescaling": self.rescaling,
            "temperature": self.temperature,
            "logit_bias": self.logit_bias,
            "class_names": self.class_names,
            "pixel_dropout": self.pixel_dropout,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Build the network that :meth:`get_config` described."""
        return cls(**config)
