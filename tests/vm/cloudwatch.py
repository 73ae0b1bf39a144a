"""CloudWatch Logs as a machine sees it: TLS on a Unix socket, signatures checked by botocore's own signer.

What the API's documentation forbids (PutLogEvents, CreateLogStream) is an answer of 400 and is noted in
`complaints`.
"""

import json
import re
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

Answer = tuple[int, Mapping[str, Any]]
SKEW_S = 300
BATCH_BYTES, EVENT_BYTES, OVERHEAD_BYTES, MOST_EVENTS = 1_048_576, 262_144, 26, 10_000


def failure(kind: str, status: int = 400) -> Answer:
    return status, {"__type": kind, "message": kind}


@dataclass(slots=True)
class Logs:
    """One log group. `faults` are answered first, one for each request; `key` is who may call now."""

    group: str
    key: tuple[str, str, str]
    """Access key id, secret key and session token."""
    faults: list[Answer] = field(default_factory=list)
    streams: dict[str, list[str]] = field(default_factory=dict)
    put_at: dict[str, list[float]] = field(default_factory=dict)
    """When each stream got lines (s)."""
    expired: int = 0
    """Requests that were refused for their credentials."""
    complaints: list[str] = field(default_factory=list)

    def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("x-amz-security-token") != self.key[2]:
            self.expired += 1
            return failure("ExpiredTokenException")
        if why := self.wrong_signature(headers, body):
            self.complaints.append(why)
            return failure("InvalidSignatureException")
        if self.faults:
            return self.faults.pop(0)
        target = headers.get("x-amz-target", "")
        asked = json.loads(body)
        if asked["logGroupName"] != self.group:
            return failure("ResourceNotFoundException")
        if target == "Logs_20140328.CreateLogStream":
            if asked["logStreamName"] in self.streams:
                return failure("ResourceAlreadyExistsException")
            self.streams[asked["logStreamName"]] = []
            return 200, {}
        if target == "Logs_20140328.PutLogEvents":
            return self.put(asked["logStreamName"], asked["logEvents"])
        return failure("UnknownOperationException")

    def put(self, stream: str, events: list[Mapping[str, Any]]) -> Answer:
        if stream not in self.streams:
            return failure("ResourceNotFoundException")
        if why := wrong_batch(events):
            self.complaints.append(why)
            return failure("InvalidParameterException")
        self.put_at.setdefault(stream, []).append(time.monotonic())
        self.streams[stream] += [event["message"] for event in events]
        return 200, {"nextSequenceToken": "1"}

    def wrong_signature(self, headers: Mapping[str, str], body: bytes) -> str:
        """What is wrong with a request's signature; nothing when it is right."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request, "
            r"SignedHeaders=(\S+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if not found:
            return f"no signature: {headers}"
        key_id, region, service, signed, signature = found.groups()
        names = signed.split(";")
        if not {"host", "x-amz-date", "x-amz-security-token", "x-amz-target"} <= set(names):
            return f"signed is only {signed}"
        if (key_id, service) != (self.key[0], "logs") or headers["host"] != f"logs.{region}.amazonaws.com":
            return f"signed for {found[0]} at {headers['host']}"
        said = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((datetime.now(UTC) - said).total_seconds()) > SKEW_S:
            return f"signed at {said}"
        request = AWSRequest(
            "POST", f"https://{headers['host']}/", {name: headers[name] for name in names}, body
        )
        request.context["timestamp"] = headers["x-amz-date"]
        signer = SigV4Auth(Credentials(*self.key), service, region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return "" if signer.signature(text, request) == signature else "the signature is another"


def wrong_batch(events: list[Mapping[str, Any]]) -> str:
    """What PutLogEvents does not take."""
    sizes = [len(event["message"].encode()) + OVERHEAD_BYTES for event in events]
    times = [event["timestamp"] for event in events]
    if not 0 < len(events) <= MOST_EVENTS or sum(sizes) > BATCH_BYTES or max(sizes) > EVENT_BYTES:
        return f"a batch of {len(events)} events and {sum(sizes)} bytes"
    if times != sorted(times):
        return "a batch that is not in order"
    if not all(isinstance(one, int) and abs(one / 1000 - time.time()) < SKEW_S for one in times):
        return f"a batch of {times[0]} to {times[-1]}"
    return "" if min(sizes) > OVERHEAD_BYTES else "an event without text"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A machine that goes away in the middle is what tests do."""


@contextmanager
def serving(logs: Logs, socket: Path, context: ssl.SSLContext) -> Iterator[None]:
    """Answer at this Unix socket."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, answer = logs.answer({name.lower(): text for name, text in self.headers.items()}, body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def address_string(self) -> str:
            return "guest"

    server = _Server(str(socket), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
