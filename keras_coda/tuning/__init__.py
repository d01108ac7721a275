"""Hyperparameter search with KerasTuner, and the study of the temperature.

Here belongs what trains several networks to choose among them. One training belongs to `keras_coda.training`.
"""

from keras_coda.tuning.results import TemperatureStudy as TemperatureStudy
from keras_coda.tuning.results import TuningResult as TuningResult
from keras_coda.tuning.temperature import S_CODA_CIFAR10 as S_CODA_CIFAR10
from keras_coda.tuning.temperature import temperature_study as temperature_study

_LAZY = ("CoDAHyperModel", "tune")  # of a module that needs KerasTuner, an optional package


def __getattr__(name: str):
    """Import KerasTuner where it is needed, not before."""
    if name in _LAZY:
        from keras_coda.tuning import search

        return getattr(search, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
