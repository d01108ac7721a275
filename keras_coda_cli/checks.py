"""Checks of arguments that need nothing but the standard library, so that errors need not wait for TensorFlow.

The package checks its arguments itself; these are the checks that are cheap to make before it is imported. All raise an
error of the form "rule. Received: value. fix."
"""

import argparse
import importlib.util
import json
import math
import os
import re
import zipfile
from pathlib import Path

from keras_coda_cli.common import UsageError, load_without_package, package_folder

# Names of data sets of TFDS: "cifar10", "imagenette/160px-v2", "mnist:3.*.*". Anything else is meant as a path.
_TFDS_NAME = re.compile(r"[\w:]+(/[\w.=,+:*-]+)*(:[\w.*]+)?")
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"  # files of a preset folder


def require(condition, rule: str, received, fix: str = "", error: type[Exception] = ValueError) -> None:
    """Raise the error "rule. Received: value. fix." unless a condition holds."""
    if not condition:
        raise error(f"{rule}. Received: {received}.{f' {fix}.' if fix else ''}")


def require_range(args: argparse.Namespace, option: str, low: float, high: float = math.inf, ends: str = "()") -> None:
    """Check that the number of an option, if it was given, is finite and lies in a range.

    Args:
        args: the arguments.
        option: such as ``"--learning-rate"``.
        low: the lower end.
        high: the upper end, infinity for none.
        ends: a bracket for each end that belongs to the range, a parenthesis for each that does not.
    """
    value = value_of(args, option)
    if value is None:
        return
    above = value >= low if ends[0] == "[" else value > low
    below = value <= high if ends[1] == "]" else value < high
    words = "at least" if ends[0] == "[" else "greater than"
    rule = f"{words} {low:g}" if high == math.inf else f"in {ends[0]}{low:g}, {high:g}{ends[1]}"
    require(math.isfinite(value) and above and below, f"{option} must be {rule}", value)


def check_dtype(policy: str | None) -> None:
    """Check that networks learn with a dtype policy: the steps of training get lost in 16-bit weights."""
    is_fit = policy not in ("bfloat16", "float16")
    require(is_fit, "--dtype must have float32 weights", policy, f"Use --dtype mixed_{policy}")


