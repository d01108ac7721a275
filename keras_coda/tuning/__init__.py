"""Hyperparameter search with KerasTuner, and the study of the temperature.

This room is for code that trains several networks to choose among them. A single training belongs to
`keras_coda.training`.
"""

from typing import TYPE_CHECKING

from keras_coda.tuning.results import HYPERPARAMETERS as HYPERPARAMETERS
from keras_coda.tuning.results import METRICS as METRICS
from keras_coda.tuning.results import TemperatureStudy as TemperatureStudy
from keras_coda.tuning.results import TuningResult as TuningResult
from keras_coda.tuning.temperature import S_CODA_CIFAR10 as S_CODA_CIFAR10
from keras_coda.tuning.temperature import temperature_study as temperature_study

if TYPE_CHECKING:
    from keras_coda.tuning.hypermodel import CoDAHyperModel as CoDAHyperModel
    from keras_coda.tuning.search import tune as tune

# Their modules need KerasTuner, an optional package, and are imported when the names are first used.
_LAZY = {"CoDAHyperModel": "keras_coda.tuning.hypermodel", "tune": "keras_coda.tuning.search"}


def __getattr__(name: str):
    """Import the functions and classes that need KerasTuner."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    from keras_coda.utils.optional import import_optional

    import_optional("keras_tuner", extra="tune", purpose="Hyperparameter search", package="KerasTuner")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
