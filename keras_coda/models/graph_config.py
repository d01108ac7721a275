"""Configurations of networks given as graphs of layers: checked before anything in them is imported or built."""

import contextvars
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_coda.utils.checks import require, summary

_PARTS = ("layers", "input_layers", "output_layers")
_KNOWN = {*_PARTS, "name", "trainable", "class_names", "dtype"}
# Data that Keras writes between layers, without a class.
_DATA = ("__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__", "__bytes__")
# Classes of Keras that run code or read files that the configuration names.
_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "function")
only_shapes: contextvars.ContextVar[bool] = contextvars.ContextVar("only shapes of weights", default=False)


def is_graph(config: dict) -> bool:
    """Return whether this is the configuration of a graph, and not constructor arguments."""
    return all(part in config for part in _PARTS)


def objects(config: Any) -> Iterator[dict]:
    """Yield all objects in the configuration of a model, from the outermost on."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
        if isinstance(value, (dict, list, tuple)):
            waiting += value.values() if isinstance(value, dict) else value


def check(config: dict) -> None:
    """Refuse what is no graph of layers of Keras and of registered layers.

    Raises:
        ValueError: for classes that are not Keras' own and not registered, for those that run code of the file, and for
            arguments that a graph has not.
    """
    unknown = sorted(set(config) - _KNOWN)
    require(not unknown, "A graph has no constructor arguments beside class names, name and dtype", unknown=unknown[:5])
    for found in objects({part: config[part] for part in _PARTS}):
        if "class_name" in found:
            _check_class(found)


def _check_class(serialized):
    name = serialized["class_name"]
    if name in _DATA:
        return
    registered, module = serialized.get("registered_name"), serialized.get("module")
    given = {"class_name": name, "module": module, "registered_name": registered}
    rule = "A graph must consist of layers of Keras and of layers that are registered with Keras"
    is_known = isinstance(registered, str) and keras.saving.get_registered_object(registered) is not None
    is_of_keras = isinstance(module, str) and (module == "keras" or module.startswith("keras."))
    require(is_known or is_of_keras, rule, "Import the module that registers it", **given)
    rule = "A graph must not run code, or read files, that its configuration names"
    require(is_known or name not in _CODE, rule, "Register a layer of your own in its place", **given)


def layers_by_name(config: dict) -> dict[str, dict]:
    """Return the serialized layers of a graph, those in nested models left out."""
    return {layer["name"]: layer for layer in config["layers"]}


def image_shape(config: dict) -> tuple[int | None, int | None, int]:
    """Return the shape ``(height, width, channels)`` of the images of a graph.

    Raises:
        ValueError: for a graph of anything but images.
    """
    shapes = [layers_by_name(config)[name]["config"]["batch_shape"] for name in _strings(config["input_layers"])]
    require(len(shapes) == 1 and len(shapes[0]) == 4, "A graph must have one input of images", shapes=shapes)
    return tuple(shapes[0][1:])


def num_classes(config: dict) -> int:
    """Return the number of logits of a graph: the size of its last layer, or the channels of what that is given."""
    last = layers_by_name(config)[_strings(config["output_layers"])[0]]
    own = last["config"].get("units", last["config"].get("filters"))
    shapes = [each["config"]["shape"] for each in objects(last["inbound_nodes"]) if each.get("class_name") == _DATA[0]]
    return own or shapes[0][-1]


def weight_shapes(config: dict) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of a graph, without any memory for them.

    Raises:
        ValueError: as :func:`check`.
        Exception: for a graph that Keras cannot build.
    """
    check(config)
    outcome: list[Any] = []

    def build():
        token = only_shapes.set(True)
        try:
            # In this scope variables have a shape but no value until it ends, and then not either.
            with keras.StatelessScope(initialize_variables=False):
                model = keras.Model.from_config(copied({**{part: config[part] for part in _PARTS}, "name": "shapes"}))
            outcome.append([tuple(weight.shape) for weight in model.weights])
        except Exception as error:
            outcome.append(error)
        finally:
            only_shapes.reset(token)

    # Keras keeps a list, for each thread, of variables that wait for a value. With this thread the list ends.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(build,))
    thread.start()
    thread.join()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def resized(config: dict, input_shape: Sequence[int | None]) -> dict:
    """Return the configuration of the same graph for images of another size.

    Args:
        config: of a graph.
        input_shape: ``(height, width, channels)``.
    """
    config = copied(config)
    for found in objects(config["layers"]):
        found.pop("build_config", None)  # of the former size
        own = found.get("config")
        if isinstance(own, dict) and is_graph(own):  # a model inside it
            _set_size(own, (None, None))
    _set_size(config, tuple(input_shape)[:2])
    return config


def _set_size(config, size):
    """Let a graph take images of a size."""
    names = set(_strings(config["input_layers"]))
    for serialized in config["layers"]:
        shape = serialized.get("config", {}).get("batch_shape")
        if serialized.get("name") in names and shape and len(shape) == 4:
            serialized["config"]["batch_shape"] = (shape[0], *size, shape[-1])


def rebuilt(model: keras.Model, config: dict, input_shape: Sequence[int | None]):
    """Build a network for images of another size, to which the weights of this one fit.

    Args:
        model: the network.
        config: what its ``get_config`` returned.
        input_shape: ``(height, width, channels)``.

    Raises:
        ValueError: if a layer of a graph cannot take images of that size.
    """
    if not is_graph(config):
        return type(model).from_config({**config, "input_shape": input_shape})
    try:
        copy = type(model).from_config(resized(config, input_shape))
        copy.set_weights(model.get_weights())
        return copy
    except Exception as error:  # layers raise whatever they like
        raise ValueError(
            "All layers of a graph must be able to take images of another size. Received: "
            f"input_shape={tuple(input_shape)} ({summary(error)}). Begin it with `keras.Input((None, None, channels))`"
        ) from error


def _strings(value):
    """Return all strings in nested lists."""
    if isinstance(value, (list, tuple)):
        return [name for each in value for name in _strings(each)]
    return [value] if isinstance(value, str) else []


def copied(value):
    """Copy lists and dicts, and nothing else: Keras changes what it is given."""
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    return type(value)(map(copied, value)) if type(value) in (list, tuple) else value
