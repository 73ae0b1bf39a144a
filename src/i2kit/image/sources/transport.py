"""One HTTP request and its redirects, with the rules that registries need.

In: a URL, headers, perhaps an Authorization that belongs to this origin only. Out: an Answer whose
body is read in pieces, or an error in words. Never retries, never sends the Authorization to another
origin, never leaves https; plain http is for loopback alone.

The rules for `Transient` and final errors are here because only here the cause is known.
"""

import base64
import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from i2kit import __version__
from i2kit.errors import OperationError

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 30
"""For each read; registries that are alive answer within seconds."""
MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}


class Transient(OperationError):
    """A failure that may go away by itself: the request can be sent again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose headers have arrived. Header names are case-insensitive."""

    status: int
    headers: Message
    host: str
    _response: http.client.HTTPResponse

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the body, empty at its end. Raises Transient when it breaks off."""
        with _explained(self.host):
            return self._response.read(size)


def is_loopback(host: str) -> bool:
    """Whether a host name or address (without port) means this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def base_url(registry: str) -> str:
    """`http://…` for registries on loopback, `https://…` for all others."""
    host = urlsplit(f"//{registry}").hostname or ""
    return f"{'http' if is_loopback(host) else 'https'}://{registry}"


@contextmanager
def request(
    url: str,
    headers: Mapping[str, str],
    *,
    authorization: str | None = None,
    form: bytes | None = None,
) -> Iterator[Answer]:
    """GET a URL (or POST a form) and follow redirects; the connection is closed at the end.

    Raises Transient or OperationError. Any status that is not a redirect is an Answer.
    """
    origin = _origin(urlsplit(url))
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host:
            raise OperationError(f"{_place(origin)} leads to `{url[:100]}`, which is not a web address")
        if parts.scheme == "http" and not is_loopback(host):
            raise OperationError(
                f"{host} would be asked by plain http",
                hint="registries other than those on this machine must be reached by https",
            )
        sent = {"User-Agent": f"i2kit/{__version__}", **headers}
        if authorization and _origin(parts) == origin:
            sent["Authorization"] = authorization
        with contextlib.ExitStack() as stack:
            with _explained(parts.netloc.rpartition("@")[2]):
                connection = _connection(parts)
                stack.callback(connection.close)
                connection.connect()
                connection.sock.settimeout(READ_TIMEOUT_S)
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("POST" if form is not None else "GET", path, body=form, headers=sent)
                response = connection.getresponse()
            location = response.headers.get("Location")
            if form is not None or response.status not in _REDIRECTS or not location:
                yield Answer(response.status, response.headers, host, response)
                return
            onward = urljoin(url, location)
            if parts.scheme == "https" and urlsplit(onward).scheme != "https":
                raise OperationError(f"{host} redirects from https to `{urlsplit(onward).scheme}`")
            url = onward
    raise Transient(f"{_place(origin)} redirects more than {MAX_REDIRECTS} times")


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    try:
        port = parts.port
    except ValueError:
        raise OperationError(f"`{parts.netloc[:100]}` has no valid port") from None
    return parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else 80)


def _place(origin: tuple[str, str, int]) -> str:
    return f"{origin[1]}:{origin[2]}"


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    scheme, host, port = _origin(parts)
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
    context = ssl.create_default_context()  # honours SSL_CERT_FILE and SSL_CERT_DIR
    proxy = None if is_loopback(host) or urllib.request.proxy_bypass(host) else _proxy()
    if proxy is None:
        return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=context)
    connection = http.client.HTTPSConnection(
        proxy.hostname or "", proxy.port or 3128, timeout=CONNECT_TIMEOUT_S, context=context
    )
    headers = {}
    if proxy.username:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    connection.set_tunnel(host, port, headers)
    return connection


def _proxy() -> SplitResult | None:
    proxies = urllib.request.getproxies()
    given = proxies.get("https") or proxies.get("all")
    if not given:
        return None
    proxy = urlsplit(given if "://" in given else f"http://{given}")
    if proxy.scheme != "http":
        raise OperationError(
            f"the proxy for https is of the type {proxy.scheme}, which is not supported",
            hint="set https_proxy to http://HOST:PORT, or no_proxy to the registry's host",
        )
    return proxy


@contextmanager
def _explained(host: str) -> Iterator[None]:
    """Turn what a connection can do to us into words, and say whether it may go away."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise OperationError(
            f"the certificate of {host} is not trusted: {error.verify_message}",
            hint="for a private certificate authority, set SSL_CERT_FILE to a file with its certificate",
        ) from error
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            raise OperationError(
                f"{host} does not speak https",
                hint="plain http is used only for registries on this machine (localhost, 127.0.0.0/8, ::1)",
            ) from error
        raise Transient(f"the TLS connection to {host} failed: {error.reason or error}") from error
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise Transient(
                f"the name {host} cannot be looked up at the moment",
                hint="check this machine's DNS and network",
            ) from error
        raise OperationError(
            f"the host {host} is unknown", hint="check the spelling, and this machine's DNS"
        ) from error
    except TimeoutError as error:
        raise Transient(f"{host} does not answer", hint=_network_hint()) from error
    except http.client.HTTPException as error:
        raise Transient(f"the answer of {host} broke off or is not HTTP ({type(error).__name__})") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise Transient(f"{host} cannot be reached: {why}", hint=_network_hint()) from error
    except ValueError as error:  # http.client refuses control characters in URLs and headers
        raise OperationError(f"cannot ask {host}: {error}") from error


def _network_hint() -> str:
    variables = [name for name in ("HTTPS_PROXY", "https_proxy") if os.environ.get(name)]
    if variables:
        return f"check that it runs, and the proxy of {variables[0]}"
    return "check that it runs and that this machine can reach it"