def require_extra(extra: str, *modules: str, purpose: str) -> None:
    """Check that optional packages are installed, without importing them.

    Args:
        extra: the name in ``pip install "keras-coda[extra]"``.
        *modules: their top-level modules.
        purpose: what needs them, the beginning of the error.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f"{purpose} needs {module}. Received: No module named {module!r}. "
                f'Install it: pip install "keras-coda[{extra}]".'
            )


def given(args: argparse.Namespace, *options: str) -> list[str]:
    """Return those of the options that were given."""
    values = {option: value_of(args, option) for option in options}
    return [option for option, value in values.items() if value is not None and value is not False]  # 0 was given


def value_of(args: argparse.Namespace, option: str):
    """Return the value of an option such as ``"--learning-rate"``."""
    return getattr(args, option.removeprefix("--").replace("-", "_"))


def require_usage(condition, text: str) -> None:
    """Raise the :class:`UsageError` with a text unless a condition holds."""
    if not condition:
        raise UsageError(text)


# === Networks and data ===


def check_model(name: str) -> None:
    """Check that ``--model`` is a folder with a trained network, a ``.keras`` file, or a preset with weights."""
    if name.lower().endswith(".keras"):
        rule = "--model must be a preset, a preset folder or a .keras file"
        path = check_readable(name, rule)
        require(zipfile.is_zipfile(path), rule, f"'{name}', which Keras did not write", "Use `model.save`")
        return
    folder = preset_folder(name)
    fix = "Train it first, `keras-coda train`, and pass OUT/model"
    require(folder is not None, "--model must have trained weights", f"{name!r}, a preset without weights", fix)


def check_grid(grid: tuple[int, int] | None, model: str) -> None:
    """Check that a network, for which :func:`check_model` was called, has as many classes as ``--grid`` has cells."""
    folder = preset_folder(model)
    if grid is None or folder is None:
        return
    try:
        num_classes = int(json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["config"]["num_classes"])
    except (OSError, ValueError, LookupError, TypeError):  # whoever loads the network says what is wrong with it
        return
    rows, columns = grid
    rule = f"--grid {rows}x{columns} needs a network of at least {rows * columns} classes"
    require(rows * columns <= num_classes, rule, num_classes, "Leave it out for the largest that fits")


def preset_folder(name: str) -> Path | None:
    """Return the folder of a preset, given by name or folder; None for an architecture that has no weights.

    Raises:
        ValueError: if it is neither the name of a preset nor a preset folder.
    """
    path, presets = Path(name).expanduser(), load_without_package("models.architectures")
    if (path / _CONFIG).is_file():
        require((path / _WEIGHTS).is_file(), f"A preset folder holds '{_CONFIG}' and '{_WEIGHTS}'", f"'{path}'")
        return path
    if path.is_dir() and name not in presets.names():
        files = f"'{path}' with {sorted(file.name for file in path.iterdir())[:10]}"
        require(False, f"A preset folder holds '{_CONFIG}' and '{_WEIGHTS}'", files, "Training writes OUT/model")
    return shipped_folder(presets.check_name(name))


def is_graph(folder: Path) -> bool:
    """Return whether a preset folder holds a graph of layers, and not the arguments of an architecture."""
    try:
        return "output_layers" in json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, LookupError, TypeError):  # whoever loads the network says what is wrong with it
        return False


def shipped_folder(name: str) -> Path | None:
    """Return the folder with the weights that come with the preset of a name, or None."""
    folder = package_folder() / "models" / "shipped" / name
    return folder if (folder / _CONFIG).is_file() else None


def check_data(args: argparse.Namespace) -> None:
    """Check the arguments of :func:`keras_coda_cli.common.add_data`."""
    require_range(args, "--validation-split", 0, 1)
    require_range(args, "--seed", 0, 2**32, "[)")
    path, tables = Path(args.data).expanduser(), load_without_package("data.label_tables")
    is_table = tables.is_table(args.data)
    text = "argument --validation-data: only allowed with --data FILE.csv"
    require_usage(is_table or args.validation_data is None, text)
    if is_table:
        rule = f"{args.command} needs images with one label each"
        require(args.command in ("train", "evaluate"), rule, f"--data {args.data}", "Use folders of images")
        tables.read_tables(args.data, args.validation_data)  # raises for wrong lines
    if args.data == "digits" or is_table:
        return
    if path.is_dir():
        load_without_package("data.listing").find_parts(path)  # raises if it is not clear which folders are classes
        return
    rule = "--data must be digits, an existing folder or the name of a data set of TFDS"
    require(
        not path.is_file(), rule, f"'{args.data}', a file", "Pass the folder with one folder per class, or a .csv file"
    )
    is_name = _TFDS_NAME.fullmatch(args.data) and not args.data.endswith("/")
    require(is_name, rule, f"'{args.data}', a path that does not exist")
    purpose = f"--data '{args.data}', which is no folder and so is read as a data set of TFDS,"
    require_extra("tfds", "tensorflow_datasets", purpose=purpose)


def check_images(path: str) -> None:
    """Check that a path is a readable file, or a folder with images."""
    found = check_readable(path, "Paths must be readable image files or folders")
    if found.is_dir():
        listing = load_without_package("data.listing")
        images = listing.Images.of(found)
        received = " ".join([f"'{path}', without.", *images.left_out()]).removesuffix(".")
        require(images.paths, f"A folder must hold images ({', '.join(listing.EXTENSIONS)})", received)


# === Paths ===


def check_out_folder(path: str) -> None:
    """Check that a folder can be written to, or created: it may exist."""
    folder = Path(path).expanduser()
    require(os.path.isdir(folder) or not os.path.lexists(folder), "--out must be a folder", f"'{path}', a file")
    _check_writable(folder, "--out")


def check_new_path(path: str, what: str = "folder") -> None:
    """Check that nothing is at a path yet, and that a file or folder can be created there."""
    load_without_package("utils.atomic").check_new(path, what, "--out")


def check_file_to_write(path: str, option: str) -> None:
    """Check that a file can be written, in a folder that exists."""
    file = Path(path).expanduser()
    require(not os.path.isdir(file), f"{option} must be a file", f"'{path}', a folder")
    rule, fix = f"The folder of {option} must exist", f"Create '{file.parent}'"
    require(file.parent.is_dir(), rule, f"'{path}'", fix, FileNotFoundError)
    _check_writable(file, option)


def check_readable(path: str, rule: str) -> Path:
    """Check that a file or folder exists and may be read; return its path."""
    found = Path(path).expanduser()
    require(found.exists(), rule, f"'{path}', which does not exist")
    is_allowed = os.access(found, os.R_OK | (os.X_OK if found.is_dir() else 0))
    require(is_allowed, rule, f"'{path}', which may not be read", "Change its permissions", PermissionError)
    return found


def _check_writable(path, option):
    load_without_package("utils.atomic").check_writable(path, option)
