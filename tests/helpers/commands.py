"""The command line, run in this process, and picture files for it."""

import numpy as np
from PIL import Image

from keras_coda_cli import main


def write_image(path, seed=0, size=(9, 7), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], *channels), dtype="uint8")
    Image.fromarray(pixels, mode).save(path)
    return path


def run(*arguments):
    return main.main([str(argument) for argument in arguments])
