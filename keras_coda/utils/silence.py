"""Hiding what libraries write to the terminal, including output that native code writes past Python."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def hush() -> Iterator[None]:
    """Hide logged warnings and everything written to file descriptor 2, also by native code; show it after an error.

    This applies to the whole process, including other threads.
    """
    threshold = logging.root.manager.disable
    logging.disable(max(threshold, logging.WARNING))
    try:
        with _stderr_kept():
            yield
    finally:
        logging.disable(threshold)


@contextlib.contextmanager
def _stderr_kept() -> Iterator[None]:
    try:
        screen = os.dup(2)
    except OSError:  # closed, as in a program without a terminal: there is nothing to hide
        yield
        return
    with tempfile.TemporaryFile() as log:
        _flush()
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(screen, log.read())
            raise
        finally:
            _flush()
            os.dup2(screen, 2)
            os.close(screen)


def _flush() -> None:
    if sys.stderr is not None:  # it is None in programs without a console
        sys.stderr.flush()
