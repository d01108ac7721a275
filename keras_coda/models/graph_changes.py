"""Changes of networks given as graphs of layers: other classes, another dtype, image size or frozen layers."""

from collections.abc import Iterable
from typing import Any

import keras

from keras_coda.models.graph_config import copied, image_shape, layers_by_name, objects, resized
from keras_coda.models.layer_arguments import check_num_classes, float_policy
from keras_coda.utils.checks import check_image_shape, require

CHANGES = ("class_names", "dtype", "frozen", "input_shape", "name", "num_classes", "trainable")
# Layers behind the class maps that have one channel per class because their inputs have.
_KEEP_CHANNELS = ("Add", "AveragePooling2D", "Blur2D", "GlobalAveragePooling2D", "GlobalSumPooling2D", "LogitScaling")
# Layers of this package's networks that compute in float32 under every dtype policy.
_FLOAT32 = ("AddInverse", "FeatureEncoding", "GlobalAveragePooling2D", "GlobalSumPooling2D", "LogitScaling",
            "Normalization", "PixelDropout", "Rescaling")  # fmt: skip


def changed(config: dict, changes: dict[str, Any]) -> dict:
    """Return the configuration of a graph with some things changed, which are those that are well defined.

    Args:
        config: of a graph, see :func:`keras_coda.models.graph_config.is_graph`.
        changes: some of ``CHANGES``. ``num_classes`` changes the layers that make the class maps; ``dtype`` is the
            policy of all layers but those that encode images, sum maps or scale logits; ``input_shape`` must have the
            same channels; ``frozen`` names the layers whose weights training does not change, None for none.

    Raises:
        ValueError: for other changes, values out of range, and a graph without layers that make one map per class.
    """
    wrong = sorted(set(changes) - set(CHANGES))
    rule = f"Of a graph only {', '.join(f'`{name}`' for name in CHANGES)} can be changed"
    fix = "Build the graph with other layers, and copy the weights of the others: `layer.set_weights`"
    require(not wrong, rule, fix, overrides=wrong)
    config, changes = copied(config), dict(changes)
    if "input_shape" in changes:
        config = _with_input_shape(config, changes.pop("input_shape"))
    if "num_classes" in changes:
        _set_num_classes(config, check_num_classes(changes.pop("num_classes")))
    if "dtype" in changes:
        _set_dtype(config, changes.pop("dtype"))
    if "frozen" in changes:
        _set_frozen(config, changes.pop("frozen"))
    return config | changes


def _with_input_shape(config, input_shape):
    shape, own = check_image_shape(input_shape), image_shape(config)
    fix = "Build the graph with another `keras.Input`, and copy the weights of the layers that fit"
    require(shape[-1] == own[-1], "A graph keeps the channels of its images", fix, input_shape=shape, graph=own)
    return config if shape == own else resized(config, shape)


def _set_num_classes(config, num_classes):
    makers, behind = _class_layers(config)
    if all(maker["config"][_size_of(maker)] == num_classes for maker in makers):
        return
    for maker in makers:
        maker["config"][_size_of(maker)] = num_classes
    for layer in behind:
        layer.pop("build_config", None)  # for the former number
    config["class_names"] = None


def _class_layers(config) -> tuple[list[dict], list[dict]]:
    """Return the layers that make one map or logit for each class, and those behind them."""
    layers = layers_by_name(config)
    makers: dict[str, dict] = {}
    behind: dict[str, dict] = {}
    waiting = [config["output_layers"]]
    rule = "Another `num_classes` needs layers with `filters` or `units` whose maps are only pooled, added and scaled"
    fix = "Build the graph with other last layers, and copy the weights of the others: `layer.set_weights`"
    while waiting:
        references = waiting.pop()
        for name in _names(references):
            layer = layers[name]
            found = {"layer": name, "type": layer["class_name"]}
            require(len(layer["inbound_nodes"]) == 1, rule, fix, **found, calls=len(layer["inbound_nodes"]))
            if _size_of(layer):
                makers[name] = layer
            else:
                require(layer["class_name"] in _KEEP_CHANNELS, rule, fix, **found)
                behind[name] = layer
                waiting.append(layer["inbound_nodes"])
    for layer in layers.values():
        shared = set(_names(layer["inbound_nodes"])) & set(makers)
        require(not shared or layer["name"] in behind, rule, fix, layer=min(shared, default=""), goes_to=layer["name"])
    return list(makers.values()), list(behind.values())


def _size_of(layer):
    """Return the name of the argument that says how many channels a layer makes; None if there is none."""
    return next((name for name in ("filters", "units") if name in layer["config"]), None)


def _names(references) -> Iterable[str]:
    """Yield the names of layers in nested references ``[name, node, tensor]`` and serialized tensors."""
    if isinstance(references, (list, tuple)):
        if len(references) == 3 and isinstance(references[0], str):
            yield references[0]
        else:
            for each in references:
                yield from _names(each)
    elif isinstance(references, dict):
        own = references.get("config")
        if isinstance(own, dict) and "keras_history" in own:
            yield own["keras_history"][0]
        else:
            yield from _names(list(references.values()))


def _set_dtype(config, dtype):
    policy = keras.dtype_policies.serialize(float_policy(dtype))
    full = keras.dtype_policies.serialize(float_policy("float32"))
    for found in objects(config["layers"]):
        own = found.get("config")
        if isinstance(own, dict) and isinstance(own.get("dtype"), dict):  # a policy; inputs have a dtype, a string
            own["dtype"] = full if found.get("class_name") in _FLOAT32 else policy
    config["dtype"] = policy


def _set_frozen(config, frozen):
    layers, names = layers_by_name(config), set(frozen or ())
    rule = f"`frozen` must name layers of the graph, some of {list(layers)}"
    require(not isinstance(frozen, str) and names <= set(layers), rule, frozen=frozen)
    for name, layer in layers.items():
        for found in objects(layer):  # a trunk that is frozen for good stays so, whatever its configuration says
            if "trainable" in found:
                found["trainable"] = name not in names
