"""What ``keras-coda train`` does with its arguments."""

import argparse
import dataclasses
from pathlib import Path

# Options whose defaults are the recipe's, and those that change no weight, so that a training may go on without them.
OF_RECIPE = ("epochs", "batch_size", "learning_rate", "warmup", "augmentation", "ema", "linear_map_regularization",
             "map_consistency")  # fmt: skip
NOT_RECORDED = ("command", "debug", "out", "restart", "maps", "localization", "tensorboard")


def run(args: argparse.Namespace) -> list[tuple]:
    """Train, or go on with a training.

    Args:
        args: the arguments of the command.

    Returns:
        Rows of a table of results; none if the training was finished before.
    """
    from keras_coda import training
    from keras_coda.data.load import load
    from keras_coda.training import recipes

    args.preset = args.preset or training.default_preset(args.data)
    config = training.preset_config(args.preset)
    options = {name: value for name, value in vars(args).items() if name in OF_RECIPE and value is not None}
    recipe = dataclasses.replace(recipes.recipe(args.recipe, config["input_shape"][:2]), **options)
    arguments = {name: value for name, value in vars(args).items() if name not in NOT_RECORDED}
    arguments |= dataclasses.asdict(recipe)
    model_folder = Path(args.out) / training.MODEL
    if training.is_finished(args.out, arguments, restart=args.restart):
        print(f"The training is finished: '{model_folder}' (--restart begins anew).")
        return []
    if args.image_size is None and training.image_size(args.preset, args.data):
        args.image_size = training.image_size(args.preset, args.data)
        print("Images are resized to {}x{}, the preset's size (--image-size changes it).".format(*args.image_size))

    import keras

    keras.utils.set_random_seed(args.seed)
    data = load(
        args.data, batch_size=recipe.batch_size, image_size=args.image_size, validation_split=args.validation_split,
        augment=recipe.augmentation, resize_ratio=recipe.resize_ratio, seed=args.seed, data_dir=args.data_dir,
    )  # fmt: skip
    changed = {
        name: arguments[name] for name in ("temperature", "pixel_dropout", "dtype") if arguments[name] is not None
    }
    model, notes = training.network(args.preset, data, pretrained=args.pretrained or None, **changed)
    print(*notes, sep="\n", end="\n" * bool(notes))
    print(f"{data.name}: {data.num_train} images to train on, {data.num_validation} to validate, "
          f"{data.num_classes} classes. {args.preset}: {model.count_params():,} parameters.")  # fmt: skip
    callbacks = _callbacks(args, data)
    done = 0 if args.restart else training.epochs_done(args.out)
    if done:
        print(f"The training goes on after epoch {done} of {recipe.epochs}.")
    options = {"callbacks": callbacks, "arguments": arguments, "restart": args.restart}
    figures = training.train(model, data, args.out, recipe, **options)
    return [
        ("validation accuracy", f"{figures['validation_accuracy']:.2%}"),
        ("validation loss", f"{figures['validation_loss']:.4f}"),
        ("time per epoch", f"{figures['seconds_per_epoch']:.2f} s"),
        ("network", model_folder),
    ]


def _callbacks(args, data):
    import keras

    from keras_coda.training import callbacks, summaries
    from keras_coda.training.checkpointing import MAPS, TENSORBOARD

    out = Path(args.out).expanduser()
    log_dir = out / TENSORBOARD if args.tensorboard else None
    chosen = [callbacks.TimeEstimate(shortest=0 if args.recipe == "paper" else 600)]
    if args.maps:
        chosen.append(callbacks.ContributionMaps(data.validation, out / MAPS, log_dir, num_images=args.maps))
    if args.localization:
        chosen.append(callbacks.Localization(data.validation, every=args.localization))
    if log_dir:
        summaries.require_tensorboard()
        chosen.append(keras.callbacks.TensorBoard(str(log_dir), write_graph=False))
    return chosen
