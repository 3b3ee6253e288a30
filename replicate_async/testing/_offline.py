"""Keeps tests off the network. An audit hook of the interpreter sees every attempt, in whatever library."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from typing import Any

_LOOKUP_EVENTS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_SEND_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class NetworkRefusedError(RuntimeError):
    """A test tried to reach another host. Not an OSError, which libraries would retry as a network failure."""


class _Guard:
    """Refuses hosts while it is in ``_guards``."""

    def __init__(self, reason: str, allowed: Collection[str]) -> None:
        self._reason = reason
        self._allowed = {name.lower() for name in allowed}

    def check(self, host: str) -> None:
        """Raise ``NetworkRefusedError`` unless a host is this machine or is allowed."""
        if not (_is_local(host) or host.lower() in self._allowed or any(map(_has_address(host), self._allowed))):
            raise NetworkRefusedError(f"{host} is not this machine, and {self._reason}")


_guards: list[_Guard] = []
_hooked = False
# Whether this thread opens a socket itself, to find out whether an address is this machine's.
_probe = threading.local()


@contextmanager
def offline(reason: str, allowed: Collection[str] = ()) -> Generator[None]:
    """Refuse lookups of, and connections to, all hosts but this machine and those allowed."""
    global _hooked
    if not _hooked:
        # An audit hook can't be removed; without guards it does nothing.
        sys.addaudithook(_audit)
        _hooked = True
    guard = _Guard(reason, allowed)
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _guards or getattr(_probe, "active", False):
        return
    if event in _LOOKUP_EVENTS:
        host = arguments[0]
    elif event in _SEND_EVENTS and arguments[0].family in {socket.AF_INET, socket.AF_INET6}:
        host = arguments[1][0] if arguments[1] else None
    else:
        return
    if host:
        for guard in tuple(_guards):
            guard.check(host.decode(errors="replace") if isinstance(host, (bytes, bytearray)) else str(host))


def _is_local(host: str) -> bool:
    name = host.lower().rstrip(".")
    own_name = socket.gethostname().lower()
    if name in {"localhost", own_name, own_name.partition(".")[0]} or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified or _is_own(str(address))


def _is_own(address: str) -> bool:
    """Return whether an address is this machine's: it reaches its own addresses from themselves. Sends nothing."""
    _probe.active = True
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return bool(probe.getsockname()[0] == address)
    except OSError:
        # There is no route to the address.
        return False
    finally:
        _probe.active = False


def _has_address(host: str) -> Callable[[str], bool]:
    """Return a function that says whether an allowed name has an address."""

    def has_address(name: str) -> bool:
        try:
            return any(host == info[4][0] for info in socket.getaddrinfo(name, None))
        except OSError:
            return False

    return has_address
