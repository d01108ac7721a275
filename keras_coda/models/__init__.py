"""Networks: architecture, loss, penalties, presets and checkpoints of other formats.

Here belongs what is a `keras.Model`, and what it is trained with. Layers belong to `keras_coda.layers`.
"""

from keras_coda.models import presets as presets
from keras_coda.models.classifier import ExplainableClassifier as ExplainableClassifier
from keras_coda.models.coda_net import CoDANet as CoDANet
from keras_coda.models.losses import OneVsAllCrossentropy as OneVsAllCrossentropy
from keras_coda.models.torch_checkpoints import load_coda_checkpoint as load_coda_checkpoint
