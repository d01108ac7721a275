"""The arguments of the command line."""

import argparse
from importlib import metadata

EPILOG = """exit codes: 0 done, 1 the work failed (the reason is on stderr), 2 wrong usage, 130 interrupted

example, from nothing to reasons:
  keras-coda train --data digits --out runs/digits
  keras-coda explain --model runs/digits/model --out reasons photo.png
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser; ``command`` is the name of a function in :mod:`keras_coda_cli.commands`."""
    top = _Parser("keras-coda", epilog=EPILOG, description="Image classifiers that explain themselves exactly.")
    top.add_argument("--version", action="version", version=f"keras-coda {metadata.version('keras-coda')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name, text, example):
        command = commands.add_parser(
            name, help=text.split(". ")[0].rstrip("."), description=text, epilog=f"example:\n  {example}"
        )
        command.set_defaults(command=name)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    demo = add(
        "demo", "Train on 1,797 scanned digits, explain, export and check all of it, in about a minute. Writes "
        "pictures, the trained network and a SavedModel.", "keras-coda demo --out demo",
    )  # fmt: skip
    demo.add_argument("--out", default="demo", metavar="FOLDER", help="an earlier demo there is replaced")
    demo.add_argument("--epochs", type=_positive, default=20, help="passes over the training images")
    demo.add_argument("--seed", type=int, default=0, help="of weights, split and order")

    train = add(
        "train", "Train a network. Killed, it goes on from its last epoch when the same command is run again. "
        "OUT/model is the result, OUT/log.csv the history.",
        "keras-coda train --preset coda_xs_cifar10 --data photos/ --image-size 64 --epochs 50 --out runs/photos",
    )  # fmt: skip
    train.add_argument("--preset", metavar="NAME|FOLDER", help="architecture (`keras-coda presets`), or a trained "
                       "network to start from; default: coda_digits for digits, coda_xs_cifar10 otherwise")  # fmt: skip
    _add_data(train)
    train.add_argument("--out", required=True, metavar="FOLDER", help="the folder of this training")
    train.add_argument("--temperature", type=float, help="larger: sharper maps; default: the preset's")
    train.add_argument(
        "--pixel-dropout",
        type=float,
        metavar="SHARE",
        help="remove up to this share of an image's pixels at random; default: the preset's",
    )
    train.add_argument("--dtype", help="dtype policy, for instance mixed_bfloat16; default: float32")
    train.add_argument("--pretrained", action="store_true", help="start from the weights that come with the NAME of a "
                       "preset; those in a FOLDER are the start in any case")  # fmt: skip
    train.add_argument("--restart", action="store_true", help="delete the training in the folder and begin anew")
    train.set_defaults(batch_size=None)
    recipe = train.add_argument_group(
        "recipe", "What these options, and --batch-size, leave open. default: 20 epochs on batches of 64 with a peak "
        "rate of 0.01, warm-up 0.1 and cosine decay. paper: the authors' for CIFAR-10 (200 epochs on batches of 16) "
        "or, for networks that take images of 128 pixels and more, for ImageNet-100 (60 on batches of 64), with an "
        "estimate of the time it takes here.",
    )  # fmt: skip
    recipe.add_argument("--recipe", choices=("default", "paper"), default="default", help="where to begin")
    recipe.add_argument("--epochs", type=_positive, help="passes over the training images")
    recipe.add_argument("--learning-rate", type=float, metavar="RATE", help="the peak, after warm-up")
    recipe.add_argument("--warmup", type=float, metavar="SHARE", help="of the training, with a rising rate")
    recipe.add_argument("--augmentation", choices=("none", "flip_crop", "rand_augment"), help="of training images")
    recipe.add_argument("--ema", type=float, metavar="MOMENTUM", help="average the weights, for instance by 0.999")
    recipe.add_argument("--linear-map-regularization", type=float, metavar="LAMBDA", help="weight of mean|W| in the "
                        "loss: smaller linear maps, steps that take three times as long")  # fmt: skip
    recipe.add_argument("--map-consistency", type=float, metavar="MU", help="weight in the loss of the maps' failure "
                        "to foretell what the removal of pixels does; for networks trained before")  # fmt: skip
    watch = train.add_argument_group("while it learns")
    watch.add_argument("--maps", type=_positive, metavar="N", help="draw the maps of N validation images after every "
                       "epoch, in OUT/maps")  # fmt: skip
    watch.add_argument("--localization", type=_positive, metavar="N", help="measure localization every N epochs")
    watch.add_argument("--tensorboard", action="store_true", help="write OUT/tensorboard, too")

    evaluate = add(
        "evaluate", "Measure a network on validation images: accuracy, loss, the largest completeness "
        "residual, images per second.", "keras-coda evaluate --model runs/digits/model --json figures.json",
    )  # fmt: skip
    _add_model(evaluate)
    _add_data(evaluate)
    evaluate.add_argument("--json", metavar="FILE", help="also write the figures to this file")

    compare = add(
        "compare", "Measure contribution maps and tf-explain's post-hoc methods beside each other: localization and "
        "pixel removal. Killed, it goes on when the same command is run again. Prints a table; OUT/comparison.png is "
        "the figure.", "keras-coda compare --model coda_digits --methods GradCAM,VanillaGradients --out comparison",
    )  # fmt: skip
    _add_model(compare)
    _add_data(compare)
    compare.add_argument("--out", required=True, metavar="FOLDER", help="where the results are kept")
    compare.add_argument("--methods", metavar="A,B", help="names of methods; default: all")
    compare.add_argument("--grids", type=_positive, default=500, metavar="N", help="grids for localization")
    compare.add_argument("--images", type=_positive, default=1024, metavar="N", help="images for pixel removal")

    tune = add(
        "tune", "Search for temperature, ranks, learning rate and regularization with KerasTuner, by validation "
        "accuracy and localization. Killed, it goes on when the same command is run again. VALUES are a number, a "
        "range LOW:HIGH (logarithmic) or a choice A,B,C.",
        "keras-coda tune --data digits --temperature 5:500 --trials 10 --epochs 5 --out search",
    )  # fmt: skip
    tune.add_argument("--preset", metavar="NAME|FOLDER", help="architecture; default as for train")
    _add_data(tune)
    tune.add_argument("--out", required=True, metavar="FOLDER", help="the folder of this search")
    tune.add_argument("--oracle", choices=("bayesian", "random", "grid", "hyperband"), default="bayesian")
    tune.add_argument("--trials", type=_positive, metavar="N", help="how many; default: 20, grid: all")
    tune.add_argument("--epochs", type=_positive, default=10, help="of each trial; hyperband: at most")
    for name, what in (
        ("temperature", "default: a tenth to ten times the preset's"),
        ("rank-multiplier", "factor of the preset's ranks; default: 1"),
        ("learning-rate", "the peak; default: 0.001 to 0.03"),
        ("linear-map-regularization", "weight of mean|W| in the loss; default: 0"),
    ):
        tune.add_argument(f"--{name}", type=_space, metavar="VALUES", help=what)
    tune.add_argument("--accuracy-weight", type=float, metavar="W", help="maximize W accuracy + (1 - W) localization; "
                      "default: their sum")  # fmt: skip

    explain = add(
        "explain", "Explain predictions for image files, or for a video. For every image it writes a picture "
        "(NAME.png: the image beside one map per class) and all numbers (NAME.npz, see Explanation.load); for a video "
        "another one, of frames beside their maps.",
        "keras-coda explain --model runs/photos/model --top-k 2 --out reasons holiday/ cat.jpg\n"
        "  keras-coda explain --model runs/photos/model --classes cat --start 10 --end 25 --video cat.mp4 reasons.mp4",
    )  # fmt: skip
    explain.check = _check_explain
    explain.add_argument("paths", nargs="*", metavar="PATH", help="image, or folder of images (png, jpg, bmp, gif)")
    source = explain.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="FOLDER|PRESET", help="a trained network, such as OUT/model")
    source.add_argument("--server", metavar="URL", help="a model on a server: http://HOST:PORT/v1/models/NAME or "
                        "grpc://HOST:PORT/NAME; it needs keras-coda[serving]")  # fmt: skip
    explain.add_argument("--out", metavar="FOLDER", help="where the results for images go")
    which = explain.add_mutually_exclusive_group()
    which.add_argument("--classes", metavar="A,B", help="names or indices; default: the predicted class. "
                       "For a video one; default: the most frequent prediction")  # fmt: skip
    which.add_argument("--top-k", type=_positive, metavar="K", help="the K most probable classes instead")
    explain.add_argument("--wrt", metavar="LAYER", help="explain by this layer's activations instead of the pixels")
    explain.add_argument("--linear-map", action="store_true", help="add the linear map, and NAME.linear_map.png")
    explain.add_argument("--overwrite", action="store_true", help="replace results that exist")
    video = explain.add_argument_group(
        "video", "It needs keras-coda[video]. Colors mean the same in all frames, frames keep their times, sound is "
        "dropped. A network of fixed size sees the middle of the frame, or of the region, cut to its proportions.",
    )  # fmt: skip
    video.add_argument("--video", nargs=2, metavar=("IN", "OUT"), help="explain a video; OUT ends in .mp4, .mov "
                       "(H.264) or .mkv (every pixel as it is)")  # fmt: skip
    video.add_argument("--region", type=_region, metavar="X,Y,W,H", help="pixels of the video to look at; default: all")
    video.add_argument("--start", type=float, metavar="SECONDS", help="where to begin; default: 0")
    video.add_argument("--end", type=float, metavar="SECONDS", help="where to end; default: where the video does")
    video.add_argument("--image-size", type=_size, metavar="SIDE|HxW", help="resize frames, for a network of any size")

    explore = add(
        "explore", "Explore networks in a browser. Images of your own or examples: the most probable classes, the maps "
        "that make their logits, what if some pixels were gone, nine images in one. It needs keras-coda[explore]; "
        "nothing that is given to it is kept.",
        "keras-coda explore --model runs/photos/model --open",
    )  # fmt: skip
    explore.add_argument("--model", action="append", default=[], metavar="FOLDER|PRESET", help="a trained network, "
                         "before those that come with the package; may be repeated")  # fmt: skip
    explore.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; any but this one lets others use it"
    )
    explore.add_argument("--port", type=_port, metavar="N", help="0: any that is free; default: the first free one "
                         "from 7860")  # fmt: skip
    explore.add_argument("--max-upload-mb", type=_positive, default=10, metavar="N", help="limit of a file, in MiB")
    explore.add_argument("--open", action="store_true", help="open it in the browser")

    export = add(
        "export", "Write a network that predicts and explains: a SavedModel for TensorFlow and TF Serving, compared "
        "with Keras in bare TensorFlow, or one file for ONNX Runtime or LiteRT.",
        "keras-coda export --model runs/photos/model --out served/photos/1 --top-k 3 --verify",
    )  # fmt: skip
    _add_model(export)
    export.add_argument("--out", required=True, metavar="PATH", help="must not exist; for TF Serving BASE/VERSION")
    export.add_argument("--format", choices=("tf_saved_model", "onnx", "litert"), default="tf_saved_model")
    export.add_argument("--top-k", type=_positive, default=1, metavar="K", help="classes explained per image")
    export.add_argument("--image-size", type=_size, metavar="SIDE|HxW", help="fix it, of a network for any size")
    export.add_argument("--linear-map", action="store_true", help="return the linear map with the maps, too")
    export.add_argument("--warmup", action=argparse.BooleanOptionalAction, default=None, help="add requests that TF "
                        "Serving runs as it loads the model; default: if keras-coda[serving] is there")  # fmt: skip
    export.add_argument("--verify", action="store_true", help="check the folder as TF Serving would want it, replay "
                        "the warm-up, print residuals")  # fmt: skip

    add("presets", "List the architectures that come with this package.", "keras-coda presets")
    return top


