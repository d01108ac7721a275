"""Pictures of the documentation, drawn with the trained networks ``coda_digits`` and ``coda_s_cifar10``.

``python -m docs.pictures`` writes all of them except ``uncertain.png``, which ``make demo`` writes, and ``photos.png``,
which needs photos: ``CIFAR10=photos/cifar10/validation python -m docs.pictures photos``, with one folder per class.
Arguments select pictures by name. The same network gives the same pictures.
"""

import functools
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import keras_coda
from keras_coda.evaluation import pixel_removal
from keras_coda.evaluation.grids import assemble
from keras_coda.layers import rescaling
from keras_coda.visualization.figure import save_picture

FOLDER = Path(__file__).parent / "pictures"
LARGEST = 200_000  # bytes
GRID = ("frog", "ship", "cat", "automobile", "horse", "airplane", "deer", "truck", "dog")
RED, GRAY, BLUE = "#b2182b", "#777777", "#2166ac"


@functools.cache
def digits(size=8):
    """Return the shipped network, for images of a size (None: of any), and all validation images and labels."""
    model = keras_coda.CoDANet.from_preset("coda_digits", input_shape=(size, size, 1))
    parts = zip(*keras_coda.data.load("digits").validation.as_numpy_iterator(), strict=True)
    return (model, *map(np.concatenate, parts))


def surest(model, images, labels):
    """Return, for each class, the index of the image with the highest logit."""
    own = model.predict(images, verbose=0)[np.arange(len(labels)), labels]
    return np.array([np.where(labels == label, own, -np.inf).argmax() for label in range(model.num_classes)])


def reasons():
    """The first three photos of the package, and the maps of their two most probable classes."""
    photos, labels, _ = keras_coda.data.sample_photos()
    model = keras_coda.CoDANet.from_preset("coda_s_cifar10")
    return model.explain(photos[:3], top_k=2).plot(labels[:3])


def localization():
    """A grid of nine digits, and the maps of three of them on the whole grid, with their scores."""
    model, images, labels = digits(None)
    classes = np.array([4, 7, 1, 0, 3, 6, 8, 2, 5])
    chosen = surest(model, images, labels)[classes]
    grid = assemble(images[chosen][None].astype("float32"), 3, 3)
    shown = [1, 3, 5]  # cells
    maps = model.explain(grid, classes[shown][None]).contributions[0]
    figure = Figure(figsize=(7.2, 2.1), layout="constrained")
    panels = figure.subplots(1, 4)
    panels[0].imshow(grid[0, ..., 0], cmap="gray", vmin=0, vmax=255)
    panels[0].set_title("grid of nine classes", fontsize=9)
    for panel, cell, each in zip(panels[1:], shown, maps, strict=True):
        row, column = divmod(cell, 3)
        limit = np.abs(each).max()
        panel.imshow(each, cmap="RdBu_r", vmin=-limit, vmax=limit)
        positive = np.maximum(each, 0)
        score = positive[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].sum() / positive.sum()
        panel.set_title(f"map of class {classes[cell]}: {score:.2f}", fontsize=9)
        corners = 8 * np.array([(0, 0, 1, 1, 0), (0, 1, 1, 0, 0)]) - 0.5  # of the cell
        panel.plot(corners[0] + 8 * column, corners[1] + 8 * row, color="black", linewidth=1)
    return _without_ticks(figure, panels)


