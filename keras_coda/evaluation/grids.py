"""Grids of images of different classes: their arrangement, and the share of a map in each cell.

``G`` grids of ``K`` different classes, with no image used twice, exist if and only if ``Σ_c min(n_c, G) >= G K``, where
``n_c`` is the number of images of class ``c``: a class can be in each of the ``G`` grids at most once.

Arguments of the same name mean the same everywhere: ``counts`` is an int array ``(classes,)``, the number of images of
each class; ``n_grids`` an int, the number of grids; ``num_cells`` an int, the number of images in a grid.
"""

import numpy as np

from keras_coda.utils.checks import check_int, require
from keras_coda.utils.errors import NotEnoughImagesError

# Images along each side of a square grid, or (rows, columns).
Grid = int | tuple[int, int]

# What is chosen if nothing is said: the first that has no more cells than there are classes.
_BY_DEFAULT: tuple[Grid, ...] = (3, 2, (1, 3), (1, 2))


def choose(grid: Grid | None, num_classes: int) -> Grid:
    """Return the grid to use for a number of classes: ``n`` for one of n by n images, else ``(rows, columns)``.

    Args:
        grid: what the caller wishes; None for the largest of 3x3, 2x2, 1x3 and 1x2 that fits.
        num_classes: int.

    Raises:
        ValueError: for what is not a grid, and one with more cells than there are classes.
        NotEnoughImagesError: if ``grid`` is None and there is only one class.
    """
    if grid is None:
        fitting = [each for each in _BY_DEFAULT if num_cells(each) <= num_classes]
        if not fitting:
            raise NotEnoughImagesError(
                f"A grid needs at least 2 different classes. Received: num_classes={num_classes}"
            )
        return fitting[0]
    grid = check(grid)
    rule, fix = f"A grid needs {num_cells(grid)} different classes", "Use a smaller `grid`, or None for the largest"
    require(num_cells(grid) <= num_classes, rule, fix, grid=grid, num_classes=num_classes)
    return grid


def check(grid: Grid) -> Grid:
    """Return a grid as an int if it is square and as a pair of ints if not, or raise ``ValueError``."""
    if not isinstance(grid, (tuple, list)):
        return check_int("grid", grid, minimum=2)
    rule = "`grid` must be an integer, or a pair (rows, columns) with at least two cells"
    require(len(grid) == 2, rule, grid=grid)
    rows, columns = (check_int("grid", side) for side in grid)
    require(rows * columns > 1, rule, grid=grid)
    return rows if rows == columns else (rows, columns)


def shape_of(grid: Grid) -> tuple[int, int]:
    """Return the number of rows and of columns of a grid."""
    return (grid, grid) if isinstance(grid, int) else grid


def num_cells(grid: Grid) -> int:
    """Return the number of images of a grid."""
    rows, columns = shape_of(grid)
    return rows * columns


def describe(grid: Grid) -> str:
    """Return a grid in words: ``"2x2 images (chance 0.250)"``, where chance is the localization of a uniform map."""
    return "{}x{} images (chance {:.3f})".format(*shape_of(grid), 1 / num_cells(grid))


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


def shares_in_own_cell(maps, rows, columns):
    """Return the share of every map that is in the cell of its class.

    Args:
        maps: ``(batch, rows * columns, rows * H, columns * W)``, one map for the class of each cell.
        rows: int.
        columns: int.

    Returns:
        ``(batch, rows * columns)``.
    """
    shares = shares_of_cells(maps, rows, columns)  # (batch, class of the map, cell)
    return np.diagonal(shares, axis1=1, axis2=2)
