"""Silence while libraries work that report every step, past Python's own means."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def hush() -> Iterator[None]:
    """Keep warnings that are logged, and what C++ writes to file descriptor 2, off the screen; show it after an error.

    It holds for the whole process, other threads included.
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
    except OSError:  # closed, as for a program without a terminal: nobody sees it anyway
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
    if sys.stderr is not None:  # it is for programs without a console
        sys.stderr.flush()
