"""Grids of images of different classes: their arrangement, and the share of a map in each cell.

``G`` grids of ``K`` different classes, with no image used twice, exist if and only if ``Σ_c min(n_c, G) >= G K``, where
``n_c`` is the number of images of class ``c``: a class can be in each of the ``G`` grids at most once.

Arguments of the same name mean the same everywhere: ``counts`` is an int array ``(classes,)``, the number of images of
each class; ``n_grids`` an int, the number of grids; ``num_cells`` an int, the number of images in a grid.
"""

import numpy as np


def num_grids(counts, n_grids, num_cells):
    """Return the largest possible number of grids, at most ``n_grids``."""
    grids = np.arange(n_grids + 1)
    return int(grids[np.minimum(counts[:, None], grids).sum(axis=0) >= num_cells * grids].max())


def images_per_class(counts, n_grids, num_cells):
    """Return the smallest number of images per class that is enough for the grids; with more images it is smaller."""
    used = np.minimum(counts[:, None], np.arange(n_grids + 1)).sum(axis=0)
    return int(np.argmax(used >= num_cells * n_grids))


def arrange(counts, n_grids, num_cells, rng):
    """Choose the class and the image of every cell.

    Args:
        counts: see above.
        n_grids: at most what :func:`num_grids` returns.
        num_cells: see above.
        rng: ``numpy.random.Generator``.

    Returns:
        ``(classes, ranks)``, both ``(n_grids, num_cells)`` int32. Rank 0 is the most confident image of a class, and so
        on. The classes are used as equally often as possible.
    """
    level = images_per_class(counts, n_grids, num_cells)
    quotas = np.minimum(counts, level - 1)
    more = rng.permutation(np.flatnonzero(counts >= level))[: n_grids * num_cells - quotas.sum()]
    quotas[more] += 1
    left, classes, ranks = quotas.copy(), [], []
    for _ in range(n_grids):
        # Take the classes with most images left, ties at random. Then there are enough classes for the last grid, too.
        shuffled = rng.permutation(len(counts))
        chosen = rng.permutation(shuffled[np.argsort(-left[shuffled], kind="stable")][:num_cells])
        classes.append(chosen)
        ranks.append((quotas - left)[chosen])
        left[chosen] -= 1
    return np.array(classes, "int32"), np.array(ranks, "int32")


def assemble(cells, rows, columns):
    """Join images ``(batch, rows * columns, H, W, c)`` to grids ``(batch, rows * H, columns * W, c)``, row by row."""
    batch, _, height, width, channels = cells.shape
    cells = cells.reshape(batch, rows, columns, height, width, channels).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(batch, rows * height, columns * width, channels)


def shares_of_cells(maps, rows, columns):
    """Return the share of the positive contributions in each cell, row by row; zeros if there are none.

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
    """Return the share of every map that is in the cell of its class.

    Args:
        maps: ``(batch, grid², grid * H, grid * W)``, one map for the class of each cell.
        grid: int.

    Returns:
        ``(batch, grid²)``.
    """
    shares = shares_of_cells(maps, grid, grid)  # (batch, class of the map, cell)
    return np.diagonal(shares, axis1=1, axis2=2)
