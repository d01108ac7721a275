"""Processes that tests start: free ports, and waiting until something has happened."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable


def free_ports(count: int) -> list[int]:
    """Return so many different ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen | None = None, *, seconds: float = 600
) -> bool:
    """Wait until a condition holds, and return whether it does.

    Args:
        condition: it is asked again and again.
        process: if it ends, nobody waits any longer.
        seconds: the longest time; long enough for machines under load.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            return bool(condition())
        time.sleep(0.005)
    return True
