"""Image classifiers that explain themselves exactly: Convolutional Dynamic Alignment Networks for Keras 3."""

import sys
from pathlib import Path

__version__ = "0.1.0"

# The command imports what it needs once its arguments are right: `keras-coda --help` shall not wait for TensorFlow.
# Everybody else gets the public names, and Keras the classes it must know to load a model.
_PROGRAM = Path((getattr(sys, "argv", None) or [""])[0]).stem
if _PROGRAM != "keras-coda" and sys.orig_argv[1:3] != ["-m", __name__]:
    from keras_coda import callbacks, checkpoints, data, evaluation, posthoc, presets, serving, visualization
    from keras_coda.dynamic_linear import Chain, DynamicLinear, ResidualSum
    from keras_coda.explanations import Explanation, explain, explain_batches
    from keras_coda.layers import AddInverse, DAUConv2D, DAUDense, GlobalSumPooling2D, LogitScaling
    from keras_coda.losses import OneVsAllCrossentropy
    from keras_coda.model import CoDANet

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
    "callbacks",
    "checkpoints",
    "data",
    "evaluation",
    "explain",
    "explain_batches",
    "posthoc",
    "presets",
    "serving",
    "visualization",
]
