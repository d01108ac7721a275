"""The command line: arguments and dispatch. TensorFlow is imported by the commands that need it, not before."""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

from keras_coda import __version__

NOISE = (b"WARNING: All log messages before absl", b"I0000 ", b"W0000 ", b"E0000 ", b"To enable the following")
EPILOG = """exit codes: 0 done, 1 the work failed (the reason is on stderr), 2 wrong usage, 130 interrupted

example, from nothing to reasons:
  keras-coda train --data digits --out runs/digits
  keras-coda explain --model runs/digits/model --out reasons photo.png
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help, version or what is wrong
        return stop.code or 0
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"keras-coda: warning: {message}", file=sys.stderr)
        try:
            if args.command is not _presets:
                _import_quietly()
            args.command(args)
        except KeyboardInterrupt:
            print("\nkeras-coda: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader of our output has gone, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if args.debug:
                raise
            print(f"keras-coda: error: {str(error).strip() or type(error).__name__}", file=sys.stderr)
            return 1
    return 0


# === Arguments ===


def _parser():
    parser = _Parser("keras-coda", epilog=EPILOG, description="Image classifiers that explain themselves exactly.")
    parser.add_argument("--version", action="version", version=f"keras-coda {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name, function, text, example):
        command = commands.add_parser(
            name, help=text.split(". ")[0].rstrip("."), description=text, epilog=f"example:\n  {example}"
        )
        command.set_defaults(command=function)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    demo = add(
        "demo", _demo, "Train on 1,797 scanned digits, explain, export and check all of it, in about a minute. Writes "
        "pictures, the trained network and a SavedModel.", "keras-coda demo --out demo",
    )  # fmt: skip
    demo.add_argument("--out", default="demo", metavar="FOLDER", help="an earlier demo there is replaced")
    demo.add_argument("--epochs", type=_positive, default=20, help="passes over the training images")
    demo.add_argument("--seed", type=int, default=0, help="of weights, split and order")

    train = add(
        "train", _train, "Train a network. Killed, it goes on from its last epoch when the same command is run again. "
        "OUT/model is the result, OUT/log.csv the history.",
        "keras-coda train --preset coda_xs_cifar10 --data photos/ --image-size 64 --epochs 50 --out runs/photos",
    )  # fmt: skip
    train.add_argument("--preset", metavar="NAME|FOLDER", help="architecture (`keras-coda presets`), or a trained "
                       "network to start from; default: coda_digits for digits, coda_xs_cifar10 otherwise")  # fmt: skip
    _add_data(train)
    train.add_argument("--out", required=True, metavar="FOLDER", help="the folder of this training")
    train.add_argument("--epochs", type=_positive, default=20, help="passes over the training images")
    train.add_argument("--learning-rate", type=float, default=0.01, metavar="RATE", help="the peak, after warm-up")
    train.add_argument("--warmup", type=float, default=0.1, metavar="SHARE", help="of the steps, with a rising rate")
    train.add_argument("--temperature", type=float, help="larger: sharper maps; default: the preset's")
    train.add_argument("--dtype", help="dtype policy, for instance mixed_bfloat16; default: float32")
    train.add_argument("--augment", action=argparse.BooleanOptionalAction, help="flip and shift training images; "
                       "default: yes, but for digits")  # fmt: skip
    train.add_argument("--restart", action="store_true", help="delete the training in the folder and begin anew")

    evaluate = add(
        "evaluate", _evaluate, "Measure a network on validation images: accuracy, loss, the largest completeness "
        "residual, images per second.", "keras-coda evaluate --model runs/digits/model --json figures.json",
    )  # fmt: skip
    _add_model(evaluate)
    _add_data(evaluate)
    evaluate.add_argument("--json", metavar="FILE", help="also write the figures to this file")

    explain = add(
        "explain", _explain, "Explain predictions for image files. For every image it writes a picture (NAME.png: the "
        "image beside one map per class) and all numbers (NAME.npz, see Explanation.load).",
        "keras-coda explain --model runs/photos/model --top-k 2 --out reasons holiday/ cat.jpg",
    )  # fmt: skip
    explain.add_argument("paths", nargs="+", metavar="PATH", help="image, or folder of images (png, jpg, bmp, gif)")
    _add_model(explain)
    explain.add_argument("--out", required=True, metavar="FOLDER", help="where the results go")
    which = explain.add_mutually_exclusive_group()
    which.add_argument("--classes", metavar="A,B", help="names or indices; default: the predicted class")
    which.add_argument("--top-k", type=_positive, metavar="K", help="the K most probable classes instead")
    explain.add_argument("--wrt", metavar="LAYER", help="explain by this layer's activations instead of the pixels")
    explain.add_argument("--linear-map", action="store_true", help="add the linear map, and NAME.linear_map.png")
    explain.add_argument("--overwrite", action="store_true", help="replace results that exist")

    export = add(
        "export", _export, "Write a SavedModel that predicts and explains, and compare it, in bare TensorFlow, with "
        "Keras.", "keras-coda export --model runs/digits/model --out served/digits/1",
    )  # fmt: skip
    _add_model(export)
    export.add_argument("--out", required=True, metavar="FOLDER", help="must not exist; for TF Serving BASE/VERSION")
    export.add_argument("--top-k", type=_positive, default=1, metavar="K", help="classes explained per image")

    add("presets", _presets, "List the architectures that come with this package.", "keras-coda presets")
    return parser


def _add_model(command):
    command.add_argument("--model", required=True, metavar="FOLDER|PRESET", help="a trained network, such as OUT/model")


def _add_data(command):
    command.add_argument("--data", default="digits", metavar="SOURCE", help="digits, a TFDS name (cifar10) or a folder "
                         "of class folders")  # fmt: skip
    command.add_argument("--data-dir", metavar="FOLDER", help="where TFDS keeps its data")
    command.add_argument("--image-size", type=_size, metavar="SIDE|HxW", help="resize images; default: folders to "
                         "the network's size, others stay as they are")  # fmt: skip
    command.add_argument("--batch-size", type=_positive, default=64, help="images per step")
    command.add_argument("--validation-split", type=float, default=0.2, metavar="SHARE", help="held out, if the data "
                         "have no validation part")  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of weights, split and order")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, and keeps the lines of examples."""

    def _get_help_string(self, action):
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)

    def _fill_text(self, text, width, indent):
        is_prose = "\n" not in text
        return argparse.HelpFormatter._fill_text(self, text, width, indent) if is_prose else text


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=_Formatter, allow_abbrev=False, **kwargs)


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {text}")
    return number


