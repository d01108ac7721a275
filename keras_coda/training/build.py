"""The network of a preset, built for given data: its number of classes, its channels and its image size."""

import os
from typing import Any

from keras_coda.data.load import Data
from keras_coda.models import presets
from keras_coda.models.coda_net import CoDANet


def network(
    preset: str | os.PathLike, data: Data, *, pretrained: bool | None = None, **overrides: Any
) -> tuple[CoDANet, list[str]]:
    """Build the network of a preset with the classes, channels and image size of the data.

    Args:
        preset: name or folder, see :meth:`CoDANet.from_preset`.
        data: the data it will be trained on.
        pretrained: whether to start from the preset's weights where they fit the data. None: yes for a folder, no for
            a name, whose weights come with this package.
        **overrides: further constructor arguments of :class:`~keras_coda.CoDANet`, for instance ``temperature``.

    Returns:
        ``(model, notes)``: ``notes`` is a list with one sentence for each difference between the network and the
        preset.

    Raises:
        ValueError: if there is no such preset, or an argument is out of range.

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
    weights_fit = not differ  # images of another size need no other weights
    if any(want not in (None, got) for want, got in zip(size, data_size, strict=True)):
        differ["image size"] = ("x".join(map(str, size)), "x".join(map(str, data_size)))
        size = data_size
    notes = [f"The network gets {have} {what}, as the data have; the preset has {had}."
             for what, (had, have) in differ.items()]  # fmt: skip
    folder = presets.preset_folder(preset)
    if pretrained is None:
        pretrained = folder is not None and not presets.is_name(preset)
    if pretrained and not weights_fit and folder is not None:
        notes.append("The preset's weights do not fit this network: it starts from random weights.")
    overrides = {"num_classes": data.num_classes, "class_names": data.class_names, **overrides}
    overrides["input_shape"] = (*size, data_channels)
    return CoDANet.from_preset(preset, load_weights=pretrained and weights_fit, **overrides), notes


def default_preset(source: str | os.PathLike) -> str:
    """Return the name of the preset that is used for a data source where none is named."""
    return "coda_digits" if source == "digits" else "coda_xs_cifar10"


def image_size(preset: str | os.PathLike, source: str | os.PathLike) -> tuple[int, int] | None:
    """Return the size to which the images of a folder are resized for a preset.

    Args:
        preset: name or folder of a preset.
        source: as for :func:`keras_coda.data.load`.

    Returns:
        ``(height, width)`` in pixels; None if ``source`` is not a folder, or the preset takes images of any size.
    """
    size = tuple(preset_config(preset)["input_shape"][:2])
    return size if os.path.isdir(os.path.expanduser(source)) and None not in size else None


def preset_config(preset: str | os.PathLike) -> dict:
    """Return the constructor arguments of a preset, given by name or folder."""
    folder = presets.preset_folder(preset)
    return presets.preset_architecture(str(preset)) if folder is None else presets.read(folder)[0]["config"]
