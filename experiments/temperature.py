"""The effect of the temperature: short trainings from the same random weights at several temperatures.

    python -m experiments temperature_digits
    python -m experiments temperature_cifar10 --cifar10 photos/cifar10    # the same command continues

Machine: digits: 2 cores of an AMD EPYC, float32. cifar10: 2 cores of an Intel Xeon with AMX, mixed_bfloat16.
Hours:   digits 0.25 for 18 trainings of 20 epochs; cifar10 2.1 for 6 trainings of 2 epochs (tests used the same machine
         for half of the time).
Result:  ``docs/results.md``, sections `Temperature`. cifar10, from T = 10 to 5000: localization rises from 0.253 to
         0.477, while accuracy falls from 0.730 to 0.577 and removal AUC from 0.875 to 0.696, because networks at a high
         temperature are not trained to the end. digits: localization 0.491 to 0.540, accuracy 0.997 to 0.903.
"""

from experiments.networks import KEPT, PICTURES, load
from keras_coda import data
from keras_coda.tuning import temperature
from keras_coda.visualization.figure import save_picture

# Epochs, peak rate, seeds, and numbers of grids and images to measure; small enough for two cores.
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
