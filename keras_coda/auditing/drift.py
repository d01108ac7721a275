"""How far the images of one audit, and what a network makes of them, are from those of another one."""

import dataclasses

import numpy as np

from keras_coda.auditing.summary import STATISTICS, Summary
from keras_coda.utils.checks import require

BINS = 10
LARGE = 0.25  # a population stability index above it is usually called a large shift, below 0.1 none
_FLOOR = 1e-4  # the smallest share: an empty bin would make the index infinite


@dataclasses.dataclass(frozen=True)
class Drift:
    """The difference between two distributions.

    Attributes:
        name: what is compared.
        psi: population stability index, ``Σ (p - q) ln(p / q)`` over bins; deciles of the reference, or classes.
        ks: Kolmogorov-Smirnov statistic, the largest distance of the cumulative shares; NaN for classes.
        p_value: of that statistic, if both were drawn from one distribution; NaN for classes.
        means: of the reference and of the audit; NaN for classes.
    """

    name: str
    psi: float
    ks: float = float("nan")
    p_value: float = float("nan")
    means: tuple[float, float] = (float("nan"), float("nan"))


def drift(reference: Summary, audit: Summary) -> list[Drift]:
    """Compare the predicted classes, and the distribution of each statistic of the maps.

    Raises:
        ValueError: for audits of networks with other classes, and without any readable image.
    """
    from scipy.stats import ks_2samp  # scikit-learn brings SciPy

    rule = "An audit is compared with one of a network with the same classes"
    names = reference.class_names
    require(names == audit.class_names, rule, reference=names[:5], audit=audit.class_names[:5])
    counts = len(reference.images), len(audit.images)
    require(min(counts) > 0, "Both audits must have images that could be read", images=counts)
    found = [
        Drift(
            "predicted class",
            stability(*(np.bincount(each.predicted, minlength=len(names)) for each in (reference, audit))),
        )
    ]
    for key, name in STATISTICS.items():
        before, now = reference.statistics[key].astype("float64"), audit.statistics[key].astype("float64")
        edges = np.unique(np.quantile(before, np.linspace(0, 1, BINS + 1)[1:-1]))
        shares = (
            np.bincount(np.searchsorted(edges, each, "right"), minlength=len(edges) + 1) for each in (before, now)
        )
        test = ks_2samp(before, now)
        means = float(before.mean()), float(now.mean())
        found.append(Drift(name, stability(*shares), float(test.statistic), float(test.pvalue), means))
    return found


def stability(before: np.ndarray, now: np.ndarray) -> float:
    """Return the population stability index of counts in the same bins.

    Example:
        >>> round(stability(np.array([50, 50]), np.array([90, 10])), 3)
        0.879
    """
    p, q = (np.maximum(counts / counts.sum(), _FLOOR) for counts in (now, before))
    return float(((p - q) * np.log(p / q)).sum())
