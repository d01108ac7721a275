"""What several commands share: the parser, types of arguments, arguments, and helpers to run."""

import argparse
import contextlib
import functools
import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

# === Errors and interrupts ===


class UsageError(Exception):
    """Options that do not belong together, or one that is missing: the exit code is 2."""


class Interrupted(KeyboardInterrupt):
    """An interrupt of work that can be resumed; its text says how."""


@contextlib.contextmanager
def resumable(progress: Callable[[], str], restart: bool = False) -> Iterator[None]:
    """Tell a user who interrupts the block how to continue.

    Args:
        progress: returns a sentence about what is done and kept. It is called after an interrupt.
        restart: whether the command began anew because of ``--restart``, which must not be repeated.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        same = "the same command without --restart" if restart else "the same command"
        raise Interrupted(f"{progress()} Run {same} to go on.") from stop


# === Modules of the package ===


def package_folder() -> Path:
    """Return the folder of keras_coda without importing it: ``find_spec`` does not execute a top-level package."""
    spec = importlib.util.find_spec("keras_coda")
    assert spec is not None  # it is installed with this package
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@functools.cache
def load_without_package(name: str) -> ModuleType:
    """Load one module of keras_coda by its path.

    ``import keras_coda.x`` would first import ``keras_coda``, and with it TensorFlow, which takes seconds. This works
    for modules that import nothing but the standard library.

    Args:
        name: such as ``"version"`` or ``"models.architectures"``.
    """
    path = package_folder().joinpath(*name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"keras_coda_cli.alone.{name}", path)
    assert spec is not None  # neither is None for a file that ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# === Parser and types of arguments ===


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, and keeps the line breaks of examples."""

    def _get_help_string(self, action):
        has_default = action.default not in (None, []) and action.default is not False
        return super()._get_help_string(action) if has_default else action.help

    def _fill_text(self, text, width, indent):
        is_prose = "\n" not in text
        return argparse.HelpFormatter._fill_text(self, text, width, indent) if is_prose else text  # noqa: SLF001


class Parser(argparse.ArgumentParser):
    """A parser that shows defaults and examples, and takes no abbreviations of options."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=_Formatter, allow_abbrev=False, **kwargs)


def positive(text: str) -> int:
    """Return a positive integer."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {text}")
    return number


def port(text: str) -> int:
    """Return the number of a port; 0 stands for any free one."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be in 0 to 65535. Received: {text}")
    return number


def image_size(text: str) -> tuple[int, int]:
    """Return the height and width of ``SIDE`` or ``HEIGHTxWIDTH``, in pixels."""
    return _pair(text, "SIDE or HEIGHTxWIDTH")


def grid(text: str) -> tuple[int, int]:
    """Return the rows and columns of ``SIDE`` or ``ROWSxCOLUMNS``, at least two cells."""
    rows, columns = _pair(text, "SIDE or ROWSxCOLUMNS")
    if rows * columns < 2:
        raise argparse.ArgumentTypeError(f"must have at least two cells. Received: {text}")
    return rows, columns


def _pair(text, form):
    sides = text.lower().split("x")
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"must be {form}. Received: {text}")
    height, width = (sides * 2)[:2]
    return positive(height), positive(width)


# argparse names a type in its errors: "invalid positive integer value: 'x'".
positive.__name__, image_size.__name__ = "positive integer", "image size"


# === Arguments ===


MODEL = "FOLDER|FILE|PRESET"
MAX_SIDE = 512  # of images for a network that takes any size: maps of larger ones take many seconds
IMAGES_HELP = "image, or folder of images (png, jpg, tif, webp, bmp, gif; no hidden files)"
MODEL_HELP = "a trained network: OUT/model of train, a .keras file, or the name of a preset"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, required."""
    parser.add_argument("--model", required=True, metavar=MODEL, help=MODEL_HELP)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add what defines a data set: ``--data``, ``--image-size``, ``--seed`` and others."""
    parser.add_argument(
        "--data",
        default="digits",
        metavar="SOURCE",
        help="digits, the name of a data set of TFDS (cifar10), a folder with one folder of images per class, or a CSV "
        "file with several labels per image: file,cat,dog in its first line, then a path and 0 or 1 for each class",
    )
    parser.add_argument(
        "--validation-data", metavar="FILE", help="a second CSV file, with the images used for validation"
    )
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder in which TFDS stores its data")
    parser.add_argument(
        "--image-size",
        type=image_size,
        metavar="SIDE|HxW",
        help="resize images; default: those of a folder to the network's size, others not",
    )
    parser.add_argument("--batch-size", type=positive, default=64, help="images per step")
    parser.add_argument(
        "--validation-split",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the images used for validation, if the data have no validation part",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, validation split and order of images")


def reads_files(source: str) -> bool:
    """Return whether the data set of :func:`add_data` consists of image files: a folder, or a CSV file of labels."""
    return Path(source).expanduser().is_dir() or load_without_package("data.label_tables").is_table(source)


def add_grid(parser: argparse._ActionsContainer, option: str = "--grid") -> None:
    """Add the option for the size of the grids of localization."""
    parser.add_argument(
        option,
        type=grid,
        metavar="SIDE|RxC",
        help="images along each side of a grid of localization, or rows x columns, all of different classes; default: "
        "the largest of 3, 2, 1x3 and 1x2 that there are classes for",
    )


def add_max_side(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-side``, see :func:`max_side`."""
    parser.add_argument(
        "--max-side",
        type=_side,
        metavar="PIXELS",
        help="if the network takes images of any size, reduce those with a longer side to this; 0: keep their size; "
        f"default: {MAX_SIDE}",
    )