def _size(text):
    sides = text.lower().split("x")
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"must be SIDE or HEIGHTxWIDTH. Received: {text}")
    return tuple(_positive(side) for side in (sides * 2)[:2])


_positive.__name__, _size.__name__ = "positive integer", "image size"  # argparse: "invalid positive integer value: 'x'"


# === Commands ===


def _demo(args):
    from keras_coda import demo

    results = demo.run(args.out, epochs=args.epochs, seed=args.seed)
    _print_table([
        ("validation accuracy", f"{results['validation_accuracy']:.2%}"),
        ("largest completeness residual", f"{results['largest_residual']:.1e}"),
        ("time per epoch", f"{results['seconds_per_epoch']:.2f} s"),
        ("SavedModel against Keras", f"{results['saved_model_difference']:.1e} (largest difference)"),
        *((name.replace("_", " "), results[name]) for name in ("pictures", "model", "saved_model")),
    ])  # fmt: skip


def _train(args):
    from keras_coda import training

    args.preset = args.preset or ("coda_digits" if args.data == "digits" else "coda_xs_cifar10")
    arguments = {key: value for key, value in vars(args).items() if key not in ("command", "debug", "out", "restart")}
    config = training.preset_config(args.preset)
    if training.is_finished(args.out, arguments, restart=args.restart):
        print(f"The training is finished: '{Path(args.out) / training.MODEL}' (--restart begins anew).")
        return
    if os.path.isdir(os.path.expanduser(args.data)) and args.image_size is None and None not in config["input_shape"]:
        args.image_size = config["input_shape"][:2]
        print("Images are resized to {}x{}, the preset's size (--image-size changes it).".format(*args.image_size))

    import keras

    keras.utils.set_random_seed(args.seed)
    data = _load(args, augment=args.augment)
    changed = {key: arguments[key] for key in ("temperature", "dtype") if arguments[key] is not None}
    model, notes = training.network(args.preset, data, **changed)
    print(*notes, sep="\n", end="\n" * bool(notes))
    print(f"{data.name}: {data.num_train} images to train on, {data.num_validation} to validate, "
          f"{data.num_classes} classes. {args.preset}: {model.count_params():,} parameters.")  # fmt: skip
    done = 0 if args.restart else training.epochs_done(args.out)
    if done:
        print(f"The training goes on after epoch {done} of {args.epochs}.")
    figures = training.train(
        model, data, args.out, epochs=args.epochs, learning_rate=args.learning_rate, warmup=args.warmup,
        arguments=arguments, restart=args.restart,
    )  # fmt: skip
    _print_table([
        ("validation accuracy", f"{figures['validation_accuracy']:.2%}"),
        ("validation loss", f"{figures['validation_loss']:.4f}"),
        ("time per epoch", f"{figures['seconds_per_epoch']:.2f} s"),
        ("network", Path(args.out) / training.MODEL),
    ])  # fmt: skip


