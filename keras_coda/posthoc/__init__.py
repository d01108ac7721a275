"""Post-hoc attribution methods, as tf-explain has them, beside the exact contribution maps."""

from keras_coda.posthoc.comparison import Comparison, compare
from keras_coda.posthoc.explainers import (
    GradCAM,
    GradientsInputs,
    IntegratedGradients,
    OcclusionSensitivity,
    SmoothGrad,
    VanillaGradients,
    get,
    methods,
)

__all__ = [
    "Comparison",
    "GradCAM",
    "GradientsInputs",
    "IntegratedGradients",
    "OcclusionSensitivity",
    "SmoothGrad",
    "VanillaGradients",
    "compare",
    "get",
    "methods",
]
