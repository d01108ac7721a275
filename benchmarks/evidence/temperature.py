"""What the temperature does: short trainings from the same random weights at several temperatures."""

from benchmarks.evidence.networks import KEPT, PICTURES, load
from keras_coda import data
from keras_coda.tuning import temperature
from keras_coda.visualization.figure import save_picture

# Epochs, peak rate, seeds, and how much is measured: as short as a machine with two cores asks for.
_BUDGETS = {
    "coda_digits": {"epochs": 20, "learning_rate": 0.01, "seeds": (0, 1, 2)},
    "coda_xs_cifar10": {"epochs": 2, "learning_rate": 2e-3, "n_grids": 50, "n_images": 128,
                        "overrides": {"dtype": "mixed_bfloat16"}},
}  # fmt: skip


def run(preset: str, source: str, quick: bool) -> dict:
    """Train at several temperatures and measure accuracy, localization and pixel removal.

    Args:
        preset: name of an architecture.
        source: what :func:`keras_coda.data.load` loads.
        quick: whether to train for an epoch at two temperatures only.
    """
    budget = dict(_BUDGETS[preset])
    is_digits = source == "digits"
    images = load(source, preset) if is_digits else data.load(source, image_size=(32, 32))
    if quick:
        budget |= {"epochs": 1, "seeds": (0,)}
    temperatures = (10, 1000) if quick else (10, 50, 100, 500, 1000, 5000)
    out = KEPT / f"temperature-{preset}{'-quick' * quick}"
    study = temperature.temperature_study(images, preset, out, temperatures, **budget)
    PICTURES.mkdir(parents=True, exist_ok=True)
    published = None if is_digits else temperature.S_CODA_CIFAR10
    save_picture(study.plot(published), PICTURES / f"{preset}-temperature.png")
    return {"preset": preset, "data": [images.name, images.num_train, images.num_validation], "budget": budget,
            "runs": list(study.runs), "table": study.table()}  # fmt: skip
