"""The command line in the process of the tests, and image files for it."""

import numpy as np
from PIL import Image

from keras_coda_cli import main


def run(*arguments):
    """Run ``keras-coda ARGUMENTS``; return the exit code."""
    return main.main([str(argument) for argument in arguments])


def write_image(path, seed=0, size=(9, 7), mode="RGB"):
    """Write an image file of random pixels; ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], *channels), dtype="uint8")
    Image.fromarray(pixels, mode).save(path)
    return path