def _evaluate(args):
    from keras_coda import training

    model = _load_model(args.model)
    *size, channels = model.input.shape[1:]
    if args.image_size is None and None not in size:
        args.image_size = tuple(size)
    data = _load(args, augment=False)
    if (data.num_classes, data.image_shape[-1]) != (model.num_classes, channels):
        raise ValueError(
            f"The data must fit the network: {model.num_classes} classes, {channels} channels. Received: data "
            f"{args.data!r}, {data.num_classes} classes, {data.image_shape[-1]} channels."
        )
    if model.class_names and tuple(data.class_names) != tuple(model.class_names):
        warnings.warn(f"The data name their classes {data.class_names}, the network {model.class_names}.", stacklevel=2)
    figures = {"model": str(args.model), "data": data.name}
    figures |= training.evaluate(model, data.validation, num_images=data.num_validation)
    _print_table([
        ("accuracy", f"{figures['accuracy']:.2%} of {figures['num_images']} images"),
        ("loss", f"{figures['loss']:.4f}"),
        ("largest residual", f"{figures['largest_residual']:.1e}"),
        ("images/s", f"{figures['images_per_second']:.0f} (prediction and map)"),
    ])  # fmt: skip
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _explain(args):
    from keras_coda.explain_files import explain_files

    model = _load_model(args.model)
    classes = None if args.classes is None else [entry.strip() for entry in args.classes.split(",")]
    rows = explain_files(
        model, args.paths, args.out, classes=classes, top_k=args.top_k, wrt=args.wrt,
        linear_map=args.linear_map, overwrite=args.overwrite,
    )  # fmt: skip
    _print_table([("file", "class", "probability", "residual"), *rows])


def _export(args):
    from keras_coda.saved_model import compare_saved_model

    model = _load_model(args.model)
    model.export(args.out, top_k=args.top_k)
    difference = compare_saved_model(model, args.out)
    _print_table([("SavedModel", args.out), ("SavedModel against Keras", f"{difference:.1e} (largest difference)")])


def _presets(args):
    from keras_coda import presets

    rows = [("name", "parameters", "input", "trained", "description")]
    for name in presets.names():
        config, folder = presets.architecture(name), presets.folder(name)
        size = "x".join("any" if side is None else str(side) for side in config["input_shape"])
        rows.append(
            (name, f"{presets.count_parameters(name):,}", size, "yes" if folder else "no", presets.description(name))
        )
    _print_table(rows)


# === Helpers of the commands ===


def _load_model(name):
    from keras_coda.model import CoDANet

    return CoDANet.from_preset(name, load_weights=True)


def _load(args, augment):
    from keras_coda import data

    return data.load(
        args.data, batch_size=args.batch_size, image_size=args.image_size, validation_split=args.validation_split,
        augment=augment, seed=args.seed, data_dir=args.data_dir,
    )  # fmt: skip


def _print_table(rows):
    """Print rows of equal length with aligned columns."""
    rows = [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _import_quietly():
    """Import TensorFlow without the lines it writes before its log level counts; keep any other message."""
    if "tensorflow" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with tempfile.TemporaryFile() as messages:
        stderr = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            import keras  # noqa: F401
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            with contextlib.suppress(RuntimeError):
                tf.config.list_physical_devices("GPU")  # looks for CUDA, and says what it finds
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            messages.seek(0)
            kept = [line for line in messages if not line.startswith(NOISE)]
            sys.stderr.write(b"".join(kept).decode(errors="replace"))
