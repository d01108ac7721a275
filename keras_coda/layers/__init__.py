"""Layers that are linear in their input once their dynamic weights are frozen, written with `keras.ops` alone.

Here belong the layers of networks. Whole networks belong to `keras_coda.models`.
"""

from keras_coda.layers.bcos import BcosConv2D as BcosConv2D
from keras_coda.layers.bcos import LinearConv2D as LinearConv2D
from keras_coda.layers.dau import DAUConv2D as DAUConv2D
from keras_coda.layers.dau import DAUDense as DAUDense
from keras_coda.layers.dynamic_linear import Chain as Chain
from keras_coda.layers.dynamic_linear import DynamicLinear as DynamicLinear
from keras_coda.layers.dynamic_linear import ResidualSum as ResidualSum
from keras_coda.layers.encoding import AddInverse as AddInverse
from keras_coda.layers.encoding import FeatureEncoding as FeatureEncoding
from keras_coda.layers.encoding import PixelDropout as PixelDropout
from keras_coda.layers.frozen import FrozenModel as FrozenModel
from keras_coda.layers.head import GlobalAveragePooling2D as GlobalAveragePooling2D
from keras_coda.layers.head import GlobalSumPooling2D as GlobalSumPooling2D
from keras_coda.layers.head import LogitScaling as LogitScaling
from keras_coda.layers.linear_graph import LinearGraph as LinearGraph
from keras_coda.layers.normalization import UncenteredBatchNormalization as UncenteredBatchNormalization
from keras_coda.layers.smoothing import AveragePooling2D as AveragePooling2D
from keras_coda.layers.smoothing import Blur2D as Blur2D
