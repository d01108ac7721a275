"""The two parts of an explainable model: its image encoding and its chain of dynamic-linear layers."""

import dataclasses
import itertools

import keras
from keras import ops

from keras_coda.layers.dynamic_linear import DynamicLinear, linearize_chain, pullback_chain
from keras_coda.utils.checks import require


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """The parts of a model: the layers that encode the image, then the dynamic-linear chain up to the logits."""

    encoder: keras.Model
    activations: str  # name of the encoder's output
    chain: tuple[DynamicLinear, ...]
    input_shape: tuple[int | None, int | None, int]  # (H, W, c)
    num_classes: int

    @classmethod
    def of(cls, model: keras.Model) -> "Decomposition":
        """Find the parts of a functional or sequential model.

        Its last layer may be such a model itself. The layers before it, for example those that augment images in
        training, then belong to the encoding.

        Raises:
            ValueError: if it is not a plain chain of layers that ends in ``DynamicLinear`` layers.
        """
        layers = list(getattr(model, "layers", []))
        if layers and not getattr(model, "inputs", None):  # a sequential model has none until it is built
            fix = "Call it on images first, or let it begin with `keras.Input`"
            require(False, "An explainable model must be built", fix, model=model.name)
        if layers and isinstance(layers[-1], keras.Model) and len(model.inputs) == len(model.outputs) == 1:
            return cls._of_wrapped(model, layers[-1])
        rule = "An explainable model is a chain of layers, image encoding first and `DynamicLinear` layers to the end."
        chained = bool(layers) and len(model.inputs) == len(model.outputs) == 1
        chained = chained and all(_source(after) is before for before, after in itertools.pairwise(layers))
        if not chained:
            raise ValueError(f"{rule} Received: {model.name!r}, which is not a chain of single-input layers.")
        dynamic = [isinstance(layer, DynamicLinear) for layer in layers]
        first = dynamic.index(True) if True in dynamic else len(layers)
        for layer, is_dynamic in zip(layers[first:], dynamic[first:], strict=True):
            if not is_dynamic:
                raise ValueError(f"{rule} Received: layer {layer.name!r} of type {type(layer).__name__} inside it.")
            if layer.offset and layer is not layers[-1]:
                raise ValueError(f"Only the last layer may have an `offset`. Received: layer {layer.name!r}")
        images, logits = model.inputs[0], model.outputs[0]
        if first == len(layers) or len(logits.shape) != 2 or len(images.shape) != 4:
            raise ValueError(
                f"{rule} It maps (batch, height, width, channels) to (batch, classes). "
                f"Received: input {images.shape}, output {logits.shape}, {sum(dynamic)} DynamicLinear layers"
            )
        before = layers[first - 1] if first else None  # `layers` of a Sequential model has no input layer
        encoder = keras.Model(images, before.output if before else images, name="encoder")
        activations = before.name if before else "input"
        return cls(encoder, activations, tuple(layers[first:]), tuple(images.shape[1:]), logits.shape[-1])

    @classmethod
    def _of_wrapped(cls, model, network):
        """Find the parts of a model whose last layer is an explainable model."""
        inner, images = cls.of(network), model.inputs[0]
        operation, node, _ = model.outputs[0]._keras_history  # noqa: SLF001
        rule = "A model around an explainable network must pass its images on to it and return its logits"
        require(operation is network, rule, model=model.name, network=network.name)
        (before,) = operation._inbound_nodes[node].input_tensors  # noqa: SLF001
        fix = f"Explain the network itself, {network.name!r}, on images of its size"
        rule = "Layers before an explainable network must keep the size of images, or maps would not fit them"
        require(before.shape[1:3] == images.shape[1:3], rule, fix, images=images.shape, after_layers=before.shape)
        encoder = keras.Model(images, inner.encoder(before), name="encoder")
        return dataclasses.replace(inner, encoder=encoder, input_shape=tuple(images.shape[1:]))

    @property
    def bias(self) -> float:
        """Constant that the last layer adds to the contributions of each class."""
        return float(self.chain[-1].offset)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables, trainable or not, of the encoder and of the chain, each once."""
        parts = (self.encoder, *self.chain)
        found = {id(variable): variable for part in parts for variable in getattr(part, "variables", ())}
        return list(found.values())

    def depth(self, wrt: str | None) -> int:
        """Return the number of layers of the chain before the activations named ``wrt`` (None: the encoded image)."""
        names = [self.activations]
        names += [layer.name for layer in self.chain if len(layer.output.shape) == 4]
        if wrt is not None and wrt not in names:
            raise ValueError(f"`wrt` must name a layer with a spatial output, one of {names}. Received: wrt={wrt!r}")
        return 0 if wrt is None else names.index(wrt)

    def encode(self, images, training=False):
        """Encode images ``(batch, H, W, c)``, pixels in [0, 255], as the chain's input, float32."""
        return ops.cast(self.encoder(images, training=training), "float32")

    def logits(self, images):
        """Return logits ``(batch, classes)`` in float32 under any dtype policy of the layers."""
        return linearize_chain(self.chain, self.encode(images))[0]

    def explain(self, images, classes=None, *, top_k=1, depth=0, linear_map=False) -> dict:
        """Explain in float32, with ``keras.ops`` only: for eager calls, compiled functions and exported graphs alike.

        Args:
            images: ``(batch, H, W, c)`` float32, pixels in [0, 255].
            classes: None for the ``top_k`` largest logits, or int32 ``(batch, K)``.
            top_k: int.
            depth: number of layers of the chain before the activations to which the contributions refer.
            linear_map: bool, whether to return the linear map as well.

        Returns:
            dict of ``logits`` (batch, classes), ``classes`` (batch, K), ``contributions`` (batch, K, h, w) and, if
            requested, ``linear_map`` (batch, K, h, w, channels).
        """
        activations, _ = linearize_chain(self.chain[:depth], self.encode(images))
        logits, frozen = linearize_chain(self.chain[depth:], activations)
        if classes is None:
            classes = ops.cast(ops.top_k(logits, top_k)[1], "int32")
        targets = ops.one_hot(classes, self.num_classes, dtype="float32")  # (batch, K, classes)
        weights = pullback_chain(self.chain[depth:], frozen, targets)  # W_{depth→L}(x): (batch, K, h, w, channels)
        results = {
            "logits": logits,
            "classes": classes,
            "contributions": ops.sum(weights * ops.expand_dims(activations, 1), axis=-1),
        }
        if linear_map:
            results["linear_map"] = weights
        return results


def _source(layer):
    """Return the layer before another; older Keras puts a ``Cast`` between layers of different dtype policies."""
    operation = layer.input._keras_history.operation if isinstance(layer.input, keras.KerasTensor) else None  # noqa: SLF001
    while type(operation).__name__ == "Cast":
        operation = operation.input._keras_history.operation  # noqa: SLF001
    return operation
