"""Penalties that training can add to the classification loss, and their names in recipes and on the command line."""

from collections.abc import Mapping, Sequence

from keras_coda.models.penalties.linear_map import LinearMapPenalty
from keras_coda.models.penalties.map_consistency import MapConsistency
from keras_coda.models.penalties.penalty import Penalty
from keras_coda.utils.checks import require

PENALTIES = {
    "linear_map": LinearMapPenalty,
    "map_consistency": MapConsistency,
}

# Up to version 0.1.0 the weight of each penalty was an argument of its own.
_FORMER_ARGUMENTS = {"linear_map_regularization": "linear_map", "map_consistency": "map_consistency"}


def get_penalties(penalties: Mapping[str, float] | Sequence[Penalty]) -> tuple[Penalty, ...]:
    """Return penalties that are given as objects, or as a dict of names and weights.

    Each penalty needs a differentiated pass of its own and decides what the classification loss is computed from, so
    at most one may have a weight above 0.

    Raises:
        ValueError: for an unknown name, something that is not a penalty, a weight out of range, or more than one
            weight above 0.
    """
    if isinstance(penalties, Mapping):
        unknown = sorted(set(penalties) - set(PENALTIES))
        require(not unknown, f"A penalty is one of {sorted(PENALTIES)}", penalties=unknown)
        penalties = [PENALTIES[name](weight) for name, weight in penalties.items()]
    is_list = isinstance(penalties, (list, tuple)) and all(isinstance(penalty, Penalty) for penalty in penalties)
    rule = "`penalties` must be a list of penalties, or a dict of their names and weights"
    require(is_list, rule, "For instance [keras_coda.models.LinearMapPenalty(0.1)]", penalties=penalties)
    rule = "Only one of the penalties may have a weight above 0"
    require(sum(penalty.weight > 0 for penalty in penalties) < 2, rule, "Use one after the other", penalties=penalties)
    return tuple(penalties)


def upgrade_penalties(config: Mapping) -> dict:
    """Return a saved configuration with ``penalties`` in place of the arguments that earlier versions had for them."""
    if not config.keys() & _FORMER_ARGUMENTS.keys():
        return dict(config)
    weights = {name: config[former] for former, name in _FORMER_ARGUMENTS.items() if config.get(former)}
    kept = {name: value for name, value in config.items() if name not in _FORMER_ARGUMENTS}
    return {"penalties": weights, **kept}
