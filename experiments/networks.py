"""The networks that come with the package: accuracy, completeness, both metrics, and post-hoc methods.

    python -m experiments digits                                   # coda_digits
    python -m experiments cifar10 --cifar10 photos/cifar10         # coda_xs_cifar10; the same command continues
    python -m experiments cifar10 --cifar10 photos/cifar10 --grids 4 --images 64 --alone 200 384    # as reported
    python -m experiments cifar10_s --cifar10 photos/cifar10 --grids 4 --images 64 --alone 100 128  # coda_s_cifar10
    python -m experiments cifar10_bcos --cifar10 photos/cifar10 --grids 4 --images 64 --alone 200 384  # B-cos
    python -m experiments grid --cifar10 photos/cifar10            # the grid of down-sampling in the maps of both

Machine: 2 cores of an AMD EPYC, float32.
Hours:   digits 0.1. cifar10 0.9 with the numbers of grids and images that were reported (4 and 64 for all methods, 200
         and 384 for the contribution maps alone); about a day with those of the paper (500 and 1,024 for all methods).
         cifar10_bcos 0.3 with the numbers that were reported.
Result:  ``docs/results.md``, a section for each network. coda_xs_cifar10: accuracy 87.02 %; maps on
         the same 4 grids and 64 images: localization 0.947 ± 0.006 (Grad-CAM 0.834, Occlusion 0.923), pixel removal
         0.925 ± 0.025 (Occlusion 0.957). coda_digits: accuracy 100 %, localization 0.561 ± 0.014 (Occlusion 0.694),
         pixel removal 0.989 ± 0.004 (Integrated Gradients 0.992). bcos_resnet20_cifar10: accuracy 86.90 %, localization
         0.980 ± 0.002 (Grad-CAM 0.875), pixel removal 0.862 ± 0.033 (Occlusion 0.934).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import keras_coda
from experiments.grid import grid_measures
from keras_coda import posthoc
from keras_coda.evaluation import Comparison, best_grad_cam, compare, evaluate, localization, pixel_removal
from keras_coda.visualization.figure import save_picture

ROOT = Path(__file__).parents[1]
EXPLAINED = 200  # images whose mean map shows the grid of down-sampling
KEPT = ROOT / "build" / "evidence"  # finished parts, with which an interrupted run continues
PICTURES = ROOT / "docs" / "results"
# By default the methods use an encoding of zeros as their reference, as the removal metric does for removed pixels.
# These use tf-explain's own references instead: a black image, and a gray window.
TF_EXPLAIN = (
    posthoc.IntegratedGradients(encoded=False),
    posthoc.OcclusionSensitivity(5, fill=127.5),
    posthoc.OcclusionSensitivity(9, fill=127.5),
)


def load(source: str, preset: str):
    """Load data for a preset's network; images are resized and otherwise unchanged."""
    *size, _ = keras_coda.models.preset_architecture(preset)["input_shape"]
    return keras_coda.data.load(source, image_size=tuple(size), augment=False)