def photos():
    """Nine photos in one image, and the maps of three classes on it, on one color scale; each class is in one photo."""
    folder, names, shown = Path(os.environ["CIFAR10"]), GRID, ("horse", "dog", "ship")
    model = keras_coda.CoDANet.from_preset("coda_s_cifar10", input_shape=(None, None, 3))
    classes = [model.class_names.index(name) for name in names]
    paths = [sorted((folder / name).iterdir())[:100] for name in names]
    cells = [np.stack([np.asarray(Image.open(path).convert("RGB")) for path in group]) for group in paths]
    surest = [model.predict(group, verbose=0)[:, each].argmax() for group, each in zip(cells, classes, strict=True)]
    grid = assemble(np.stack([group[best] for group, best in zip(cells, surest, strict=True)])[None], 3, 3)
    maps = model.explain(grid.astype("float32"), [[model.class_names.index(name) for name in shown]]).contributions[0]
    limit = np.quantile(np.abs(maps), 0.998)
    figure = Figure(figsize=(5.2, 5.5), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    panels[0].imshow(grid[0].astype("uint8"), interpolation="nearest")
    panels[0].set_title("nine photos in one image", fontsize=12)
    for panel, name, each in zip(panels[1:], shown, maps, strict=True):
        panel.imshow(each, cmap="RdBu_r", vmin=-limit, vmax=limit)
        panel.set_title(f"where is the {name}?", fontsize=12)
        row, column = divmod(names.index(name), 3)
        corners = 32 * np.array([(0, 0, 1, 1, 0), (0, 1, 1, 0, 0)]) - 0.5
        panel.plot(corners[0] + 32 * column, corners[1] + 32 * row, color="black", linewidth=1.5)
    return _without_ticks(figure, panels)


def removal():
    """A digit with removed pixels, and the removal curves of exact maps and of noise."""
    model, images, labels = digits()
    one = surest(model, images, labels)[3]
    explanation = model.explain(images[one : one + 1])
    rank = np.argsort(np.argsort(explanation.contributions[0, 0].ravel(), kind="stable")).reshape(8, 8)
    figure = Figure(figsize=(7.2, 2.1), layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.7))
    gray = np.repeat(images[one] / 255.0, 3, axis=-1)
    shown = (("image", rank < 0), ("least important\nquarter removed", rank < 16),
             ("most important\nquarter removed", rank >= 48))  # fmt: skip
    for panel, (title, gone) in zip(panels, shown, strict=False):
        panel.imshow(np.where(gone[..., None], (0.79, 0.86, 0.94), gray))
        panel.set_title(title, fontsize=9)
    _without_ticks(figure, panels[:3])

    rng = np.random.default_rng(0)

    def noise(model, images, classes):
        return rng.normal(size=images.shape[:3])

    for order, style in (("least", "-"), ("most", "--")):
        for explainer, color, name in ((None, RED, "exact maps"), (noise, GRAY, "noise")):
            arguments = {"n_images": 360, "order": order, "explainer": explainer, "verbose": False}
            result = pixel_removal(model, [(images, labels)], **arguments)
            panels[3].plot(100 * result.shares, result.curve, style, color=color, label=f"{name}, {order}")
    panels[3].set(xlabel="pixels removed, %", ylim=(0, 1.02))
    panels[3].set_title("probability of the true class", fontsize=9)
    panels[3].tick_params(labelsize=8)
    panels[3].xaxis.label.set_size(8)
    panels[3].legend(fontsize=7, frameon=False)
    panels[3].spines[["top", "right"]].set_visible(False)
    return figure


def factors():
    """The norm of a unit's weights after rescaling, against their norm before."""
    n = np.linspace(0, 4, 200)
    figure = Figure(figsize=(3.6, 2.2), layout="constrained")
    panel = figure.subplots()
    for factor, color in ((rescaling.l2, BLUE), (rescaling.squash, RED)):
        panel.plot(n, n * np.asarray(factor(n**2)), color=color, label=factor.__name__)
    panel.set(xlabel="norm before, ‖v‖", ylabel="norm after, ‖g(v)‖", ylim=(0, 1.05))
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def _without_ticks(figure, panels):
    for panel in panels:
        panel.set(xticks=[], yticks=[])
    return figure


def check_size(path: Path) -> None:
    """Print the size of a picture; raise ``RuntimeError`` if it is too large for the repository."""
    size = path.stat().st_size
    print(f"{path.name}: {size:,} bytes")
    if size > LARGEST:
        raise RuntimeError(f"Pictures must stay below {LARGEST:,} bytes. Received: '{path.name}' with {size:,}.")


PICTURES = {each.__name__: each for each in (reasons, localization, removal, factors, photos)}


def main(names=()) -> None:
    """Draw the pictures of these names, or all.

    Raises:
        RuntimeError: if a picture is too large for the repository.
    """
    for name in names or [name for name in PICTURES if name != "photos" or "CIFAR10" in os.environ]:
        path = FOLDER / f"{name}.png"
        save_picture(PICTURES[name](), path, dpi=144)
        check_size(path)


if __name__ == "__main__":
    main(sys.argv[1:])
