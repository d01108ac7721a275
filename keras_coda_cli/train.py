"""`keras-coda train`: train a network, or resume a training that was interrupted."""

import argparse
import contextlib
import dataclasses
import os
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Train a network. If it is interrupted, the same command resumes it after the last complete epoch. OUT/model is "
    "the trained network, OUT/log.csv has the figures of every epoch."
)
EXAMPLE = "keras-coda train --preset coda_xs_cifar10 --data photos/ --image-size 64 --epochs 50 --out runs/photos"

# Options whose defaults come from the recipe.
OF_RECIPE = ("epochs", "batch_size", "learning_rate", "warmup", "augmentation", "ema")
# Options that change no weight. All others are recorded, and a training is resumed only with the same ones.
MONITORING = ("maps", "localization", "grid", "tensorboard")
NOT_RECORDED = ("command", "debug", "out", "penalties", "restart", "distribute", *MONITORING)
LONG = 60  # seconds: the expected time of trainings that take longer is printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--preset",
        metavar="NAME|FOLDER",
        help="architecture (`keras-coda presets`), or folder of a trained network to start from; default: coda_digits "
        "for digits, coda_xs_cifar10 for other data",
    )
    common.add_data(parser)
    parser.add_argument(
        "--window",
        type=_window,
        metavar="LOW,HIGH",
        help="the values of image files with 16 bits per channel that become black and white; default: 0,65535. The "
        "network keeps it",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder of this training")
    parser.add_argument(
        "--temperature",
        type=float,
        help="divides the logits; larger ones give sharper maps and need longer training; default: the preset's",
    )
    parser.add_argument(
        "--pixel-dropout",
        type=float,
        metavar="SHARE",
        help="remove up to this share of an image's pixels at random; default: the preset's",
    )
    parser.add_argument("--dtype", help="dtype policy, for instance mixed_bfloat16; default: float32")
    parser.add_argument(
        "--pretrained",
        action="store_true",
        help="start from the weights that come with the preset NAME; with a FOLDER this is always done. Layers that do "
        "not fit the data, such as the last one for other classes, are new",
    )
    parser.add_argument(
        "--freeze",
        action=argparse.BooleanOptionalAction,
        help="train only the layers that are new, and keep the preset's weights in the others; --no-freeze trains all "
        "layers, also those that are frozen in the preset",
    )
    parser.add_argument("--restart", action="store_true", help="delete the training in the folder and begin again")
    parser.add_argument(
        "--distribute",
        choices=("data",),
        help="share each batch among all devices: the GPUs of this host, or on JAX those of all processes that "
        "KERAS_DISTRIBUTION_JOB_ADDRESSES, ..._NUM_PROCESSES and ..._PROCESS_ID name",
    )
    parser.set_defaults(batch_size=None)
    recipe = parser.add_argument_group(
        "recipe",
        "Settings of the optimization. These options, and --batch-size, replace those of the recipe. default: 20 "
        "epochs, batches of 64, peak learning rate 0.01, linear warm-up for a tenth of the steps, then cosine decay. "
        "paper: the authors' settings for CIFAR-10 (200 epochs, batches of 16), or for ImageNet-100 (60 epochs, "
        "batches of 64) if the network takes images of 128 pixels or more.",
    )
    recipe.add_argument("--recipe", choices=("default", "paper"), default="default", help="settings to begin with")
    recipe.add_argument("--epochs", type=common.positive, help="passes over the training images")
    recipe.add_argument("--learning-rate", type=float, metavar="RATE", help="peak learning rate, after the warm-up")
    recipe.add_argument("--warmup", type=float, metavar="SHARE", help="share of the training with a rising rate")
    recipe.add_argument(
        "--augmentation", choices=("none", "flip_crop", "rand_augment"), help="random changes of training images"
    )
    recipe.add_argument(
        "--ema", type=float, metavar="MOMENTUM", help="use the moving average of the weights, for instance with 0.999"
    )
    recipe.add_argument(
        "--penalty",
        dest="penalties",
        type=_penalty,
        action="append",
        metavar="NAME=WEIGHT",
        help="add WEIGHT times a penalty of the maps to the loss, one at a time. linear_map: mean|W|, keeps the "
        "linear maps small, steps take three times as long. map_consistency: how far maps are from predicting the "
        "logits without some pixels, to continue the training of a trained network",
    )
    watch = parser.add_argument_group("monitoring")
    watch.add_argument(
        "--maps",
        type=common.positive,
        metavar="N",
        help="draw the maps of N validation images after every epoch, in OUT/maps",
    )
    watch.add_argument("--localization", type=common.positive, metavar="N", help="measure localization every N epochs")
    common.add_grid(watch)
    watch.add_argument("--tensorboard", action="store_true", help="also write OUT/tensorboard")


def _window(text):
    numbers = [float(number) for number in text.split(",")]
    if len(numbers) != 2 or not 0 <= numbers[0] < numbers[1] <= 65535:
        raise argparse.ArgumentTypeError(f"must be LOW,HIGH, 0 <= LOW < HIGH <= 65535. Received: {text}")
    return numbers


_window.__name__ = "window LOW,HIGH"


def _penalty(text):
    name, separator, weight = text.partition("=")
    if not (separator and name):
        raise argparse.ArgumentTypeError(f"must be NAME=WEIGHT, for instance linear_map=0.1. Received: {text}")
    return name.strip(), float(weight)


_penalty.__name__ = "penalty NAME=WEIGHT"


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    penalties = args.penalties or []  # the recipe, which knows their names, checks these
    shown = ", ".join(f"{name}={weight:g}" for name, weight in penalties)
    is_unique = len(dict(penalties)) == len(penalties)
    checks.require_usage(is_unique, f"argument --penalty: a name may be given once. Received: {shown}")
    checks.require(all(weight >= 0 for _, weight in penalties), "--penalty must have a weight of at least 0", shown)
    folder = None if args.preset is None else checks.preset_folder(args.preset)
    for option in checks.given(args, "--pretrained", "--freeze"):
        rule = f"{option} needs a preset that comes with weights"
        checks.require(not args.preset or folder is not None, rule, f"--preset {args.preset}")
    for option in checks.given(args, "--temperature", "--pixel-dropout"):
        rule = f"{option} changes an argument of an architecture, which a graph of layers has not"
        fix = "Build the graph with another layer"
        checks.require(folder is None or not checks.is_graph(folder), rule, f"--preset {args.preset}", fix)
    checks.require_range(args, "--temperature", 0)
    checks.check_dtype(args.dtype)
    checks.require_range(args, "--pixel-dropout", 0, 1, "[)")
    checks.require_range(args, "--learning-rate", 0)
    checks.require_range(args, "--warmup", 0, 1, "[)")
    checks.require_range(args, "--ema", 0, 1)
    checks.check_data(args)
    is_fit = args.window is None or common.reads_files(args.data)
    checks.require(is_fit, "--window belongs to image files, in folders or CSV files", f"--data {args.data}")
    rule, is_table = "--localization needs images with one label each", args.data.lower().endswith(".csv")
    checks.require(not (args.localization and is_table), rule, f"--data {args.data}", "Leave it out")
    checks.check_out_folder(args.out)
    checks.require_usage(args.localization or not args.grid, "argument --grid: only allowed with --localization N")
    _check_processes(args)
    if args.tensorboard:
        checks.require_extra("tensorboard", "tensorboard", purpose="--tensorboard")


def _check_processes(args):
    processes = common.load_without_package("utils.processes")
    count, _ = processes.processes(os.environ)
    backend, fix = os.environ.get("KERAS_BACKEND"), "Set KERAS_BACKEND=jax"
    if count > 1:
        rule = f"{processes.COUNT} needs --distribute data: else {count} processes would write one folder"
        checks.require(args.distribute, rule, f"{processes.COUNT}={count}", "Add it, or unset the variable")
        rule = "Several processes train together on JAX only"
        checks.require(backend in (None, "jax"), rule, f"KERAS_BACKEND={backend}", fix)
        options = checks.given(args, *(f"--{name}" for name in MONITORING))
        text = f"argument --distribute: not allowed with {', '.join(options)} where several processes train together"
        checks.require_usage(not options, text)
    rule = "--distribute needs JAX or TensorFlow"
    checks.require(not args.distribute or backend != "torch", rule, f"KERAS_BACKEND={backend}", fix)


def run(args: argparse.Namespace) -> None:
    """Train, or resume a training."""
    from keras_coda import training
    from keras_coda.training import recipes

    args.preset = args.preset or training.default_preset(args.data)
    config = training.preset_config(args.preset)
    options = {name: value for name, value in vars(args).items() if name in OF_RECIPE and value is not None}
    if args.penalties:
        options["penalties"] = dict(args.penalties)
    recipe = dataclasses.replace(recipes.recipe(args.recipe, config["input_shape"][:2]), **options)
    arguments = {name: value for name, value in vars(args).items() if name not in NOT_RECORDED}
    for option in ("freeze", "validation_data", "window"):
        if arguments[option] is None:
            del arguments[option]  # earlier versions had no such option, and their trainings can be resumed
    arguments |= dataclasses.asdict(recipe)
    model_folder = Path(args.out) / training.MODEL
    if training.is_finished(args.out, arguments, restart=args.restart):
        further = f"--preset {model_folder} --out ANOTHER trains it further, --restart begins again"
        print(f"The training is finished: '{model_folder}' ({further}).")
        return
    with contextlib.ExitStack() as stack:
        if args.distribute:
            from keras_coda.models import distribution

            stack.enter_context(distribution.distributed())
            if not distribution.is_writer():  # the first process prints for all
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        _train(args, recipe, arguments)


def _train(args, recipe, arguments):
    from keras_coda import training
    from keras_coda.data.load import load

    model_folder = Path(args.out) / training.MODEL
    if args.image_size is None and training.image_size(args.preset, args.data):
        args.image_size = training.image_size(args.preset, args.data)
        print("Images are resized to {}x{}, the preset's size (--image-size changes it).".format(*args.image_size))

    import keras

    keras.utils.set_random_seed(args.seed)
    data = load(
        args.data,
        batch_size=recipe.batch_size,
        image_size=args.image_size,
        validation_split=args.validation_split,
        validation=args.validation_data,
        window=args.window,
        augment=recipe.augmentation,
        resize_ratio=recipe.resize_ratio,
        seed=args.seed,
        data_dir=args.data_dir,
    )
    names = ("temperature", "pixel_dropout", "dtype")
    changed = {name: arguments[name] for name in names if arguments[name] is not None}
    pretrained = args.pretrained or args.freeze or None
    model, notes = training.network(args.preset, data, pretrained=pretrained, freeze=args.freeze, **changed)
    print(*notes, sep="\n", end="\n" * bool(notes))
    print(
        f"{data.name}: {data.num_train} images to train on, {data.num_validation} to validate, {data.num_classes} "
        f"classes. {args.preset}: {model.count_params():,} parameters."
    )
    callbacks = _callbacks(args, data)
    done = 0 if args.restart else training.epochs_done(args.out)
    if done:
        print(f"The training goes on after epoch {done} of {recipe.epochs}.")

    def progress():
        return f"Finished epochs: {training.epochs_done(args.out)} of {recipe.epochs}."

    with common.resumable(progress, args.restart):
        figures = training.train(
            model, data, args.out, recipe, callbacks=callbacks, arguments=arguments, restart=args.restart
        )
    shares = [f"validation_{name}" for name in ("accuracy", "binary_accuracy", "auroc", "mean_average_precision")]
    common.print_table([
        *((name.replace("_", " "), f"{figures[name]:.2%}") for name in shares if name in figures),
        ("validation loss", f"{figures['validation_loss']:.4f}"),
        ("time per epoch", f"{figures['seconds_per_epoch']:.2f} s"),
        ("network", model_folder),
    ])  # fmt: skip


def _callbacks(args, data):
    from keras_coda.evaluation import grids
    from keras_coda.training import callbacks, summaries
    from keras_coda.training.checkpointing import MAPS, TENSORBOARD

    out = Path(args.out).expanduser()
    log_dir = out / TENSORBOARD if args.tensorboard else None
    chosen = [callbacks.TimeEstimate(shortest=0 if args.recipe == "paper" else LONG)]
    if args.maps:
        chosen.append(callbacks.ContributionMaps(data.validation, out / MAPS, log_dir, num_images=args.maps))
    if args.localization:
        grid = grids.choose(args.grid, data.num_classes)
        print(f"Localization is measured on grids of {grids.describe(grid)}.")
        chosen.append(callbacks.Localization(data.validation, every=args.localization, grid=grid))
    if log_dir:
        chosen.append(summaries.tensorboard(log_dir))
    return chosen
