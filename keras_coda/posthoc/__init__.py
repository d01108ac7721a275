"""Post-hoc attribution methods: tf-explain's and RISE, as explainers of a batch of images.

Here belong methods that approximate what contribution maps give exactly. `keras_coda.evaluation` compares them.
"""

from keras_coda.posthoc.methods import GradCAM as GradCAM
from keras_coda.posthoc.methods import GradientsInputs as GradientsInputs
from keras_coda.posthoc.methods import IntegratedGradients as IntegratedGradients
from keras_coda.posthoc.methods import SmoothGrad as SmoothGrad
from keras_coda.posthoc.methods import VanillaGradients as VanillaGradients
from keras_coda.posthoc.methods import get as get
from keras_coda.posthoc.methods import methods as methods
from keras_coda.posthoc.perturbations import RISE as RISE
from keras_coda.posthoc.perturbations import OcclusionSensitivity as OcclusionSensitivity
