"""What searches and studies have in common: the network of a run, its identity and its localization."""

import os
import warnings

from keras_coda.data.load import Data
from keras_coda.evaluation.grids import Grid
from keras_coda.evaluation.localization_grids import LocalizationResult, localization
from keras_coda.models.coda_net import CoDANet
from keras_coda.utils.checks import require
from keras_coda.utils.errors import FewerGridsWarning, NotEnoughImagesError


def untrained(preset: str | os.PathLike, data: Data, **overrides) -> CoDANet:
    """Build the network of a preset with random weights, for the classes and the image shape of the data."""
    rule = "Searches and studies measure accuracy and localization, so images must have one label each"
    require(not data.multi_label, rule, "Train networks with `keras_coda.training.train`", data=data.name)
    options = {"num_classes": data.num_classes, "class_names": data.class_names, "input_shape": data.image_shape}
    return CoDANet.from_preset(preset, load_weights=False, **{**options, **overrides})


def identity(data: Data, config: dict) -> dict:
    """Return the settings that identify the data and the network of a run, JSON-serializable.

    Args:
        data: the data.
        config: what ``get_config`` of the network returns.
    """
    names = ("name", "num_train", "num_validation", "image_shape", "batch_size", "augmentation")
    config = {name: value for name, value in config.items() if name != "name"}  # Keras numbers the models of a process
    return {"data": {name: getattr(data, name) for name in names}, "model": config}


def localization_if_any(model: CoDANet, data: Data, grid: Grid, n_grids: int) -> LocalizationResult | None:
    """Return the localization on the validation images.

    None if too few of them are classified correctly and confidently for a single grid.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewerGridsWarning)  # the result has the number of grids
        try:
            return localization(model, data.validation, grid=grid, n_grids=n_grids, verbose=False)
        except NotEnoughImagesError:
            return None
