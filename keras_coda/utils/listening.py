"""What the servers of this package share: the address that they listen at, and how they are stopped."""

import ipaddress
import signal
import socket
import threading
from collections.abc import Sequence

from keras_coda.utils.checks import require


def is_loopback(host: str, resolve: bool = True) -> bool:
    """Return whether a host is this machine, under an address that no other machine can reach.

    Args:
        host: a name or address.
        resolve: whether to look names up; otherwise only ``localhost`` is known.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None) if resolve else []
        return bool(found) and all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)
    except (OSError, UnicodeError, ValueError):
        return False


def free_port(what: str, host: str, ports: Sequence[int]) -> int:
    """Return the first of some ports that a server can listen at.

    Args:
        what: the server, as the beginning of the error names it.
        host: the address to listen at.
        ports: to be tried; 0 stands for any free one.

    Raises:
        OSError: if there is none, or ``host`` is not an address of this machine.
        ValueError: for ports that are out of range.
    """
    reason = None
    for port in ports:
        require(0 <= port <= 65535, "`port` must be in [0, 65535]", port=port)
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return probe.getsockname()[1]
        except socket.gaierror as error:
            raise OSError(f"`host` must be an address of this machine. Received: host={host!r} ({error}).") from error
        except OSError as error:
            reason = error
    tried = f"port={ports[0]}" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]}"
    raise OSError(
        f"{what} must be able to listen at its address. Received: host={host!r}, {tried} "
        f"({reason.strerror if reason else 'none'}). Choose another --port (0: any free one), or another --host."
    ) from reason


def url(host: str, port: int) -> str:
    """Return the address at which this machine reaches a server that listens at ``host`` and ``port``."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def stop_on_sigterm() -> None:
    """Make SIGTERM raise ``KeyboardInterrupt`` as Ctrl-C does, so that a server ends in good order."""
    if threading.current_thread() is threading.main_thread():

        def interrupt(*_):
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, interrupt)
