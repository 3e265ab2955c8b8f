"""Finds free ports on loopback."""

import random
import socket
import time

HOST = "127.0.0.1"
PORT_RANGE = range(20_000, 32_000)  # below the ports that Linux and macOS hand to outgoing connections


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def wait_until_listening(port: int, seconds: float) -> None:
    """Returns once a server listens on `port`; raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while is_free(port):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on {HOST}:{port} after {seconds:.0f} s")
        time.sleep(0.05)


def find_free_port(other_than: int | None = None) -> int:
    """A port on which nobody listens, chosen at random, so that two runs that start at once hardly ever choose the same."""
    return next(port for port in random.sample(PORT_RANGE, len(PORT_RANGE)) if port != other_than and is_free(port))
