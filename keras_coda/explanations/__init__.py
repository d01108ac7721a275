"""Exact contribution maps of any model that ends in dynamic-linear layers.

Here belongs code that explains arrays, files and videos with a model. The quality of maps is measured in
`keras_coda.evaluation`.
"""

from keras_coda.explanations.calibration import Calibration as Calibration
from keras_coda.explanations.contrast import Contrast as Contrast
from keras_coda.explanations.decomposition import Decomposition as Decomposition
from keras_coda.explanations.explain import explain as explain
from keras_coda.explanations.explain import explain_batches as explain_batches
from keras_coda.explanations.explain import explain_without as explain_without
from keras_coda.explanations.explainers import Explainer as Explainer
from keras_coda.explanations.explainers import attributions as attributions
from keras_coda.explanations.explainers import name_of as name_of
from keras_coda.explanations.explanation import Explanation as Explanation
from keras_coda.explanations.files import explain_files as explain_files
from keras_coda.explanations.files import explain_files_on_server as explain_files_on_server
from keras_coda.explanations.predictions import predict_files as predict_files
from keras_coda.explanations.video import ExplainedVideo as ExplainedVideo
from keras_coda.explanations.video import explain_video as explain_video
from keras_coda.utils.errors import ImagesReducedWarning as ImagesReducedWarning
from keras_coda.utils.errors import NonFiniteNetworkError as NonFiniteNetworkError
from keras_coda.utils.errors import NotEnoughMemoryError as NotEnoughMemoryError
