"""ExplainableClassifier: training, exact explanations, export and presets, for any explainable architecture."""

import contextlib
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import keras
import numpy as np

from keras_coda import explanations
from keras_coda.exporters import saved_model, schema, single_file
from keras_coda.layers.initial import weights_are_loaded
from keras_coda.models import graph_changes, graph_config, presets
from keras_coda.models.penalized import PenalizedModel, require_full_precision
from keras_coda.utils.checks import check_class_names, check_image_shape, require, summary
from keras_coda.utils.errors import UnreadableFileError

# Copies for images of another size. They are kept here because Keras would save copies that are attributes of the model
# with it. No copy refers to its model, so that they are deleted together.
# {input shape: (config the copy was made from, copy)} by model
_copies: weakref.WeakKeyDictionary[keras.Model, dict[tuple, tuple[dict, Any]]] = weakref.WeakKeyDictionary()


@keras.saving.register_keras_serializable("keras_coda")
class ExplainableClassifier(PenalizedModel):
    """A functional image classifier that explains its logits exactly. It is compiled on construction.

    The layers from ``inputs`` to ``outputs`` encode the image and then are dynamic-linear up to the logits, see
    :func:`keras_coda.explain`. Subclasses such as :class:`~keras_coda.CoDANet` build these layers from a few arguments.

    Args:
        inputs: Keras tensor of images, ``(batch, height, width, channels)``, pixels in [0, 255].
        outputs: Keras tensor of logits, ``(batch, num_classes)``.
        name: name of the model.
        class_names: one string per class, for pictures and exports, or None.
        trainable: whether training changes the weights.
        dtype: dtype policy of the layers, by which Keras decides whether to scale the loss; None for the global one.

    Attributes:
        num_classes: int, the number of logits.
        class_names: tuple of strings, or None.
        training_figures: dict of facts about the training, JSON-serializable; presets keep it.
        conventions: how labels and image files are read, see :class:`~keras_coda.models.Conventions`.
        new_layers: tuple of the names of the layers that :meth:`from_preset` found no fitting weights for.
        penalties: tuple of the penalties that the model is compiled with.
    """

    def __init__(
        self,
        inputs,
        outputs,
        name: str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        trainable: bool = True,
        dtype=None,
    ):
        # `trainable=True` would thaw layers that are frozen.
        frozen = {"trainable": False} if trainable is False else {}
        super().__init__(inputs=inputs, outputs=outputs, name=name, **frozen)
        if dtype is not None:  # before `compile`, which lets Keras scale the loss under mixed_float16
            self.dtype_policy = keras.dtype_policies.get(dtype)
        self.num_classes = outputs.shape[-1]
        self.class_names = check_class_names(class_names, self.num_classes)
        self.training_figures: dict[str, Any] = {}
        self.new_layers: tuple[str, ...] = ()
        if not graph_config.only_shapes.get():
            self.compile()

    def get_config(self):
        """Return the configuration of the layers, and class names; subclasses return constructor arguments."""
        config = super().get_config()
        own = {"class_names": self.class_names, "dtype": keras.dtype_policies.serialize(self.dtype_policy)}
        return {**config, **own} if graph_config.is_graph(config) else config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Build the network that :meth:`get_config` described."""
        return super().from_config(graph_config.copied(config), custom_objects)

    def explain(
        self,
        images,
        classes=None,
        *,
        top_k: int | None = None,
        wrt: str | None = None,
        linear_map: bool = False,
        batch_size: int | None = None,
        verbose: bool | str = "auto",
        jit_compile: bool | None = None,
        class_names: Sequence[str] | None = None,
    ) -> explanations.Explanation:
        """Explain predictions exactly; see :func:`keras_coda.explain` for all arguments.

        Args:
            images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255]; or one image: an array, the path of a file or
                an image of Pillow; or a list of them.
            classes: None for the predicted class, an index or name, ``(B,)`` or ``(B, K)`` of them.
            top_k: the number of classes with the largest logits to explain, in place of ``classes``.
            wrt: name of the layer whose activations the contributions refer to; None for the pixels.
            linear_map: whether to return the linear maps, too.
            batch_size: number of images that are explained at a time.
            verbose: whether to show a progress bar.
            jit_compile: whether to compile with XLA; None: as the model is compiled.
            class_names: one name per class; None for those of the model.

        Returns:
            An :class:`~keras_coda.Explanation` whose maps sum to the logits minus their bias.
        """
        options: dict[str, Any] = {"top_k": top_k, "wrt": wrt, "linear_map": linear_map, "batch_size": batch_size}
        options |= {"verbose": verbose, "jit_compile": jit_compile, "class_names": class_names or self.class_names}
        return explanations.explain(self, images, classes, **options)

    def explain_batches(
        self,
        dataset: Iterable,
        classes: int | str | None = None,
        *,
        top_k: int | None = None,
        wrt: str | None = None,
        linear_map: bool = False,
        batch_size: int | None = None,
        verbose: bool = True,
        jit_compile: bool | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Iterator[explanations.Explanation]:
        """Explain a data set a batch at a time; see :func:`keras_coda.explain_batches`."""
        options: dict[str, Any] = {"top_k": top_k, "wrt": wrt, "linear_map": linear_map, "batch_size": batch_size}
        options |= {"verbose": verbose, "jit_compile": jit_compile, "class_names": class_names or self.class_names}
        return explanations.explain_batches(self, dataset, classes=classes, **options)

    def with_input_shape(self, input_shape: Sequence[int | None]) -> Self:
        """Return a classifier with the same weights for images of another size; only the first call builds it.

        Every call copies the present weights of this model to it: after training, call again. Its functions for
        explanations are compiled once. It is not saved with this model and not one of its layers.

        Args:
            input_shape: ``(height, width, channels)``; height and width may be None, for images of any size.

        Returns:
            This model itself if it has that input shape.

        Raises:
            ValueError: for another number of channels, or a graph with layers that take images of one size only.
        """
        shape = check_image_shape(input_shape)
        own = tuple(self.input_shape[1:])
        rule = "The weights fit images with as many channels as the network's"
        require(shape[-1] == own[-1], rule, input_shape=shape, network=own)
        if shape == own:
            return self
        config = self.get_config()
        copies = _copies.setdefault(self, {})
        if shape not in copies or copies[shape][0] != config:
            with weights_are_loaded():
                copies[shape] = config, graph_config.rebuilt(self, config, shape)
        copy = copies[shape][1]
        copy.set_weights(self.get_weights())
        copy.jit_compile = self.jit_compile
        copy.training_figures = dict(self.training_figures)
        copy.conventions = self.conventions.for_images(copy.input.shape)
        return copy

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        *,
        top_k: int = 1,
        image_size: int | Sequence[int] | None = None,
        linear_map: bool = False,
        classes: bool = False,
        signature: str = schema.PREDICT,
        warmup: bool | None = None,
        verbose: bool = False,
    ) -> None:
        """Write the network with its predictions and maps for other runtimes. A failed export leaves nothing behind.

        Args:
            filepath: the new folder or file; for TF Serving ``<base>/<integer version>``. It must not exist.
            format: ``"tf_saved_model"``, a folder, see :func:`keras_coda.exporters.export_saved_model`; ``"onnx"`` or
                ``"litert"``, a file, see :func:`keras_coda.exporters.convert`.
            top_k: the number of classes per image for which there are maps.
            image_size: int or ``(height, width)``, to fix the size for a network that takes any; None: do not fix it.
            linear_map: whether maps come with the linear maps themselves.
            classes: ONNX only: whether the caller chooses the classes, which then are a second input.
            signature: SavedModel only: name of the signature that callers get who name none, such as
                ``"contributions"`` for programs that load one signature.
            warmup: SavedModel only: whether to add requests with which TF Serving warms up; None: if it is possible.
            verbose: whether to show the converters' messages.

        Raises:
            FileExistsError: if ``filepath`` exists.
            ValueError: for an unknown format, or arguments that do not fit the format or the network.
        """
        options: dict[str, Any] = {
            "top_k": top_k,
            "image_size": image_size,
            "linear_map": linear_map,
            "verbose": verbose,
        }
        if format in single_file.FORMATS:
            rule = '`signature` is for the format "tf_saved_model"'
            require(signature == schema.PREDICT, rule, format=format, signature=signature)
            require(warmup is None, '`warmup` is for the format "tf_saved_model"', format=format, warmup=warmup)
            return single_file.convert(self, filepath, format, classes=classes, **options)
        rule = f'`format` must be "tf_saved_model", {" or ".join(map(repr, single_file.FORMATS))}'
        require(format == "tf_saved_model", rule, format=format)
        rule = "`classes` is for ONNX: a SavedModel has a signature for chosen classes in any case"
        require(not classes, rule, "Leave it out", classes=classes)
        return saved_model.export_saved_model(self, filepath, signature=signature, warmup=warmup, **options)

    @classmethod
    def weight_shapes(cls, config: dict) -> list[tuple[int, ...]] | None:
        """Return the shapes of the weights of a network with these constructor arguments, without building it.

        Subclasses that do so are safe from preset folders that name sizes for which there is no memory. None: unknown.

        Raises:
            Exception: for arguments that the constructor refuses.
        """
        is_own = cls.__init__ is ExplainableClassifier.__init__ and graph_config.is_graph(config)
        return graph_config.weight_shapes(config) if is_own else None

    @classmethod
    def override_config(cls, config: dict, overrides: dict) -> dict:
        """Return the constructor arguments of a preset with some of them changed.

        Subclasses extend it where one argument depends on another.
        """
        if graph_config.is_graph(config):
            return graph_changes.changed(config, overrides)
        return {**config, **overrides}

    @classmethod
    def from_preset(
        cls, name_or_folder: str | os.PathLike, *, load_weights: bool | None = None, **overrides: Any
    ) -> Self:
        """Build a network by name, or load one that :meth:`save_to_preset` wrote.

        Where arguments change the shape of a layer's weights, for instance another ``num_classes`` those of the last
        layer, this layer is new: its weights are random, and it is in the network's ``new_layers``. All other layers
        get the preset's weights.

        Args:
            name_or_folder: one of ``keras_coda.models.preset_names()``, or a folder.
            load_weights: True: load weights, and raise if there are none; False: do not load them; None: load them if
                there are any.
            **overrides: constructor arguments to change, for instance ``temperature=100`` or ``dtype``. A new
                ``num_classes`` also changes the last layer. Of a graph (this class itself) ``class_names``, ``dtype``,
                ``frozen``, ``input_shape``, ``name``, ``num_classes`` and ``trainable`` can be changed.

        Returns:
            A network of the preset's class, which must be this class or a subclass of it.

        Raises:
            ValueError: for an unknown name (the message lists similar names), a preset of another class, or weights
                that do not exist.
            WeightsDoNotFitError: a ``ValueError``, if no layer has fitting weights.
            UnreadableFileError: a ``ValueError``, if the folder is damaged.

        Warns:
            NewLayersWarning: a ``UserWarning`` that names the new layers, if there are any beside loaded ones.
        """
        preset = presets.Preset.of(name_or_folder)
        require(
            preset.weights is not None or not load_weights,
            "The preset must come with weights",
            "It is an architecture only: leave `load_weights` out, and train it",
            preset=str(name_or_folder),
            load_weights=load_weights,
        )
        policy = keras.dtype_policies.get(overrides.get("dtype") or keras.config.dtype_policy())
        require_full_precision([policy.variable_dtype], policy.name)  # else the folder would seem to be damaged
        network_class = preset.network_class(cls)
        weights = None if load_weights is False else preset.weights
        try:
            with contextlib.nullcontext() if overrides or weights is None else weights_are_loaded():
                model = network_class.from_config(network_class.override_config(preset.config, overrides))
        except Exception as error:
            if overrides or preset.weights is None:
                raise
            raise preset.unreadable(error) from error
        if weights is not None:
            source = model
            if overrides:
                with weights_are_loaded():
                    source = network_class.from_config(dict(preset.config))
            try:
                keras.Model(source.inputs, source.outputs).load_weights(weights)
            except Exception as error:  # Keras and HDF5 raise many types for damaged files
                raise UnreadableFileError(
                    f"The weights of the preset must fit the architecture. Received: '{weights}' "
                    f"({summary(error)}). Copy the folder again."
                ) from error
            if overrides:
                model.new_layers = presets.copy_fitting_weights(source, model)
                presets.report_new_layers(model, weights, overrides)
            if not model.new_layers:  # else the figures are another network's
                model.training_figures = preset.facts.get("training_figures", {})
            try:
                stale = ["thresholds"] * bool(model.new_layers) + ["calibration"] * bool(overrides.keys() - {"dtype"})
                model.take_conventions({**preset.facts, **dict.fromkeys(stale)})
            except ValueError as error:
                raise preset.unreadable(error) from error
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
        rule = "`weights_dtype` must be float32 or float16"
        require(weights_dtype in ("float32", "float16"), rule, weights_dtype=weights_dtype)
        config = {key: value for key, value in self.get_config().items() if key not in ("dtype", "trainable")}
        model = self
        if weights_dtype == "float16":
            largest = max(float(np.abs(weights).max()) for weights in self.get_weights())
            fix = 'Use weights_dtype="float32"'
            require(largest < 65504, "Weights must be finite, and below 65504 for float16", fix, largest=largest)
            model = presets.half_precision_copy(self)
        # A plain model of the same layers: the weights file of a compiled one also holds the optimizer's variables.
        save_weights = keras.Model(model.inputs, model.outputs).save_weights
        name = keras.saving.get_registered_name(type(self))
        facts = {"training_figures": dict(self.training_figures), **self.conventions.stored()}
        presets.write(folder, name, config, save_weights, **facts)
