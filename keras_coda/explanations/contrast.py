"""Why one class and not another: the difference of two contribution maps, exact as the maps themselves."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.utils.tables import counted, markdown_table, to_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 10  # rows of the table of an explanation or contrast in a notebook


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Contrast:
    """What every pixel adds to the logit of one class more than to that of another; all arrays are NumPy.

    The bias is the same for both classes, so ``contributions[b].sum()`` is ``difference[b]``, up to ``residual[b]``.
    Positive contributions are reasons for the first class rather than the second.

    Attributes:
        images: ``(B, H, W, c)``, the images that were explained, pixels in [0, 255].
        classes: ``(B, 2)`` int32, the class that is explained and the one that it is compared with.
        logits: ``(B, 2)``, their logits.
        contributions: ``(B, H, W)``, the map of the first class less that of the second, in units of the logit.
        class_names: None, or one name per class.
        labels: the true classes ``(B,)``, or None if they are unknown.
        wrt: name of the layer whose output the contributions refer to; None for the pixels.
        offset: None, or ``(B,)``: the ``offsets`` of the first class less those of the second.
    """

    images: np.ndarray
    classes: np.ndarray
    logits: np.ndarray
    contributions: np.ndarray
    class_names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    wrt: str | None = None
    offset: np.ndarray | None = None

    @property
    def difference(self) -> np.ndarray:
        """Logit of the first class less that of the second, ``(B,)``."""
        return self.logits[:, 0] - self.logits[:, 1]

    @property
    def residual(self) -> np.ndarray:
        """``|Σ contributions + offset - difference|``, the completeness error (float rounding), ``(B,)``."""
        total = self.contributions.sum(axis=(1, 2), dtype="float64") + (0 if self.offset is None else self.offset)
        return np.abs(total - self.logits[:, 0].astype("float64") + self.logits[:, 1]).astype("float32")

    @property
    def names(self) -> list[tuple[str, str]]:
        """Names of both classes, or their indices as text, for each image."""
        return [(name_of_class(a, self.class_names), name_of_class(b, self.class_names)) for a, b in self.classes]

    def plot(self, labels: Sequence | np.ndarray | None = None, **kwargs: Any) -> "Figure":
        """Draw each image beside its map: red for the first class, blue for the second.

        Args:
            labels: the true class of each image, index or name; None for the contrast's own ``labels``.
            **kwargs: see :func:`keras_coda.visualization.plot_contributions`.

        Returns:
            A ``matplotlib.figure.Figure``.
        """
        from keras_coda.visualization import maps

        known = self.class_names or [name_of_class(index) for index in range(int(self.classes.max()) + 1)]
        return maps.plot_contributions(
            self.images,
            self.contributions[:, None],
            len(known) + np.arange(len(self.images))[:, None],
            self.difference[:, None],
            self.residual[:, None],
            class_names=[*known, *(f"{this} − {that}" for this, that in self.names)],
            labels=self.labels if labels is None else labels,
            quantity="difference",
            wrt=self.wrt,
            **kwargs,
        )

    def table(self) -> str:
        """Return the classes, their logits, the difference and the residual of every image as a Markdown table."""
        head = ("image", "class", "not", "logit", "logit of the other", "difference", "residual")
        rows = [
            (index, *self.names[index], *(f"{value:.3f}" for value in (*self.logits[index], self.difference[index])),
             f"{self.residual[index]:.1e}") for index in range(min(SHOWN, len(self.images)))
        ]  # fmt: skip
        return markdown_table(head, rows, right=(0, 3, 4, 5, 6))

    def __repr__(self) -> str:
        pairs = list(dict.fromkeys(f"{this} not {that}" for this, that in self.names))
        shown = "; ".join(pairs[:3]) + "; ..." * (len(pairs) > 3)
        residual = self.residual.max(initial=0)
        return f"<Contrast: {counted(len(self.images), 'image')}, {shown}, largest residual {residual:.1e}>"

    def _repr_html_(self) -> str:
        return to_html(f"{self.table()}\n\n{omitted(len(self.images))}")


def name_of_class(index: int, class_names: Sequence[str] | None = None) -> str:
    """Return the name of a class, or its index as text if there are no names."""
    return class_names[index] if class_names else f"class {index}"


def omitted(number: int) -> str:
    """Return the sentence that tells how many of a number of images a table leaves out; empty if none."""
    return f"{counted(number - SHOWN, 'more image')}." if number > SHOWN else ""
