"""What `CoDANet(downsampling=...)` does to maps, and how it is saved."""

import keras
import numpy as np

from experiments.grid import grid_measures
from keras_coda import CoDANet
from tests.helpers.networks import pixels, small


def test_pooled_layers_leave_less_of_a_grid_than_strided_ones():
    images = pixels(32, (24, 24, 3))
    uneven = {}
    for how in ("strided", "blurred", "pooled"):
        keras.utils.set_random_seed(0)
        model = CoDANet(3, input_shape=(24, 24, 3), filters=(8, 16, 3), strides=(1, 2, 1), downsampling=how)
        uneven[how] = grid_measures(np.abs(model.explain(images).contributions).mean((0, 1)))["phases_2"]
    assert max(uneven["blurred"], uneven["pooled"]) < uneven["strided"] / 2


def test_the_config_names_the_option_only_where_it_is_not_that_of_earlier_versions():
    assert "downsampling" not in small().get_config()
    assert CoDANet.from_config(small().get_config()).downsampling == "strided"
    pooled = small(downsampling=("strided", "pooled", "strided"))
    assert CoDANet.from_config(pooled.get_config()).downsampling == ("strided", "pooled", "strided")
