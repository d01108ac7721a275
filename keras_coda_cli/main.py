"""Read the arguments, check them, and only then import TensorFlow and run the command.

A command is a module of this package that is named in ``COMMANDS`` and defines

- ``DESCRIPTION``, whose first sentence the list of commands shows, and ``EXAMPLE``, both for ``--help``;
- ``add_arguments(parser)``;
- ``check(args)``, which finds wrong arguments with the standard library alone, and raises
  :class:`~keras_coda_cli.common.UsageError` for options that do not belong together, any other exception for values;
- ``run(args)``, which imports what it needs and prints its results;
- ``USES_TENSORFLOW = False`` if ``run`` needs nothing but the standard library.
"""

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from keras_coda_cli.common import Parser, UsageError, load_without_package

COMMANDS = (
    "demo",
    "train",
    "predict",
    "explain",
    "explore",
    "evaluate",
    "compare",
    "calibrate",
    "audit",
    "verify-audit",
    "explain-dataset",
    "tune",
    "export",
    "convert",
    "serve",
    "presets",
)  # in the order of the list that `keras-coda --help` shows

EPILOG = """exit codes: 0 done, 1 the work failed (the reason is on stderr), 2 wrong usage, 130 interrupted

example, from nothing to explanations:
  keras-coda train --data digits --out runs/digits
  keras-coda explain --model runs/digits/model --out explanations photo.png
"""
# Keras and TensorFlow import these where they are installed, for what no command uses: wrappers for scikit-learn, data
# in tables of pandas, galleries of pictures, models of JAX converted to LiteRT. They are up to half of the import.
UNUSED_BY_KERAS = ("IPython", "cv2", "jax", "matplotlib", "pandas", "sklearn")
NOISE = (b"WARNING: All log messages before absl", b"I0000 ", b"W0000 ", b"E0000 ", b"To enable the following")


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files need not be text in the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    commands = {name: importlib.import_module(f"keras_coda_cli.{name.replace('-', '_')}") for name in COMMANDS}
    parser, parsers = _parsers(commands)
    try:
        args = parser.parse_args(argv)
        return _run(commands[args.command], args, parsers[args.command].error)
    except SystemExit as stop:  # argparse has printed the help, the version or the error
        return int(stop.code or 0)


def _parsers(commands: dict[str, ModuleType]) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser of the program, and those of its commands by name."""
    version = load_without_package("version").__version__
    top = Parser("keras-coda", epilog=EPILOG, description="Image classifiers that explain themselves exactly.")
    top.add_argument("--version", action="version", version=f"keras-coda {version}")
    group = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parsers: dict[str, argparse.ArgumentParser] = {}
    for name, command in commands.items():
        text = command.DESCRIPTION
        options = {"description": text, "epilog": f"example:\n  {command.EXAMPLE}"}
        parsers[name] = group.add_parser(name, help=text.split(". ")[0].rstrip("."), **options)
        parsers[name].set_defaults(command=name)
        parsers[name].add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.add_arguments(parsers[name])
    return top, parsers


def _run(command: ModuleType, args: argparse.Namespace, usage_error: Callable[[str], None]) -> int:
    """Check the arguments and run the command; return the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"keras-coda: warning: {message}", file=sys.stderr)
        try:
            command.check(args)
            if getattr(command, "USES_TENSORFLOW", True):
                _import_quietly()
            command.run(args)
        except UsageError as error:
            usage_error(str(error))  # prints the usage, too, and exits with 2
        except KeyboardInterrupt as stop:
            hint = f". {stop}" if str(stop) else ""  # how to continue, see `common.resumable`
            print(f"\nkeras-coda: interrupted{hint}", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the program that reads our output has ended, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if args.debug:
                raise
            print(f"keras-coda: error: {str(error).strip() or type(error).__name__}", file=sys.stderr)
            return 1
    return 0


def _import_quietly() -> None:
    """Import TensorFlow without the messages it prints before its log level takes effect; keep all other messages."""
    if "tensorflow" in sys.modules:
        return
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        _import_keras()
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with tempfile.TemporaryFile() as messages:
        stderr = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            _import_keras()
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.get_logger().setLevel("ERROR")
                with contextlib.suppress(RuntimeError):
                    tf.config.list_physical_devices("GPU")  # loads CUDA, which prints messages
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            messages.seek(0)
            kept = [line for line in messages if not line.startswith(NOISE)]
            sys.stderr.write(b"".join(kept).decode(errors="replace"))


def _import_keras() -> None:
    """Import Keras and its backend, at first without what they do not need here."""
    try:
        with hidden(*(name for name in UNUSED_BY_KERAS if name != os.environ.get("KERAS_BACKEND"))):
            import keras
    except ImportError:  # JAX is the backend in Keras' configuration file, or a later version does need one of them
        try:
            import keras  # noqa: F401
        except ModuleNotFoundError as error:  # of Keras' backend
            raise ImportError(
                f"The backend of Keras must be installed. Received: {error}, "
                f"KERAS_BACKEND={os.environ.get('KERAS_BACKEND', 'not set')}. Install it, or set KERAS_BACKEND=jax."
            ) from error


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Let imports of these packages fail in the block as if they were not installed, unless they are imported yet."""
    missing = [name for name in names if name not in sys.modules]
    blocks: dict[str, Any] = dict.fromkeys(missing)  # None for a module: Python's way to block its import
    sys.modules.update(blocks)
    try:
        yield
    finally:
        for name in missing:
            sys.modules.pop(name, None)


if __name__ == "__main__":
    sys.exit(main())
