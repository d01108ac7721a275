"""A quick search over the hyperparameters of a tiny network."""

from keras_coda.tuning import tune
from tests.helpers.quarters import FAST

FIXED = {"temperature": 1.0, "rank_multiplier": 1.0, "learning_rate": 0.03, "linear_map_regularization": 0.0}


def search(data, preset, out, **options):
    return tune(data, preset, out, **{"epochs": 1, "verbose": 0, "oracle": "random", **FIXED, **FAST, **options})