def _check_explain(parser, args):
    """End with what is wrong unless the arguments are those for images, or those for a video."""
    images = {"PATH": args.paths, "--out": args.out}
    other = {"--server": args.server, "--top-k": args.top_k, "--wrt": args.wrt, "--linear-map": args.linear_map}
    video = {f"--{name}": getattr(args, name.replace("-", "_")) for name in ("region", "start", "end", "image-size")}
    if args.video:
        wrong = [name for name, value in {**images, **other}.items() if value]
        if wrong:
            parser.error(f"not allowed with --video IN OUT: {', '.join(wrong)}")
        if args.classes and "," in args.classes:
            parser.error("argument --classes: a video is explained for one class")
        return
    missing = [name for name, value in images.items() if not value]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}; or --video IN OUT")
    wrong = [name for name, value in video.items() if value is not None]
    if wrong:
        parser.error(f"only allowed with --video IN OUT: {', '.join(wrong)}")


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
        return argparse.HelpFormatter._fill_text(self, text, width, indent) if is_prose else text  # noqa: SLF001


class _Parser(argparse.ArgumentParser):
    check = None  # of arguments that argparse finds right one by one

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=_Formatter, allow_abbrev=False, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        namespace, rest = super().parse_known_args(args, namespace)
        if self.check and not rest:
            self.check(self, namespace)
        return namespace, rest


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {text}")
    return number


def _port(text):
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be in 0 to 65535. Received: {text}")
    return number


def _size(text):
    sides = text.lower().split("x")
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"must be SIDE or HEIGHTxWIDTH. Received: {text}")
    return tuple(_positive(side) for side in (sides * 2)[:2])


def _region(text):
    numbers = tuple(map(int, text.split(",")))
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"must be X,Y,WIDTH,HEIGHT. Received: {text}")
    return numbers


def _space(text):
    if ":" in text:
        low, high = map(float, text.split(":"))
        return low, high
    values = [float(value) for value in text.split(",")]
    return values if len(values) > 1 else values[0]


_space.__name__ = "number, LOW:HIGH or A,B,C"
_region.__name__ = "region X,Y,W,H"
_port.__name__ = "port"
_positive.__name__, _size.__name__ = "positive integer", "image size"  # argparse: "invalid positive integer value: 'x'"