def run(
    preset: str, source: str, quick: bool, *, n_grids: int, n_images: int, alone: tuple[int, int], post_hoc: bool = True
) -> dict:
    """Measure a shipped network.

    Args:
        preset: its name.
        source: what :func:`keras_coda.data.load` loads.
        quick: whether to take few images.
        n_grids: grids on which all methods are compared.
        n_images: images on which all methods are compared.
        alone: grids and images on which only the contribution maps are measured; 500 and 1,024 in the paper.
        post_hoc: whether other methods are compared.

    Returns:
        a dict of JSON values; the figures are written to ``docs/results``.
    """
    data, model = load(source, preset), keras_coda.ExplainableClassifier.from_preset(preset, load_weights=True)
    if quick:
        (n_grids, n_images) = alone = (5, 32)
    figures = evaluate(model, data.validation, num_images=data.num_validation)
    # Minutes for the maps alone, hours for all methods. The comparison keeps its results for a later run.
    located = localization(model, data.validation, n_grids=alone[0])
    least = pixel_removal(model, data.validation, n_images=alone[1])
    most = pixel_removal(model, data.validation, n_images=n_images, order="most")
    kept = KEPT / f"{preset}{'-quick' * quick}"
    methods, sizes, layers = [], {"n_grids": n_grids, "n_images": n_images}, {}
    if post_hoc:  # Grad-CAM's layer is chosen on training images
        blocks = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)] or None  # of a ResNet
        grad_cam, layers = best_grad_cam(model, data.train.take(40), blocks, n_grids=5 if quick else 50)
        methods = [*posthoc.methods(), grad_cam, *TF_EXPLAIN]
    comparison = compare(model, data.validation, methods, **sizes, out=kept)

    PICTURES.mkdir(parents=True, exist_ok=True)
    if methods:
        save_picture(comparison.plot(), PICTURES / f"{preset}-comparison.png")
    images, _ = next(iter(data.validation))
    save_picture(model.explain(images[:6].numpy()).plot(), PICTURES / f"{preset}-maps.png")
    if images.shape[-1] == 3:
        save_picture(linear_maps(model, data.validation), PICTURES / f"{preset}-linear_maps.png")
    return {
        "preset": preset,
        "data": [data.name, data.num_train, data.num_validation],
        "temperature": model.temperature,
        "parameters": model.count_params(),
        "megabytes": sum(path.stat().st_size for path in keras_coda.models.preset_folder(preset).iterdir()) / 2**20,
        "training": model.training_figures,
        "figures": figures,
        "localization": located.summary(),
        "removal": least.summary(),
        "removal_most": most.summary(),
        "methods": compared(comparison),
        "grad_cam_layers": layers,  # localization at each layer
    }


def run_grid(presets: Sequence[str], source: str, quick: bool) -> dict:
    """Measure the grid of down-sampling in the maps of shipped networks.

    Args:
        presets: their names.
        source: what :func:`keras_coda.data.load` loads.
        quick: whether to take few images.

    Returns:
        a dict of JSON values, by preset.
    """
    found = {}
    for preset in presets:
        data, model = load(source, preset), keras_coda.CoDANet.from_preset(preset, load_weights=True)
        wanted = 20 if quick else EXPLAINED
        batches = (np.asarray(images) for images, _ in data.validation.take(-(-wanted // 32)))
        found[preset] = mean_map_measures(model, np.concatenate(list(batches))[:wanted])
        found[preset]["downsampling"] = model.get_config().get("downsampling", "strided")
    return found


def mean_map_measures(model, images: np.ndarray) -> dict[str, float]:
    """Return how strong the grid of down-sampling is in the mean absolute map of images, see ``experiments.grid``.

    Args:
        model: a network.
        images: ``(n, 32, 32, c)``; the map of the predicted class is taken.
    """
    explanation = model.explain(images, verbose=False)
    return {**grid_measures(np.abs(explanation.contributions[:, 0]).mean(axis=0)), "images": len(images)}


def linear_maps(model, dataset, classes: Sequence[int] = (2, 5, 7, 8), least: float = 0.9):
    """Draw the linear maps of the first image of each class whose probability is at least ``least``."""
    found: dict[int, np.ndarray] = {}
    for images, labels in dataset:
        images, labels = np.asarray(images), np.asarray(labels)
        logits = model.predict(images, verbose=0)
        is_sure = (logits.argmax(1) == labels) & (logits.max(1) > math.log(least / (1 - least)))
        for label in set(classes) & set(labels[is_sure].tolist()) - set(found):
            found[label] = images[is_sure & (labels == label)][0]
        if len(found) == len(classes):
            break
    order = [label for label in classes if label in found]
    chosen = np.stack([found[label] for label in order])
    return model.explain(chosen, np.array(order), linear_map=True).plot_linear_map(order)


def compared(comparison: Comparison) -> dict:
    """Each method's figures, and the lead of the contribution maps (the first method) over it on the same units."""
    metrics = {"localization": comparison.localization, "removal": comparison.pixel_removal}
    return {
        name: {metric: results[row].summary() for metric, results in metrics.items()}
        | {"maps_ahead": {metric: results[0].difference(results[row]) for metric, results in metrics.items()}}
        for row, name in enumerate(comparison.names)
    }
