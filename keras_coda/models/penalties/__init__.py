"""What joins the training loss beside the classes: a function of the maps, with a weight."""

from keras_coda.utils.checks import check_finite, require

NAMES = {"linear_map_regularization": "linear_map", "map_consistency": "inconsistency"}  # of weights, and in logs


def check_penalties(linear_map_regularization, map_consistency) -> dict[str, float]:
    """Return the weights by their names, or raise ``ValueError``: none may be negative, and only one above 0."""
    weights = dict(zip(NAMES, (linear_map_regularization, map_consistency), strict=True))
    for name in NAMES:
        weight = weights[name] = check_finite(name, weights[name])
        require(weight >= 0, f"`{name}` must not be negative", **{name: weight})
    rule = f"Only one of {' and '.join(f'`{name}`' for name in NAMES)} may be above 0"
    require(sum(weight > 0 for weight in weights.values()) < 2, rule, "Train with one after the other", **weights)
    return weights
