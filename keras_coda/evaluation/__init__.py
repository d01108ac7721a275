"""The metrics of the papers: how well attribution maps localize, and what becomes of a class as pixels are removed."""

from keras_coda.evaluation.localization import LocalizationResult, localization
from keras_coda.evaluation.pixel_removal import PixelRemovalResult, pixel_removal

__all__ = ["LocalizationResult", "PixelRemovalResult", "localization", "pixel_removal"]
