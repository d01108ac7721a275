"""All checks of an exported folder in turn: its files, a run without this package, and a comparison with Keras."""

import dataclasses
import os
from collections.abc import Iterator

from keras_coda.explanations.completeness import TOLERANCE
from keras_coda.exporters.lint import lint_saved_model
from keras_coda.exporters.saved_model import compare_saved_model
from keras_coda.exporters.warmup import replay_warmup
from keras_coda.utils.tables import text_table


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        passed: whether it holds.
        detail: the figure, or what is wrong.
    """

    name: str
    passed: bool
    detail: str


def verify_saved_model(folder: str | os.PathLike, model=None) -> list[Check]:
    """Check an exported folder: read its files, run its warm-up in bare TensorFlow, and compare it with Keras.

    Args:
        folder: as for :func:`keras_coda.exporters.lint_saved_model`.
        model: the network that was exported; None to leave the comparison out.

    Returns:
        One :class:`Check` per step. Print them with :func:`checks_table`; all are ``passed`` if the folder may be
        served.
    """
    rows = [_lint_row(folder), *_replay_rows(folder)]
    if model is not None:
        difference, error = _attempt(compare_saved_model, model, folder)
        rows.append(Check("agrees with Keras", not error, error or f"largest difference {difference:.1e}"))
    return rows


def checks_table(checks: list[Check]) -> str:
    """Return the results of :func:`verify_saved_model` as lines of text."""
    return text_table([("ok" if row.passed else "FAIL", row.name, row.detail) for row in checks])


def _lint_row(folder) -> Check:
    findings = lint_saved_model(folder)
    detail = "; ".join(map(str, findings)) or "layout, signatures, dtypes, batch dimensions, XLA, weights, warm-up"
    return Check("lint", not any(finding.is_error for finding in findings), detail)


def _replay_rows(folder) -> Iterator[Check]:
    replay, error = _attempt(replay_warmup, folder)
    if error:
        yield Check("runs in bare TensorFlow", False, error)
        return
    runs = ", ".join(sorted({record.signature for record in replay.records}))
    yield Check("runs in bare TensorFlow", True, f"{len(replay.records)} requests: {runs}")
    residual, relative = replay.largest_residual, replay.largest_relative
    if residual is None or relative is None:
        yield Check("maps sum to logits", False, "no signature has maps")
        return
    passed = relative <= TOLERANCE  # of what is added up: the rounding errors of networks with large logits are large
    detail = f"largest residual {residual:.1e}, {relative:.1e} of what is added up"
    yield Check("maps sum to logits", passed, detail)


def _attempt(function, *arguments):
    """Return the result and "", or None and the error's message."""
    try:
        return function(*arguments), ""
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return None, str(error)
