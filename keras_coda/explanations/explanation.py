"""The result of an explanation: predictions and exact contribution maps, as NumPy arrays. No Keras is needed here."""

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.explanations.contrast import SHOWN, Contrast, name_of_class, omitted
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import check_given_classes, require
from keras_coda.utils.class_names import replace_names
from keras_coda.utils.errors import UnreadableFileError
from keras_coda.utils.reading import read_npz
from keras_coda.utils.tables import counted, markdown_table, to_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """Predictions for a batch of images and exact contribution maps for them; all arrays are NumPy, float32.

    ``contributions[b, k].sum() + bias`` is the logit of class ``classes[b, k]``, up to ``residual[b, k]``. If inner
    layers of the network add constants, there are ``offsets``, too, which then belong to the sum.

    Attributes:
        images: ``(B, H, W, c)``, the images that were explained, pixels in [0, 255].
        logits: ``(B, C)``.
        probabilities: ``(B, C)``, sigmoids of the logits. Classes are not exclusive: they need not sum to one.
        classes: ``(B, K)`` int32, the classes that were explained.
        contributions: ``(B, K, H, W)``, in units of the logit; H and W are those of the layer ``wrt``, if given.
        residual: ``(B, K)``, ``|Σ contributions + bias + offsets - logit|``, the completeness error (float rounding).
        bias: constant that the network adds to the contributions of each class.
        offsets: None, or ``(B, K)``: what constants of inner layers add to the logit of the class, by the weights that
            follow them. They belong to no pixel.
        linear_map: None, or ``(B, K, H, W, 2c)``: the weights ``W_{0→L}(x)`` of the encoded image ``[x, 1-x]``
            (if ``wrt`` names an inner layer, the weights of its output).
        wrt: name of the layer whose output the contributions refer to, from which on they are exact; None: the pixels.
        class_names: None, or one name per class.
        labels: the true classes ``(B,)``, or None if they are unknown.
        names: names of the files that were explained, one per image, or None if there are none.
    """

    images: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray
    contributions: np.ndarray
    residual: np.ndarray
    bias: float
    linear_map: np.ndarray | None = None
    wrt: str | None = None
    class_names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    offsets: np.ndarray | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        images = f"{counted(len(self), 'image')} of {'x'.join(map(str, self.images.shape[1:]))}"
        classes = f"{self.classes.shape[1]} of {counted(self.logits.shape[1], 'class', 'es')} each"
        wrt = "" if self.wrt is None else f", by the output of {self.wrt!r}"
        return f"<Explanation: {images}, {classes}{wrt}, largest residual {self.residual.max(initial=0):.1e}>"

    def table(self) -> str:
        """Return class, logit, probability and residual of the first images and classes as a Markdown table."""
        rows = []
        for index in range(min(SHOWN, len(self))):
            for k, label in enumerate(self.classes[index, :SHOWN]):
                numbers = f"{self.logits[index, label]:.3f}", f"{self.probabilities[index, label]:.1%}"
                name = name_of_class(label, self.class_names)
                rows.append(
                    (self.names[index] if self.names else index, name, *numbers, f"{self.residual[index, k]:.1e}")
                )
        return markdown_table(("image", "class", "logit", "probability", "residual"), rows, right=(0, 2, 3, 4))

    def _repr_html_(self) -> str:
        return to_html(f"{repr(self)[1:-1]}\n\n{self.table()}\n\n{omitted(len(self))}")

    def __getitem__(self, index) -> "Explanation":
        """Return the explanation of one image (an int; the batch axis stays) or of several (a slice)."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"This explanation has {len(self)} images. Received: index={index}")
            index = slice(index, index + 1 or None)
        arrays = {name: value[index] for name, value in self._arrays().items()}
        return dataclasses.replace(self, **arrays, names=self.names and self.names[index])

    @property
    def explained_logits(self) -> np.ndarray:
        """Logits of the classes that were explained, ``(B, K)``."""
        return np.take_along_axis(self.logits, self.classes, axis=1)

    def enlarged(self) -> "Explanation":
        """Return the explanation with maps as large as the images, for view and for comparisons; sums stay the same.

        The contribution of a location of an inner layer is divided evenly among the pixels that it covers. That these
        are the pixels it comes from is not said: maps are exact for the locations of the layer ``wrt``.
        """
        size = self.images.shape[1:3]
        if self.contributions.shape[2:] == size:
            return self
        rows, columns = (_cover(*pair) for pair in zip(size, self.contributions.shape[2:], strict=True))
        maps = np.einsum("Hh,bkhw,Ww->bkHW", rows, self.contributions, columns, optimize=True)
        return dataclasses.replace(self, contributions=maps.astype("float32"))

    def contrast(self, this=None, that=None) -> Contrast:
        """Explain why one class and not another: subtract their maps. The result is as exact as the maps.

        Args:
            this: the class to explain: an index, a name, or one of them for each image; None for the first class that
                was explained.
            that: the class that it is compared with; None for the second.

        Returns:
            A :class:`~keras_coda.explanations.Contrast`, whose maps sum to the difference of the logits.

        Raises:
            ValueError: if an image has no map of one of the classes, or both are the same class.

        Example:
            >>> data = keras_coda.data.load("digits")
            >>> model = keras_coda.CoDANet.from_preset("coda_digits")
            >>> contrast = model.explain(next(iter(data.validation))[0][:4], top_k=2).contrast()
            >>> bool((contrast.residual < 1e-4).all())
            True
        """
        chosen = [
            self._position(classes, name, k) for k, (name, classes) in enumerate({"this": this, "that": that}.items())
        ]
        places = np.stack(chosen, axis=1)  # (B, 2)
        classes = np.take_along_axis(self.classes, places, axis=1)
        rule = "A class is compared with another one"
        require((classes[:, 0] != classes[:, 1]).all(), rule, this=this, that=that)
        maps = self.contributions[np.arange(len(self))[:, None], places]  # (B, 2, H, W)
        return Contrast(
            images=self.images,
            classes=classes,
            logits=np.take_along_axis(self.logits, classes, axis=1),
            contributions=maps[:, 0] - maps[:, 1],
            class_names=self.class_names,
            labels=self.labels,
            wrt=self.wrt,
            offset=None if self.offsets is None else self._offset(places),
        )

    def _offset(self, places):
        pairs = np.take_along_axis(self.offsets, places, axis=1)
        return pairs[:, 0] - pairs[:, 1]

    def _position(self, classes, argument, default):
        """Return where the map of a class lies among those of each image, ``(B,)``."""
        fix = "Explain both: `model.explain(images, top_k=2)`, or `classes=[[this, that], ...]`"
        if classes is None:
            rule = "A contrast needs the maps of two classes"
            require(default < self.classes.shape[1], rule, fix, classes_of_each_image=self.classes.shape[1])
            return np.full(len(self), default)
        wanted = check_given_classes(
            replace_names(classes, self.class_names, self.logits.shape[1]), len(self), self.logits.shape[1]
        )
        rule = f"`{argument}` must be one class, or one for each image"
        require(wanted.shape[1] == 1, rule, shape=wanted.shape)
        is_it = self.classes == wanted
        missing = np.flatnonzero(~is_it.any(axis=1))
        rule = "Both classes of a contrast must have been explained"
        require(not missing.size, rule, fix, **{argument: classes, "images_without_its_map": missing[:5].tolist()})
        return is_it.argmax(axis=1)

    def plot(self, labels: Sequence | np.ndarray | None = None, **kwargs: Any) -> "Figure":
        """Draw each image beside its maps, with the logit, probability and residual of each explained class.

        Args:
            labels: the true class of each image, index or name; None for the explanation's own ``labels``.
            **kwargs: see :func:`keras_coda.visualization.plot_contributions`.

        Returns:
            A ``matplotlib.figure.Figure``.
        """
        from keras_coda.visualization import maps

        return maps.plot_contributions(
            self.images,
            self.contributions,
            self.classes,
            self.explained_logits,
            self.residual,
            probabilities=np.take_along_axis(self.probabilities, self.classes, axis=1),
            class_names=self.class_names,
            labels=self.labels if labels is None else labels,
            wrt=self.wrt,
            **{"names": self.names, **kwargs},
        )

    def plot_linear_map(self, labels: Sequence | np.ndarray | None = None, **kwargs: Any) -> "Figure":
        """Draw each image beside the linear maps of its classes in color, as :meth:`to_rgba` renders them.

        Args:
            labels: as for :meth:`plot`.
            **kwargs: see :func:`keras_coda.visualization.plot_linear_map`.

        Returns:
            A ``matplotlib.figure.Figure``.

        Raises:
            ValueError: as :meth:`to_rgba`.
        """
        from keras_coda.visualization import maps

        return maps.plot_linear_map(
            self.images,
            self._colored_linear_map(),
            self.classes,
            class_names=self.class_names,
            labels=self.labels if labels is None else labels,
            **{"names": self.names, **kwargs},
        )

    def to_rgba(self, **kwargs: Any) -> np.ndarray:
        """Render the linear map in color, see :func:`keras_coda.visualization.to_rgba`.

        Returns:
            ``(B, K, H, W, 4)`` in [0, 1]: color is what the weights of a pixel respond to, opacity how strong they are.

        Raises:
            ValueError: if the explanation has no linear map, or that of an inner layer.
        """
        from keras_coda.visualization.colors import to_rgba

        return to_rgba(self._colored_linear_map(), **kwargs)

    def _colored_linear_map(self) -> np.ndarray:
        """Return the linear map, or raise ``ValueError`` if there is none on the encoded image."""
        if self.linear_map is None:
            raise ValueError(
                "The colored rendering needs the linear map. Received: an explanation without it. Request it: "
                "`model.explain(images, linear_map=True)`."
            )
        if self.linear_map.shape[2:] != (*self.images.shape[1:3], 2 * self.images.shape[-1]):
            raise ValueError(
                "The colored rendering needs the linear map on the encoded image. "
                f"Received: wrt={self.wrt!r}. Leave `wrt` out."
            )
        return self.linear_map

    def save(self, path: str | os.PathLike) -> None:
        """Write all fields to a compressed ``.npz`` file, whole or not at all; see :meth:`load`."""
        fields: dict[str, Any] = {**self._arrays(), "bias": np.float32(self.bias)}
        if self.wrt is not None:
            fields["wrt"] = np.array(self.wrt)
        for each in ("class_names", "names"):
            if getattr(self, each) is not None:
                fields[each] = np.array(getattr(self, each))
        with new_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **fields)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Explanation":
        """Read what :meth:`save` wrote.

        Raises:
            UnreadableFileError: a ``ValueError``, if the file is damaged, or no explanation.
        """
        fields: dict[str, Any] = read_npz(path)
        try:
            fields["bias"] = float(fields["bias"])
            if "wrt" in fields:
                fields["wrt"] = str(fields["wrt"])
            shapes = {name: value.shape for name, value in fields.items() if isinstance(value, np.ndarray)}
            for each in {"class_names", "names"} & set(fields):
                fields[each] = tuple(map(str, fields[each].tolist()))
            require(_fit(shapes), "The arrays of an explanation must fit each other", **shapes)
            return cls(**fields)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise UnreadableFileError(
                f"The file must hold an explanation. Received: '{os.fspath(path)}' ({type(error).__name__}: {error})"
            ) from error

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}


def _cover(pixels: int, locations: int) -> np.ndarray:
    """Return which share of each of the locations along one axis lies in each of the pixels: (pixels, locations)."""
    edges = np.arange(pixels + 1) * (locations / pixels)  # of the pixels, in units of locations
    first, last = np.arange(locations), np.arange(1, locations + 1)
    overlap = np.minimum(edges[1:, None], last) - np.maximum(edges[:-1, None], first)
    return np.maximum(overlap, 0)


def _fit(shapes) -> bool:
    batch, targets, *_ = shapes["contributions"]
    same = {shapes["classes"], shapes["residual"], shapes.get("offsets", (batch, targets))} == {
        (batch, targets)
    } and shapes["logits"] == shapes["probabilities"]
    named = shapes.get("names", (batch,)) == (batch,)
    return same and named and {shapes["images"][0], shapes["logits"][0]} == {batch}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, without overflow."""
    return (0.5 * (1.0 + np.tanh(0.5 * logits))).astype("float32")
