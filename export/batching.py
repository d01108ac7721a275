"""Emulate how TF Serving batches requests: join them, pad the batch, run it once, split the answer."""

from collections.abc import Callable, Sequence

import numpy as np


def join(requests: Sequence[dict[str, np.ndarray]], allowed_sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Return one batch of all rows, padded with copies of the first to the next allowed size.

    Args:
        requests: arrays by input name, rows first.
        allowed_sizes: in growing order.

    Raises:
        ValueError: if there are more rows than the largest size.
    """
    joined = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
    rows = len(next(iter(joined.values())))
    fitting = [size for size in allowed_sizes if size >= rows]
    if not fitting:
        raise ValueError(f"A batch must have at most {allowed_sizes[-1]} rows. Received: {rows} rows")
    return {name: np.concatenate([rows_, *[rows_[:1]] * (fitting[0] - rows)]) for name, rows_ in joined.items()}


def split(outputs: dict[str, np.ndarray], sizes: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Return the rows of every request; those of the padding are dropped."""
    ends = np.cumsum(sizes)
    return [
        {name: rows[end - size : end] for name, rows in outputs.items()} for size, end in zip(sizes, ends, strict=True)
    ]


def largest_difference(
    run: Callable[[dict], dict], requests: Sequence[dict[str, np.ndarray]], allowed_sizes: Sequence[int]
) -> float:
    """Return the largest absolute difference between answers from a joined batch and from requests on their own.

    Args:
        run: a signature: arrays by name to arrays by name.
        requests: as for :func:`join`.
        allowed_sizes: as for :func:`join`.

    Raises:
        ValueError: if classes, names or shapes differ.
    """
    sizes = [len(next(iter(request.values()))) for request in requests]
    answers = split(run(join(requests, allowed_sizes)), sizes)
    difference = 0.0
    for request, answer in zip(requests, answers, strict=True):
        for name, expected in run(request).items():
            if answer[name].dtype.kind == "f" and answer[name].shape == expected.shape:
                difference = max(difference, float(np.abs(answer[name] - expected).max()))
            elif not np.array_equal(answer[name], expected):
                raise ValueError(f"A batch must give the same '{name}' as its requests alone. Received: others")
    return difference
