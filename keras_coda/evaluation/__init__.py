"""How good predictions and attribution maps are: the metrics of the papers, and explainers compared by them.

Here belongs what measures. Explainers belong to `keras_coda.explanations` (exact maps) and `keras_coda.posthoc`.
"""

from keras_coda.evaluation.accuracy import evaluate as evaluate
from keras_coda.evaluation.calibration import Reliability as Reliability
from keras_coda.evaluation.calibration import calibrate as calibrate
from keras_coda.evaluation.calibration import calibration_error as calibration_error
from keras_coda.evaluation.calibration import reliability as reliability
from keras_coda.evaluation.comparison import METRICS as METRICS
from keras_coda.evaluation.comparison import Comparison as Comparison
from keras_coda.evaluation.comparison import Metric as Metric
from keras_coda.evaluation.comparison import compare as compare
from keras_coda.evaluation.datasets import labeled_batches as labeled_batches
from keras_coda.evaluation.grad_cam_layer import best_grad_cam as best_grad_cam
from keras_coda.evaluation.layer_randomization import RandomizationResult as RandomizationResult
from keras_coda.evaluation.layer_randomization import randomization as randomization
from keras_coda.evaluation.localization_grids import LocalizationResult as LocalizationResult
from keras_coda.evaluation.localization_grids import localization as localization
from keras_coda.evaluation.pointing import PointingGameResult as PointingGameResult
from keras_coda.evaluation.pointing import pointing_game as pointing_game
from keras_coda.evaluation.quantus import QuantusResult as QuantusResult
from keras_coda.evaluation.quantus import QuantusScores as QuantusScores
from keras_coda.evaluation.quantus import quantus_explainer as quantus_explainer
from keras_coda.evaluation.quantus import quantus_inputs as quantus_inputs
from keras_coda.evaluation.quantus import quantus_metrics as quantus_metrics
from keras_coda.evaluation.quantus import quantus_scores as quantus_scores
from keras_coda.evaluation.removal import PixelRemovalResult as PixelRemovalResult
from keras_coda.evaluation.removal import pixel_removal as pixel_removal
from keras_coda.evaluation.results import Result as Result
from keras_coda.evaluation.several_labels import best_thresholds as best_thresholds
from keras_coda.utils.errors import FewerGridsWarning as FewerGridsWarning
from keras_coda.utils.errors import NotEnoughImagesError as NotEnoughImagesError
