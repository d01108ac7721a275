"""A shipped network on validation images: accuracy, completeness, both metrics, and post-hoc methods beside it."""

from pathlib import Path

import keras_coda
from keras_coda import posthoc, training
from keras_coda.evaluation import pixel_removal
from keras_coda.visualization import save_picture

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "evidence"  # finished pieces, for a run that goes on
PICTURES = ROOT / "docs" / "results"


def load(source: str, preset: str):
    """Load data for a preset's network, images unchanged but for their size."""
    *size, _ = keras_coda.presets.architecture(preset)["input_shape"]
    return keras_coda.data.load(source, image_size=tuple(size), augment=False)


def run(preset: str, source: str, quick: bool) -> dict:
    """Measure a shipped network.

    Args:
        preset: its name.
        source: what :func:`keras_coda.data.load` loads.
        quick: whether to take few images.

    Returns:
        what JSON can hold; the figures are written to ``docs/results``.
    """
    data, model = load(source, preset), keras_coda.CoDANet.from_preset(preset, load_weights=True)
    sizes = {"n_grids": 5, "n_images": 32} if quick else {"n_grids": 500, "n_images": 1024}
    figures = training.evaluate(model, data.validation, num_images=data.num_validation)
    comparison = posthoc.compare(model, data.validation, **sizes, out=KEPT / f"{preset}{'-quick' * quick}")
    most = pixel_removal(model, data.validation, n_images=sizes["n_images"], order="most")

    PICTURES.mkdir(parents=True, exist_ok=True)
    save_picture(comparison.plot(), PICTURES / f"{preset}-comparison.png")
    images, _ = next(iter(data.validation))
    save_picture(model.explain(images[:6].numpy()).plot(), PICTURES / f"{preset}-maps.png")
    return {
        "preset": preset,
        "data": [data.name, data.num_train, data.num_validation],
        "temperature": model.temperature,
        "parameters": model.count_params(),
        "megabytes": sum(path.stat().st_size for path in keras_coda.presets.folder(preset).iterdir()) / 2**20,
        "training": model.training_figures,
        "figures": figures,
        "untouched": float(most.curve[0]),
        "removed_most": most.summary(),
        "methods": {
            located.explainer: {"localization": located.summary(), "removal": removed.summary()}
            for located, removed in zip(comparison.localization, comparison.pixel_removal, strict=True)
        },
    }
