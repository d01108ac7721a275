"""What joins the training loss beside the classes: a function of the maps, with a weight."""

from keras_coda.consistency import check_consistency
from keras_coda.regularization import check_regularization
from keras_coda.validation import require

NAMES = ("linear_map", "inconsistency")  # in logs


def check_penalties(linear_map_regularization, map_consistency) -> dict[str, float]:
    """Return the weight of each penalty in ``NAMES``, of which at most one is above 0, or raise ``ValueError``."""
    weights = check_regularization(linear_map_regularization), check_consistency(map_consistency)
    require(
        0 in weights,
        "Only one of `linear_map_regularization` and `map_consistency` may be above 0",
        "Train with one after the other",
        linear_map_regularization=weights[0],
        map_consistency=weights[1],
    )
    return dict(zip(NAMES, weights, strict=True))
