"""The network of a preset, built for given data: its number of classes, its channels and its image size."""

import os
import warnings
from typing import Any

from keras_coda.data.label_tables import is_table
from keras_coda.data.load import Data
from keras_coda.models import graph_config, presets
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.utils.checks import require
from keras_coda.utils.errors import NewLayersWarning, WeightsDoNotFitError


def network(
    preset: str | os.PathLike,
    data: Data,
    *,
    pretrained: bool | None = None,
    freeze: bool | None = None,
    **overrides: Any,
) -> tuple[ExplainableClassifier, list[str]]:
    """Build the network of a preset with the classes, channels and image size of the data.

    Args:
        preset: name or folder, see :meth:`ExplainableClassifier.from_preset`.
        data: the data it will be trained on.
        pretrained: whether to start from the preset's weights. Layers whose weights do not fit the data, such as the
            last one for another number of classes, are new. None: yes for a folder of which some layers fit, no for a
            name, whose weights come with this package.
        freeze: True: freeze all layers but the new ones; False: none; None: those that are frozen in the preset.
        **overrides: further constructor arguments of :class:`~keras_coda.CoDANet`, for instance ``temperature``.

    Returns:
        ``(model, notes)``: ``notes`` is a list with one sentence for each difference between the network and the
        preset, and one that names the new layers.

    Raises:
        ValueError: if there is no such preset, no layer of it fits, nothing is new but to be trained alone, or an
            argument is out of range.

    Example:
        >>> model, notes = network("coda_digits", keras_coda.data.load("digits"), temperature=20.0)
        >>> model.temperature, notes
        (20.0, [])
    """
    config = preset_config(preset)
    (*size, channels), (*data_size, data_channels) = config["input_shape"], data.image_shape
    differ: dict[str, tuple[Any, Any]] = {
        "classes": (config["num_classes"], data.num_classes),
        "channels": (channels, data_channels),
    }
    differ = {what: pair for what, pair in differ.items() if pair[0] != pair[1]}
    if any(want not in (None, got) for want, got in zip(size, data_size, strict=True)):
        differ["image size"] = ("x".join(map(str, size)), "x".join(map(str, data_size)))
        size = data_size
    notes = [f"The network gets {have} {what}, as the data have; the preset has {had}."
             for what, (had, have) in differ.items()]  # fmt: skip
    is_loaded = pretrained
    if is_loaded is None:
        is_loaded = presets.preset_folder(preset) is not None and not presets.is_name(preset)
    overrides = {"num_classes": data.num_classes, "class_names": data.class_names, **overrides}
    overrides["input_shape"] = (*size, data_channels)
    overrides |= {"frozen": None} if freeze is False else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NewLayersWarning)  # it becomes a note
        try:
            model = ExplainableClassifier.from_preset(preset, load_weights=is_loaded, **overrides)
        except WeightsDoNotFitError:
            if pretrained or freeze:
                raise
            notes.append("The preset's weights do not fit this network: it starts from random weights.")
            model = ExplainableClassifier.from_preset(preset, load_weights=False, **overrides)
    if model.window != data.window:
        own, had = (
            f"{window[0]:g} to {window[1]:g}" for window in (data.window or (0, 65535), model.window or (0, 65535))
        )
        notes.append(f"16-bit images are read with the window {own}, as the data are; the preset has {had}.")
    model.window = data.window
    if data.multi_label or model.multi_label:
        model.compile(multi_label=data.multi_label)
        notes += ["Images may have any number of labels, as the data say."] if data.multi_label else []
    if model.new_layers:
        notes.append(f"New layers, with random weights: {', '.join(model.new_layers)}. The others are the preset's.")
    if freeze:
        rule, fix = "`freeze` keeps a preset's weights and trains new layers", "Leave it out, to train all layers"
        require(model.new_layers, rule, fix, preset=str(preset), pretrained=pretrained, new_layers=model.new_layers)
        for layer in model.layers:
            layer.trainable = layer.name in model.new_layers
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    if frozen:
        notes.append(f"Frozen layers, which are not trained: {', '.join(frozen)}.")
    return model, notes


def default_preset(source: str | os.PathLike) -> str:
    """Return the name of the preset that is used for a data source where none is named."""
    return "coda_digits" if source == "digits" else "coda_xs_cifar10"


def image_size(preset: str | os.PathLike, source: str | os.PathLike) -> tuple[int, int] | None:
    """Return the size to which the images of a folder or CSV file are resized for a preset.

    Args:
        preset: name or folder of a preset.
        source: as for :func:`keras_coda.data.load`.

    Returns:
        ``(height, width)`` in pixels; None if ``source`` is neither a folder nor a CSV file, or the preset takes images
        of any size.
    """
    size = tuple(preset_config(preset)["input_shape"][:2])
    are_files = is_table(source) or os.path.isdir(os.path.expanduser(source))
    return size if are_files and None not in size else None


def preset_config(preset: str | os.PathLike) -> dict:
    """Return the constructor arguments of a preset, given by name or folder.

    Of a graph of layers: its configuration, with ``input_shape`` and ``num_classes`` added.
    """
    folder = presets.preset_folder(preset)
    config = presets.preset_architecture(str(preset)) if folder is None else presets.read(folder)[0]["config"]
    if not graph_config.is_graph(config):
        return config
    try:
        own = {"input_shape": graph_config.image_shape(config), "num_classes": graph_config.num_classes(config)}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise presets.Preset.of(preset).unreadable(error) from error
    return {**config, **own}
