"""The metadata service of the VMs: EC2's instance metadata, version 2, as far as guests use it.

In: who has which address and its user data. Out: HTTP answers on 169.254.169.254, told apart by
the caller's address. Format: EC2 user guide, "Use the Instance Metadata Service". Without a token,
as IMDSv2 demands, nothing is told. Never hands out another VM's data.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 (the header's name)
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"

SECRETS_PATH = "/latest/i2kit/secrets"
MOST_CONNECTIONS = 8
"""At a time, from one address."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a VM may know about itself."""

    instance: str
    address: str
    image: str
    userdata: str
    secrets: str = field(default="", repr=False)
    """What it is told of its secrets; for itself alone, and not in any list of what there is."""

    def answers(self) -> Mapping[str, str]:
        """Path → text."""
        return {
            **({SECRETS_PATH: self.secrets} if self.secrets else {}),
            "/latest/user-data": self.userdata,
            "/latest/meta-data/": "ami-id\nhostname\ninstance-id\nlocal-hostname\nlocal-ipv4",
            "/latest/meta-data/ami-id": self.image,
            "/latest/meta-data/hostname": self.instance,
            "/latest/meta-data/instance-id": self.instance,
            "/latest/meta-data/local-hostname": self.instance,
            "/latest/meta-data/local-ipv4": self.address,
        }


class MetadataServer:
    """Serves on a thread of its own until the process ends. `tell` and `forget` may be called any time."""

    def __init__(self, address: str, port: int = 80) -> None:
        self._subjects: dict[str, Subject] = {}
        self._tokens: dict[str, str] = {}
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = _Server((address, port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def tell(self, subject: Subject) -> None:
        """From now on the VM at this address is this one; tokens of the one before are void."""
        self._tokens.pop(subject.address, None)
        self._subjects[subject.address] = subject

    def hide_secrets(self, address: str) -> None:
        """The VM at this address has its secrets: whatever runs in it from now on is not told all of them."""
        subject = self._subjects.get(address)
        if subject and subject.secrets:
            self._subjects[address] = replace(subject, secrets="")

    def forget(self, address: str) -> None:
        """Nobody has this address now."""
        self._tokens.pop(address, None)
        self._subjects.pop(address, None)

    def token(self, address: str) -> str | None:
        """The token of the VM at this address, made when first asked for."""
        if address not in self._subjects:
            return None
        return self._tokens.setdefault(address, secrets.token_urlsafe(32))

    def answer(self, address: str, token: str | None, path: str) -> tuple[int, str]:
        """HTTP status and text."""
        subject, right = self._subjects.get(address), self._tokens.get(address)
        if subject is None or right is None or not secrets.compare_digest(token or "", right):
            return 401, "Unauthorized"
        found = subject.answers().get(path)
        return (404, "Not Found") if found is None else (200, found)


class _Server(ThreadingHTTPServer):
    """One thread a connection, and few connections a guest: threads and descriptors are the supervisor's."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: Counter[str] = Counter()
        self._counting = threading.Lock()
        super().__init__(address, handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._counting:
            return self._open[client_address[0]] < MOST_CONNECTIONS

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._counting:
            self._open[client_address[0]] += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._counting:
                self._open[client_address[0]] -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A guest that goes away in the middle is no news for the host's log."""


class _Handler(BaseHTTPRequestHandler):
    server_of: ClassVar[MetadataServer]
    timeout = 10
    """Seconds that a guest may take to send its request."""

    def do_PUT(self) -> None:
        ttl = self.headers.get(TTL_HEADER, "")
        token = self.server_of.token(self.client_address[0])
        if self.path != "/latest/api/token":
            self._send(404, "Not Found")
        elif not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            self._send(400, "Bad Request")
        elif token is None:
            self._send(403, "Forbidden")
        else:
            self._send(200, token)

    def do_GET(self) -> None:
        self._send(*self.server_of.answer(self.client_address[0], self.headers.get(TOKEN_HEADER), self.path))

    def _send(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Guests must not be able to fill the host's disk with log lines."""
