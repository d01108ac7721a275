"""Resumable training by a recipe, learning rate schedules and callbacks.

This room is for code that runs while one network learns. Searches over several trainings belong to
`keras_coda.tuning`.
"""

from keras_coda.models.distribution import distributed as distributed
from keras_coda.training.build import default_preset as default_preset
from keras_coda.training.build import image_size as image_size
from keras_coda.training.build import network as network
from keras_coda.training.build import preset_config as preset_config
from keras_coda.training.callbacks import ContributionMaps as ContributionMaps
from keras_coda.training.callbacks import Localization as Localization
from keras_coda.training.callbacks import TimeEstimate as TimeEstimate
from keras_coda.training.callbacks import ValidateAverages as ValidateAverages
from keras_coda.training.checkpointing import ARGUMENTS as ARGUMENTS
from keras_coda.training.checkpointing import BACKUPS as BACKUPS
from keras_coda.training.checkpointing import LOG as LOG
from keras_coda.training.checkpointing import MAPS as MAPS
from keras_coda.training.checkpointing import MODEL as MODEL
from keras_coda.training.checkpointing import TENSORBOARD as TENSORBOARD
from keras_coda.training.checkpointing import epochs_done as epochs_done
from keras_coda.training.checkpointing import is_finished as is_finished
from keras_coda.training.features import cached_features as cached_features
from keras_coda.training.features import feature_data as feature_data
from keras_coda.training.features import split_at_features as split_at_features
from keras_coda.training.recipes import Recipe as Recipe
from keras_coda.training.recipes import recipe as recipe
from keras_coda.training.schedules import cosine_schedule as cosine_schedule
from keras_coda.training.schedules import step_schedule as step_schedule
from keras_coda.training.train import train as train
from keras_coda.utils.errors import TrainingDivergedError as TrainingDivergedError
