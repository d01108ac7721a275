"""Networks: classifiers, losses, penalties, presets and checkpoints of other formats.

Keras models, and the losses and penalties they are trained with, belong here. Layers belong in `keras_coda.layers`, and
the training of a preset on given data in `keras_coda.training`.
"""

from keras_coda.models.bcos_checkpoints import load_bcos_checkpoint as load_bcos_checkpoint
from keras_coda.models.bcos_densenet import BcosDenseNet as BcosDenseNet
from keras_coda.models.bcos_resnet import BcosResNet as BcosResNet
from keras_coda.models.classifier import ExplainableClassifier as ExplainableClassifier
from keras_coda.models.coda_net import CoDANet as CoDANet
from keras_coda.models.conventions import Conventions as Conventions
from keras_coda.models.hybrid import hybrid as hybrid
from keras_coda.models.losses import ClassAccuracy as ClassAccuracy
from keras_coda.models.losses import OneVsAllCrossentropy as OneVsAllCrossentropy
from keras_coda.models.multi_label import LabelAccuracy as LabelAccuracy
from keras_coda.models.multi_label import multi_label_metrics as multi_label_metrics
from keras_coda.models.penalties.linear_map import LinearMapPenalty as LinearMapPenalty
from keras_coda.models.penalties.map_consistency import MapConsistency as MapConsistency
from keras_coda.models.penalties.penalty import Penalty as Penalty
from keras_coda.models.presets import preset_architecture as preset_architecture
from keras_coda.models.presets import preset_description as preset_description
from keras_coda.models.presets import preset_folder as preset_folder
from keras_coda.models.presets import preset_names as preset_names
from keras_coda.models.presets import preset_parameters as preset_parameters
from keras_coda.models.torch_checkpoints import load_coda_checkpoint as load_coda_checkpoint
from keras_coda.utils.errors import InvalidLabelsError as InvalidLabelsError
from keras_coda.utils.errors import NewLayersWarning as NewLayersWarning
from keras_coda.utils.errors import UnreadableFileError as UnreadableFileError
from keras_coda.utils.errors import WeightsDoNotFitError as WeightsDoNotFitError
