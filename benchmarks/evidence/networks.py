"""A shipped network on validation images: accuracy, completeness, both metrics, and post-hoc methods beside it."""

from pathlib import Path

import keras_coda
from keras_coda import posthoc
from keras_coda.evaluation import Comparison, compare, evaluate, localization, pixel_removal
from keras_coda.visualization.figure import save_picture

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "evidence"  # finished pieces, for a run that goes on
PICTURES = ROOT / "docs" / "results"
# By default methods refer to what the metric makes of a removed pixel. tf-explain's own references: black, and gray.
TF_EXPLAIN = (
    posthoc.IntegratedGradients(encoded=False),
    posthoc.OcclusionSensitivity(5, fill=127.5),
    posthoc.OcclusionSensitivity(9, fill=127.5),
)


def load(source: str, preset: str):
    """Load data for a preset's network, images unchanged but for their size."""
    *size, _ = keras_coda.models.presets.architecture(preset)["input_shape"]
    return keras_coda.data.load(source, image_size=tuple(size), augment=False)


def run(preset: str, source: str, quick: bool, *, n_grids: int, n_images: int, alone: tuple[int, int]) -> dict:
    """Measure a shipped network.

    Args:
        preset: its name.
        source: what :func:`keras_coda.data.load` loads.
        quick: whether to take few images.
        n_grids: grids on which all methods are compared.
        n_images: images on which all methods are compared.
        alone: grids and images for the contribution maps alone; the paper's are 500 and 1,024.

    Returns:
        what JSON can hold; the figures are written to ``docs/results``.
    """
    data, model = load(source, preset), keras_coda.CoDANet.from_preset(preset, load_weights=True)
    if quick:
        (n_grids, n_images) = alone = (5, 32)
    figures = evaluate(model, data.validation, num_images=data.num_validation)
    # The maps alone take minutes where all methods take hours; what the comparison finds is kept for a later run.
    located = localization(model, data.validation, n_grids=alone[0])
    least = pixel_removal(model, data.validation, n_images=alone[1])
    most = pixel_removal(model, data.validation, n_images=n_images, order="most")
    kept = KEPT / f"{preset}{'-quick' * quick}"
    methods, sizes = [*posthoc.methods(), *TF_EXPLAIN], {"n_grids": n_grids, "n_images": n_images}
    comparison = compare(model, data.validation, methods, **sizes, out=kept)

    PICTURES.mkdir(parents=True, exist_ok=True)
    save_picture(comparison.plot(), PICTURES / f"{preset}-comparison.png")
    images, _ = next(iter(data.validation))
    save_picture(model.explain(images[:6].numpy()).plot(), PICTURES / f"{preset}-maps.png")
    return {
        "preset": preset,
        "data": [data.name, data.num_train, data.num_validation],
        "temperature": model.temperature,
        "parameters": model.count_params(),
        "megabytes": sum(path.stat().st_size for path in keras_coda.models.presets.folder(preset).iterdir()) / 2**20,
        "training": model.training_figures,
        "figures": figures,
        "localization": located.summary(),
        "removal": least.summary(),
        "removal_most": most.summary(),
        "methods": _compared(comparison),
    }


def _compared(comparison: Comparison) -> dict:
    """Each method's figures, and by how much the contribution maps, the first, are ahead of it on the same units."""
    metrics = {"localization": comparison.localization, "removal": comparison.pixel_removal}
    return {
        name: {metric: results[row].summary() for metric, results in metrics.items()}
        | {"maps_ahead": {metric: results[0].difference(results[row]) for metric, results in metrics.items()}}
        for row, name in enumerate(comparison.names)
    }
