"""Image classifiers that explain themselves exactly: Convolutional Dynamic Alignment Networks for Keras 3."""

from keras_coda import checkpoints, data, presets, visualization
from keras_coda.dynamic_linear import Chain, DynamicLinear, ResidualSum
from keras_coda.explanations import Explanation, explain
from keras_coda.layers import AddInverse, DAUConv2D, DAUDense, GlobalSumPooling2D, LogitScaling
from keras_coda.losses import OneVsAllCrossentropy
from keras_coda.model import CoDANet

__version__ = "0.1.0"

__all__ = [
    "AddInverse",
    "Chain",
    "CoDANet",
    "DAUConv2D",
    "DAUDense",
    "DynamicLinear",
    "Explanation",
    "GlobalSumPooling2D",
    "LogitScaling",
    "OneVsAllCrossentropy",
    "ResidualSum",
    "checkpoints",
    "data",
    "explain",
    "presets",
    "visualization",
]
