"""Post-hoc attribution methods, as tf-explain has them.

Here belong methods that estimate what exact maps know. They are compared in `keras_coda.evaluation`.
"""

from keras_coda.posthoc.methods import GradCAM as GradCAM
from keras_coda.posthoc.methods import GradientsInputs as GradientsInputs
from keras_coda.posthoc.methods import IntegratedGradients as IntegratedGradients
from keras_coda.posthoc.methods import OcclusionSensitivity as OcclusionSensitivity
from keras_coda.posthoc.methods import SmoothGrad as SmoothGrad
from keras_coda.posthoc.methods import VanillaGradients as VanillaGradients
from keras_coda.posthoc.methods import get as get
from keras_coda.posthoc.methods import methods as methods
