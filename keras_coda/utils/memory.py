"""How much memory is free."""

import contextlib
import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")  # the limits of a container: its own view of version 2, or version 1 below "memory"
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def available_memory() -> int | None:
    """Return about how many bytes this process may still use, within the limits of a container; None if unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    if not found:  # not Linux: all memory of the machine is the best that the standard library knows
        with contextlib.suppress(AttributeError, OSError, ValueError):
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit, usage in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            found.append(max(0, int((_GROUP / limit).read_text()) - int((_GROUP / usage).read_text())))
    return min(found, default=None)


def readable_size(size: float) -> str:
    """Return a number of bytes as text, in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
