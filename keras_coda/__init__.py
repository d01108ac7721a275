"""Image classifiers that explain themselves exactly: Convolutional Dynamic Alignment Networks for Keras 3."""

from keras_coda import data as data
from keras_coda import evaluation as evaluation
from keras_coda import explanations as explanations
from keras_coda import explorer as explorer
from keras_coda import exporters as exporters
from keras_coda import layers as layers
from keras_coda import models as models
from keras_coda import posthoc as posthoc
from keras_coda import serving as serving
from keras_coda import training as training
from keras_coda import tuning as tuning
from keras_coda import visualization as visualization
from keras_coda.explanations import Explanation as Explanation
from keras_coda.explanations import explain as explain
from keras_coda.explanations import explain_batches as explain_batches
from keras_coda.layers import AddInverse as AddInverse
from keras_coda.layers import Chain as Chain
from keras_coda.layers import DAUConv2D as DAUConv2D
from keras_coda.layers import DAUDense as DAUDense
from keras_coda.layers import DynamicLinear as DynamicLinear
from keras_coda.layers import GlobalSumPooling2D as GlobalSumPooling2D
from keras_coda.layers import LogitScaling as LogitScaling
from keras_coda.layers import ResidualSum as ResidualSum
from keras_coda.models import CoDANet as CoDANet
from keras_coda.models import OneVsAllCrossentropy as OneVsAllCrossentropy
from keras_coda.version import __version__ as __version__
