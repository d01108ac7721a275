"""The two parts of an explainable model: the encoding of images, and what is dynamic-linear up to the logits."""

import dataclasses

import keras
from keras import ops

from keras_coda.explanations import graph
from keras_coda.explanations.masking import masked
from keras_coda.layers.dynamic_linear import DynamicLinear, linearize_chain
from keras_coda.layers.linear_graph import LinearGraph
from keras_coda.utils.checks import require


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """The parts of a model: the graph that encodes the image, then the dynamic-linear layers up to the logits.

    Where these branch, everything between two tensors that all later ones depend on is one layer of the chain, a
    :class:`~keras_coda.layers.LinearGraph`.
    """

    encoder: keras.Model
    activations: str  # name of the encoder's output
    chain: tuple[DynamicLinear, ...]
    outputs: tuple[tuple[str, bool], ...]  # for each layer of the chain its name, and whether its output is spatial
    input_shape: tuple[int | None, int | None, int]  # (H, W, c)
    num_classes: int

    @classmethod
    def of(cls, model: keras.Model) -> "Decomposition":
        """Find the parts of a functional or sequential model; models inside it are taken apart.

        Raises:
            ValueError: if it does not end in ``DynamicLinear`` layers, joined by sums and concatenations.
        """
        if getattr(model, "layers", None) and not getattr(model, "inputs", None):  # a sequential model before its build
            fix = "Call it on images first, or let it begin with `keras.Input`"
            require(False, "An explainable model must be built", fix, model=model.name)
        rule = (
            "An explainable model encodes the image, and from there on consists of `DynamicLinear` layers, joined by "
            "sums and concatenations"
        )
        if not (len(getattr(model, "inputs", None) or ()) == len(getattr(model, "outputs", None) or ()) == 1):
            raise ValueError(f"{rule}, with one input and one output. Received: {getattr(model, 'name', model)!r}")
        images, logits = model.inputs[0], model.outputs[0]
        order = graph.values(model)
        last = max(position for position, value in enumerate(order) if not value.is_linear)
        first = next(position for position in graph.cuts(order) if position >= last)
        if any(isinstance(value.operation, DynamicLinear) for value in order[: first + 1]):
            wrong = order[last]
            raise ValueError(
                f"{rule}. Received: layer {wrong.name!r} of type {type(wrong.operation).__name__} inside it. "
                f"{wrong.nearest}"
            )
        stages = graph.stages(order, first)
        if not stages or len(logits.shape) != 2 or len(images.shape) != 4:
            wrong = order[last]
            raise ValueError(
                f"{rule}. It maps (batch, height, width, channels) to (batch, classes). Received: input "
                f"{images.shape}, output {logits.shape}; the last layer that is not dynamic-linear is {wrong.name!r} "
                f"of type {type(wrong.operation).__name__}. {'' if stages else wrong.nearest}"
            )
        constant = stages[-1][0].offset
        rule = "The `offset` of the last layer must be a number, the same for all classes"
        require(isinstance(constant, (int, float)), rule, layer=stages[-1][1].name, offset=constant)
        encoder = graph.encoder(model, order[first])
        for nested, (tensor, *_) in graph.nested_inputs(order[first]):
            fix = f"Explain the network itself, {nested.name!r}, on images of its size"
            rule = "Layers before an explainable network must keep the size of images, or maps would not fit them"
            require(tensor.shape[1:3] == images.shape[1:3], rule, fix, images=images.shape, after_layers=tensor.shape)
        outputs = tuple((value.name, len(value.tensor.shape) == 4) for _, value in stages)
        chain = tuple(layer for layer, _ in stages)
        return cls(encoder, order[first].name, chain, outputs, tuple(images.shape[1:]), logits.shape[-1])

    @property
    def bias(self) -> float:
        """Constant that the last layer adds to the contributions of each class."""
        return float(self.chain[-1].offset)

    @property
    def features(self) -> str | None:
        """Name of the layer from which on maps are exact, if the encoder does more than to encode single pixels."""
        (*size, _), (*new_size, _) = self.encoder.input_shape[1:], self.encoder.output_shape[1:]
        learns = any(layer.weights and type(layer).__name__ != "Normalization" for layer in self.encoder.layers)
        return self.activations if learns or size != new_size else None

    @property
    def has_offsets(self) -> bool:
        """Whether inner layers add constants, which maps cannot contain."""
        inner = [layer.has_offset for layer in self.chain[:-1]]
        return any(inner) or (isinstance(self.chain[-1], LinearGraph) and self.chain[-1].has_offset)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables, trainable or not, of the encoder and of the chain, each once."""
        parts = (self.encoder, *self.chain)
        found = {id(variable): variable for part in parts for variable in getattr(part, "variables", ())}
        return list(found.values())

    def depth(self, wrt: str | None) -> int:
        """Return the number of layers of the chain before the activations named ``wrt`` (None: the encoded image)."""
        places = {self.activations: 0}
        places |= {name: place for place, (name, is_spatial) in enumerate(self.outputs, start=1) if is_spatial}
        if wrt is not None and wrt not in places:
            raise ValueError(
                f"`wrt` must name a layer with a spatial output, one of {list(places)}. Received: wrt={wrt!r}"
            )
        return 0 if wrt is None else places[wrt]

    def encode(self, images, training=False):
        """Encode images ``(batch, H, W, c)``, pixels in [0, 255], as the chain's input, float32."""
        return ops.cast(self.encoder(images, training=training), "float32")

    def logits(self, images):
        """Return logits ``(batch, classes)`` in float32 under any dtype policy of the layers."""
        return linearize_chain(self.chain, self.encode(images))[0]

    def explain(self, images, classes=None, keep=None, *, top_k=1, depth=0, linear_map=False) -> dict:
        """Explain in float32, with ``keras.ops`` only: for eager calls, compiled functions and exported graphs alike.

        Args:
            images: ``(batch, H, W, c)`` float32, pixels in [0, 255].
            classes: None for the ``top_k`` largest logits, or int32 ``(batch, K)``.
            keep: None, or ``(batch, H, W, 1)`` float32, what the encoded pixels are multiplied by.
            top_k: int.
            depth: number of layers of the chain before the activations to which the contributions refer.
            linear_map: bool, whether to return the linear map as well.

        Returns:
            dict of ``logits`` (batch, classes), ``classes`` (batch, K), ``contributions`` (batch, K, h, w) and, if
            requested, ``linear_map`` (batch, K, h, w, channels). If inner layers add constants, ``offsets`` (batch, K),
            what these add to the logits.
        """
        encoded = self.encode(images)
        encoded = encoded if keep is None else masked(encoded, keep)
        activations, _ = linearize_chain(self.chain[:depth], encoded)
        logits, frozen = linearize_chain(self.chain[depth:], activations)
        if classes is None:
            classes = ops.cast(ops.top_k(logits, top_k)[1], "int32")
        targets = ops.one_hot(classes, self.num_classes, dtype="float32")  # (batch, K, classes)
        weights, offsets = self._pull(depth, frozen, targets)  # W_{depth→L}(x): (batch, K, h, w, channels)
        results = {
            "logits": logits,
            "classes": classes,
            "contributions": ops.sum(weights * ops.expand_dims(activations, 1), axis=-1),
        }
        if linear_map:
            results["linear_map"] = weights
        return results | ({} if offsets is None else {"offsets": offsets})

    def _pull(self, depth, frozen, targets):
        """Pull targets back to a depth; return the weights, and what inner constants add, or None if there are none."""
        offsets, cotangents = None, targets
        layers = self.chain[depth:]
        for layer, weights in zip(reversed(layers), reversed(frozen), strict=True):
            is_bias = layer is layers[-1] and not isinstance(layer, LinearGraph)
            if layer.has_offset and not is_bias:
                share = layer.offset_share(weights, cotangents)
                offsets = share if offsets is None else offsets + share
            cotangents = layer.pullback(weights, cotangents)
        return cotangents, offsets
