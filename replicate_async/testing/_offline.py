"""Keeps tests off the network. The interpreter itself tells of every attempt, whichever library makes it."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any

_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_SENDING = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class NetworkRefusedError(RuntimeError):
    """A test has tried to reach another host. It is no OSError: nobody shall take it for bad luck, and try again."""


class _Guard:
    """What is refused, while it is in ``_guards``."""

    def __init__(self, why: str, allowed: Collection[str]) -> None:
        self._why = why
        self._allowed = {name.lower() for name in allowed}

    def check(self, host: str) -> None:
        """Refuse a host, unless it is this machine or was allowed."""
        if not (_is_local(host) or host.lower() in self._allowed or any(map(_has(host), self._allowed))):
            raise NetworkRefusedError(f"{host} is not this machine, and {self._why}")


_guards: list[_Guard] = []
_hooked = False
_own = threading.local()  # whether this thread is finding out for a guard which addresses are this machine's


@contextmanager
def offline(why: str, allowed: Collection[str] = ()) -> Generator[None]:
    """Refuse connections to, and lookups of, all other hosts than this one and those that are allowed."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_audit)  # which can't be removed: without guards it does nothing
        _hooked = True
    guard = _Guard(why, allowed)
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _guards or getattr(_own, "looking", False):
        return
    if event in _LOOKUPS:
        host = arguments[0]
    elif event in _SENDING and arguments[0].family in {socket.AF_INET, socket.AF_INET6}:
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
    """Return whether an address is one of this machine's: those it reaches from themselves. Nothing is sent for it."""
    _own.looking = True
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((address, 9))
            return bool(way.getsockname()[0] == address)
    except OSError:  # there is no way there
        return False
    finally:
        _own.looking = False


def _has(host: str) -> Any:
    """Return whether a name that is allowed has an address."""

    def test(name: str) -> bool:
        try:
            return any(host == info[4][0] for info in socket.getaddrinfo(name, None))
        except OSError:
            return False

    return test
