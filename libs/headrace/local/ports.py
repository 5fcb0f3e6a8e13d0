"""Free ports that stay free: outside the range the kernel hands to outgoing connections."""

import random
import socket
from pathlib import Path

from headrace.local.launch import StackFailed

LOCALHOST = "127.0.0.1"
_PORT_MIN, _PORT_MAX = 15_000, 32_000
_TRIES_MAX = 500


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of this machine's loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int]) -> int:
    """A free port that is not in `taken`.

    A port from the kernel's ephemeral range could be lent to some outgoing connection while its server restarts, and the
    server would then never come back on it.

    Raises:
        StackFailed: none was found.
    """
    highest = min(_PORT_MAX, _ephemeral_min())
    for _ in range(_TRIES_MAX):
        port = random.randrange(min(_PORT_MIN, highest - 1000), highest)  # noqa: S311  # no secret depends on it
        if port not in taken and is_free(port):
            return port
    raise StackFailed(f"no free port between {_PORT_MIN} and {highest}: stop some servers on this machine")


def _ephemeral_min() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return _PORT_MAX
