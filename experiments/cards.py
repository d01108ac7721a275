"""Model cards of the shipped networks: description, figures, data, training and limits; ``report`` writes them."""

import keras_coda

_CIFAR10 = """CIFAR-10 (Krizhevsky 2009): 32×32 color photographs of ten classes. The first 4,500 training
images of each class (as JPEG files) were used for training, and the last 500 of each for validation. The test images
were used neither for training nor for choosing the network."""
_DATA = {
    "bcos_resnet20_cifar10": _CIFAR10,
    "coda_s_cifar10": _CIFAR10,
    "coda_xs_cifar10": _CIFAR10,
    "coda_digits": """The 1,797 8×8 digits that come with scikit-learn (UCI, Alpaydin and Kaynak 1998), four fifths of
them to train on; `keras_coda.data.load("digits")` makes the same split.""",
}
_AUGMENTATION = {
    "none": "no augmentation",
    "flip_crop": "flips and crops (4 pixels)",
    "strong": "flips and crops (4 pixels), images turned, sheared, scaled, recolored and covered in part, less so in "
    "the last 15%",
}
_IMAGES = {"train": "training", "validation": "validation"}
_TEN_CLASSES = """- It knows ten classes of centered objects. For other objects, and for larger pictures, a high
  probability means nothing.
"""
_LIMITS = {
    "bcos_resnet20_cifar10": f"""{_TEN_CLASSES}- It was trained for hours on two CPU cores. It is meant for learning,
  tests and comparisons; the authors' networks for ImageNet are larger, and their weights can be converted.
""",
    "coda_s_cifar10": f"""{_TEN_CLASSES}- It classifies all of its training images correctly, and is too certain of some
  of its errors.
""",
    "coda_xs_cifar10": f"""{_TEN_CLASSES}- It was trained for hours on two CPU cores and has not converged. It is meant
  for learning, tests and demonstrations; CoDA-Nets can reach a higher accuracy on CIFAR-10.
""",
    "coda_digits": "- It is meant for demonstrations and tests: 8×8 pixels, ten digits of one source.\n",
}


def write(record: dict) -> None:
    """Write ``README.md`` into a preset's folder, from its configuration and a record of what was measured."""
    results = record["results"]
    preset, figures, training = results["preset"], results["figures"], results["training"]
    model = keras_coda.ExplainableClassifier.from_preset(preset)
    located, removed = results["localization"], results["removal"]
    rows = [
        ("accuracy", f"{figures['accuracy']:.2%} of {figures['num_images']:,} validation images"),
        ("loss", f"{figures['loss']:.4f}"),
        ("localization", f"{located['mean']:.3f} ({located['units']} grids of 3×3)"),
        ("pixel removal, AUC", f"{removed['mean']:.3f} ({removed['units']} images)"),
        ("largest completeness residual", f"{figures['largest_residual']:.0e}"),
    ]
    history = training.get("stages", [training])
    text = f"# {preset}\n\n{keras_coda.models.preset_description(preset)}\n\n"
    text += f'    model = keras_coda.{type(model).__name__}.from_preset("{preset}")\n\n'
    text += (
        f"{model.count_params():,} parameters (stored as float16); images {model.input.shape[1:3]} with "
        f"{model.input.shape[-1]} channel(s), pixels in [0, 255]; classes: {', '.join(model.class_names)}; temperature "
        f"{model.temperature:g}.\n\n## Measured\n\n| | |\n|---|---|\n"
    )
    text += "".join(f"| {name} | {value} |\n" for name, value in rows)
    text += f"\n`{record['command']}`, {record['date']}, {record['cores']} cores, {record['cpu']}.\n\n## Data\n\n"
    text += _DATA[preset] + "\n\n## Training\n\n"
    usual = "none" if preset == "coda_digits" else "flip_crop"
    for number, stage in enumerate(history, 1):
        rate = stage.get("learning_rate") or stage["recipe"]["learning_rate"]
        dropout = f", up to {stage['pixel_dropout']:.0%} of the pixels dropped" if stage.get("pixel_dropout") else ""
        text += (
            f"{number}. {stage['epochs']} epochs at temperature {stage['temperature']:g}, batches of "
            f"{stage['batch_size']}, {stage['optimizer']}, peak rate {rate:g}, {stage['dtype']}, "
            f"{_AUGMENTATION[stage.get('augmentation', usual)]}{dropout}; {_time(stage)}."
        )
        for name in _IMAGES:
            if f"{name}_accuracy" in stage:
                text += f" Accuracy afterwards on {_IMAGES[name]} images: {stage[f'{name}_accuracy']:.2%}."
        if "averaged" in stage:
            share = stage["averaged"]
            text += f" Kept: the mean of the weights before ({1 - share:.0%}) and after it ({share:.0%})."
        text += "\n"
    if any("averaged" in stage for stage in history):
        text += (
            "\nMeans of weights: Wortsman et al., arXiv 2109.01903. The figures above are those of the averaged "
            "network. The shares were chosen on these validation images, by accuracy and by the metrics of the maps "
            "compared with other methods.\n"
        )
    text += "\n## Limits\n\n" + _LIMITS[preset]
    text += "- A contribution map is exact about this network, not about the world: it shows what the network used.\n"
    folder = keras_coda.models.preset_folder(preset)
    (folder / "README.md").write_text(text, encoding="utf-8")


def _time(stage) -> str:
    seconds = f"{stage['seconds_per_epoch']:.{0 if stage['seconds_per_epoch'] > 10 else 1}f} s per epoch"
    return f"{seconds} on one {stage['machine']}" if "machine" in stage else f"{seconds} (median) on two cores"
