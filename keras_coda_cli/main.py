"""The command line: dispatch. TensorFlow is imported by the commands that need it, not before."""

import contextlib
import os
import sys
import tempfile
import warnings

from keras_coda_cli import commands
from keras_coda_cli.arguments import parser

NOISE = (b"WARNING: All log messages before absl", b"I0000 ", b"W0000 ", b"E0000 ", b"To enable the following")


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    try:
        args = parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help, version or what is wrong
        return stop.code or 0
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"keras-coda: warning: {message}", file=sys.stderr)
        try:
            if args.command != "presets":
                _import_quietly()
            getattr(commands, args.command)(args)
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
