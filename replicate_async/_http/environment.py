"""What the environment says about connections: proxies and certificate authorities."""

from __future__ import annotations

import base64
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from replicate_async._http.options import Secret
from replicate_async._http.request import origin

if TYPE_CHECKING:
    import ssl


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy. Its credentials are a header, because errors and logs show URLs."""

    url: str
    authorization: Secret | None


class Route(msgspec.Struct, frozen=True):
    """How a host is reached: the proxy, and the TLS settings as aiohttp takes them; True means the session's own."""

    proxy: Proxy | None
    tls: ssl.SSLContext | bool = True


def environment_route(scheme: str, host: str, port: int, *, has_tls: bool) -> Route:
    """Return how the environment wants a host to be reached; ``has_tls``: the session has TLS settings of its own.

    Raises:
        ValueError: the proxy that it names is malformed or not supported, or the certificate authorities can't be read.
    """
    proxy = _proxy(scheme, host, port)
    # Reading all authorities takes 30 ms, which a local server need not cost.
    uses_tls = scheme == "https" or (proxy is not None and proxy.url.startswith("https:"))
    return Route(proxy, (_tls() or True) if uses_tls and not has_tls else True)


# aiohttp's trust_env would read the environment and ~/.netrc for every request, and a netrc entry would replace the
# token.

# The variables of requests and curl, and of OpenSSL, which reads its own only once and ignores files that don't exist.
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def _tls() -> ssl.SSLContext | None:
    """Return the TLS settings for the certificate authorities that the environment names, if it names any.

    Raises:
        ValueError: they can't be read.
    """
    name = next((name for name in _CA_VARIABLES if os.environ.get(name)), None)
    if name is None:
        return None
    path = os.environ[name]
    try:
        return _tls_context(path)
    except OSError as error:
        raise ValueError(f"{name}={path!r} has no certificate authorities that can be read: {error}") from error


@lru_cache(maxsize=16)
def _tls_context(path: str) -> ssl.SSLContext:
    import ssl

    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _proxy(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy that the environment names for a host, if it names any.

    Raises:
        ValueError: its URL is malformed, or its kind is not supported. The error does not show the credentials.
    """
    from urllib.request import getproxies, proxy_bypass

    if proxy_bypass(f"{host}:{port}"):
        return None
    name = next((name for name in (scheme, "all") if getproxies().get(name)), None)
    if name is None:
        return None
    # A secret from the start, because tracebacks may show local variables.
    address = Secret(getproxies()[name])
    proxy, kind = _parse_proxy(address)
    # Nothing that failed while the URL was parsed is in the context of these errors.
    if kind not in {"http", "https"}:
        raise ValueError(f"the environment's {name}_proxy is of the kind {kind}: only HTTP proxies are supported")
    if proxy is None:
        raise ValueError(
            f"the environment's {name}_proxy is not the URL of a proxy, such as http://user:password@host:3128; "
            "characters such as / and @ in a password must be percent-encoded"
        )
    return proxy


_PROXY = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:([^/?#\s]*)@)?([^@/?#\s]+)/?")


def _parse_proxy(address: Secret) -> tuple[Proxy | None, str]:
    """Return a proxy, or None if its URL is malformed, and its kind."""
    match = _PROXY.fullmatch(address.strip())
    if match is None:
        return None, "http"
    kind, host = (match[1] or "http").lower(), match[3]
    try:
        origin(f"http://{host}")
    except ValueError:
        return None, kind
    if match[2] is None:
        return Proxy(f"{kind}://{host}", None), kind
    user, _, password = match[2].partition(":")
    pair = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode("utf-8", "surrogateescape")).decode()
    return Proxy(f"{kind}://{host}", Secret(f"Basic {pair}")), kind