def max_side(args: argparse.Namespace) -> int | None:
    """Return the longest side of images for a network that takes any size; None for no limit."""
    return MAX_SIDE if args.max_side is None else args.max_side or None


def _side(text):
    return 0 if text == "0" else positive(text)


_side.__name__ = "number of pixels"


# === Helpers to run ===


def load_model(name: str, *, any_model: bool = False):
    """Return a trained network: a preset, a folder or a ``.keras`` file.

    Args:
        name: of the preset, folder or file.
        any_model: whether a file may hold any Keras model.
    """
    from keras_coda.models import files

    return files.load_keras_file(name) if any_model and files.is_keras_file(name) else files.load_network(name)


def load_data_for(model, args: argparse.Namespace):
    """Load the data set of :func:`add_data` at the image size of a network.

    Raises:
        ValueError: if the network has other classes or channels.
    """
    from keras_coda.data.load import load

    *size, channels = model.input.shape[1:]
    if args.image_size is None and None not in size:
        args.image_size = tuple(size)
    data = load(
        args.data,
        batch_size=args.batch_size,
        image_size=args.image_size,
        validation_split=args.validation_split,
        validation=args.validation_data,
        window=model.window if reads_files(args.data) else None,
        preparation=_preparation_for(model, args),
        augment=False,
        seed=args.seed,
        data_dir=args.data_dir,
    )
    if (data.num_classes, data.image_shape[-1]) != (model.num_classes, channels):
        raise ValueError(
            f"The data must fit the network: {model.num_classes} classes, {channels} channels. Received: data "
            f"{args.data!r}, {data.num_classes} classes, {data.image_shape[-1]} channels."
        )
    if data.multi_label != model.multi_label:
        raise ValueError(
            "The data and the network must agree on whether images have several labels (a CSV file). Received: data "
            f"{args.data!r}, multi_label={data.multi_label}, and a network with multi_label={model.multi_label}."
        )
    if model.class_names and tuple(data.class_names) != tuple(model.class_names):
        warnings.warn(
            f"The class names of the data differ from the network's. Received: {data.class_names}, the network has "
            f"{model.class_names}.",
            stacklevel=2,
        )
    return data


def _preparation_for(model, args):
    """Return the preparation of a network if it makes the images that were asked for; warn if they are no photos."""
    prepared = model.preparation
    if prepared is None or args.image_size not in (None, (prepared.crop, prepared.crop)):
        return None
    if args.data != "digits":
        return prepared
    warnings.warn(
        f"Only photos are prepared as the network's {prepared} says. Received: data {args.data!r}, whose images are "
        "scaled to cover the network's size and cut to it.",
        stacklevel=3,
    )
    return None


def print_table(rows: Iterable[Sequence]) -> None:
    """Print rows of equal length with aligned columns; what terminals cannot show is escaped."""
    rows = [[_printable(str(cell)) for cell in row] for row in rows]
    print(load_without_package("utils.tables").text_table(rows))


def _printable(text):
    """Escape what a file name, or the name of a class on a server, may hold: control characters, bytes not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
