"""Grids of images of different classes: which image goes where, and what falls in whose cell.

``G`` grids of ``K`` different classes, no image used twice, exist if and only if ``Σ_c min(n_c, G) >= G K``, where
``n_c`` is the number of images of class ``c``: no class can be in more than ``G`` grids.
"""

import numpy as np


def num_grids(counts, n_grids, num_cells):
    """Return the largest possible number of grids up to ``n_grids``."""
    grids = np.arange(n_grids + 1)
    return int(grids[np.minimum(counts[:, None], grids).sum(axis=0) >= num_cells * grids].max())


def images_per_class(counts, n_grids, num_cells):
    """Return the smallest number of images per class that fills so many grids; more images only lower it."""
    used = np.minimum(counts[:, None], np.arange(n_grids + 1)).sum(axis=0)
    return int(np.argmax(used >= num_cells * n_grids))


def arrange(counts, n_grids, num_cells, rng):
    """Return ``(classes, ranks)``, both ``(n_grids, num_cells)`` int32: the class and the image of it in each cell.

    The use of the classes is as equal as possible; rank 0 is the most confident image of a class.
    """
    level = images_per_class(counts, n_grids, num_cells)
    quotas = np.minimum(counts, level - 1)
    more = rng.permutation(np.flatnonzero(counts >= level))[: n_grids * num_cells - quotas.sum()]
    quotas[more] += 1
    left, classes, ranks = quotas.copy(), [], []
    for _ in range(n_grids):
        # Those with most images left, ties at random: then the last grid, too, finds enough different classes.
        shuffled = rng.permutation(len(counts))
        chosen = rng.permutation(shuffled[np.argsort(-left[shuffled], kind="stable")][:num_cells])
        classes.append(chosen)
        ranks.append((quotas - left)[chosen])
        left[chosen] -= 1
    return np.array(classes, "int32"), np.array(ranks, "int32")


def assemble(cells, rows, columns):
    """Put images ``(batch, rows * columns, H, W, c)`` together: ``(batch, rows * H, columns * W, c)``."""
    batch, _, height, width, channels = cells.shape
    cells = cells.reshape(batch, rows, columns, height, width, channels).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(batch, rows * height, columns * width, channels)


def shares_of_cells(maps, rows, columns):
    """Return what share of the positive contributions is in each cell, row by row; zeros if there are none.

    Args:
        maps: ``(..., rows * H, columns * W)``.
        rows: int.
        columns: int.

    Returns:
        ``(..., rows * columns)``.
    """
    *batch, height, width = maps.shape
    cells = np.maximum(maps, 0).reshape(*batch, rows, height // rows, columns, width // columns).sum(axis=(-3, -1))
    cells = cells.reshape(*batch, rows * columns)
    total = cells.sum(axis=-1, keepdims=True)
    return np.divide(cells, total, out=np.zeros_like(cells), where=total > 0)


def shares_in_own_cell(maps, grid):
    """Return the score of every map, ``(batch, grid²)``, of maps ``(batch, grid², grid * H, grid * W)``."""
    shares = shares_of_cells(maps, grid, grid)  # (batch, class of the map, cell)
    return np.diagonal(shares, axis1=1, axis2=2)
