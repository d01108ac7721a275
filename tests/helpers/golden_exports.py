"""Writes the golden files of a version: ``python -m tests.helpers.golden_exports tests/golden/written_by_VERSION``.

A tiny network in every format, and one with branches, with the maps that they give now. Later versions must load them
and give the same maps: run this once for a version, and never again.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_coda
from tests.helpers.networks import branched, pixels, small

TOP_K = 3  # all classes


def write(folder: Path) -> None:
    """Write networks and expected maps to a new folder."""
    folder.mkdir(parents=True)
    keras.utils.set_random_seed(0)
    model = small(filters=(4, 3), ranks=2, strides=(2, 1), class_names=("a", "b", "c"))
    model.save(folder / "model.keras")
    model.save_to_preset(folder / "preset")
    model.export(folder / "saved_model" / "1", top_k=TOP_K, warmup=False)
    model.export(folder / "model.onnx", format="onnx", top_k=TOP_K)
    model.export(folder / "model.tflite", format="litert", top_k=TOP_K)
    _expected(model, pixels(4), folder / "expected.npz")
    graph = branched()
    graph.save(folder / "branched.keras")
    graph.save_to_preset(folder / "branched_preset")
    _expected(graph, pixels(4, (8, 6, 3)), folder / "expected_branched.npz")


def _expected(model, images, path):
    found = keras_coda.explain(model, images, top_k=TOP_K)
    arrays = {name: getattr(found, name) for name in ("logits", "classes", "contributions")}
    np.savez_compressed(path, images=images, bias=np.float32(found.bias), **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
