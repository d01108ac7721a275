"""How strong the grid is that down-sampling leaves in contribution maps.

All measures are of ``M``, the mean over images of the absolute contribution map, without a border of 2 pixels.

- Energy at period p (2 or 4): the power of the 2-D Fourier transform of ``M``, summed over the frequencies (u, v) that
  repeat after p pixels along both axes, but not after p / 2 (3 at period 2, 12 at period 4), over the sum of what
  their neighbors have, each time the median. Neighbors differ by 1 to 3 in u, in v, or in both; for u = 0 or v = 0
  only neighbors on that axis count, since the edges of ``M`` put power there. Without a grid it is 1 to 1.5. It is a
  ratio of powers: its square root compares amplitudes.
- Phases p (2 or 4): the means of ``M`` over pixels whose coordinates are equal modulo p; (largest - smallest) / mean.
"""

import numpy as np

BORDER = 2


def grid_measures(mean_map: np.ndarray) -> dict[str, float]:
    """Energies and phases of a mean absolute map ``(32, 32)``, as the module's docstring defines them."""
    inner = np.asarray(mean_map, "float64")[BORDER:-BORDER, BORDER:-BORDER]
    n = len(inner)
    power = np.abs(np.fft.fft2(inner)) ** 2
    measures = {}
    for period in (2, 4):
        multiples = range(0, n, n // period)
        coarser = set(range(0, n, 2 * n // period))
        grid = [(u, v) for u in multiples for v in multiples if not {u, v} <= coarser]
        expected = [np.median([power[near] for near in _neighbors(u, v, n)]) for u, v in grid]
        phases = [inner[i::period, j::period].mean() for i in range(period) for j in range(period)]
        measures[f"energy_{period}"] = float(sum(power[f] for f in grid) / sum(expected))
        measures[f"phases_{period}"] = float((max(phases) - min(phases)) / np.mean(phases))
    return measures


def _neighbors(u, v, n):
    steps = range(-3, 4)
    return [
        ((u + i) % n, (v + j) % n) for i in (steps if u else [0]) for j in (steps if v else [0]) if (i, j) != (0, 0)
    ]
