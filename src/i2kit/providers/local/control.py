"""How the command line talks to the supervisor: one JSON object there, one back, by a Unix socket.

The socket's folder is the user's alone. Liveness is whether the socket answers, never a pid.
"""

import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from i2kit.errors import OperationError

MAX_MESSAGE_BYTES = 16 << 20
PROTOCOL = 7
"""Counts up when requests or answers change: a supervisor outlives the installation of a newer i2kit."""


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """The path as a socket address: these end after 107 bytes, so a long one goes by its open folder."""
    if len(os.fsencode(path)) <= 107:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """A listening Unix socket at this path, in place of one that a dead process left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with reachable(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    listener.listen(64)
    return listener


def end_listener(path: Path) -> None:
    """Kill the process that listens here. Its keeper starts it anew, from the code as it is installed now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, reachable(path) as address:
        connection.connect(address)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)


def ask(path: Path, request: Mapping[str, Any], *, timeout_s: float = 30.0) -> dict[str, Any]:
    """Send a request and return the answer.

    Raises ConnectionError (FileNotFoundError among them is mapped to it) when nobody listens, and
    OperationError with the supervisor's words when it refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            with reachable(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ConnectionError("the supervisor does not run") from error
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            text = _receive(connection)
        except TimeoutError as error:
            raise OperationError(
                f"the supervisor did not answer within {timeout_s:g} s",
                hint="see `i2kit doctor`, then try again",
            ) from error
    if not text:
        raise ConnectionError("the supervisor ended")
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ConnectionError("the supervisor ended in the middle of a word") from error
    if "error" in answer:
        raise OperationError(answer["error"], hint=answer.get("hint"))
    return answer


def _receive(connection: socket.socket) -> bytes:
    chunks = []
    while chunk := connection.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)
