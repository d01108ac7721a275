"""How good attribution maps are: the metrics of the papers, and methods compared by them.

Here belongs what measures. Methods belong to `keras_coda.explanations` (exact maps) and `keras_coda.posthoc`.
"""

from keras_coda.evaluation.comparison import Comparison as Comparison
from keras_coda.evaluation.comparison import compare as compare
from keras_coda.evaluation.localization_grids import LocalizationResult as LocalizationResult
from keras_coda.evaluation.localization_grids import localization as localization
from keras_coda.evaluation.removal import PixelRemovalResult as PixelRemovalResult
from keras_coda.evaluation.removal import pixel_removal as pixel_removal
