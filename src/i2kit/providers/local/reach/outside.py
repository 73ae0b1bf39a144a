"""The addresses of names outside, asked for again and again: what names of ours stand for.

In: names. Out: their IPv4 addresses, by a DNS server (RFC 1035, questions by UDP). On a thread of its own:
a server that does not answer is waited for by nobody else.
"""

import secrets
import socket
import struct
import threading
from collections.abc import Collection, Mapping

AGAIN_S = 5.0
"""How long an address may be out of date; the server keeps answers for as long as their zones allow."""

ANSWER_S = 2.0
TYPE_A, CLASS_IN = 1, 1
NO_SUCH_NAME = 3
MOST_ADDRESSES = 16


class Outside:
    """Keeps the addresses of some names up to date. `look_for` and `known` may be called at any time."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._names: frozenset[str] = frozenset()
        self._known: dict[str, tuple[str, ...]] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def known(self) -> Mapping[str, tuple[str, ...]]:
        """What is known now; of a server that does not answer what it said last."""
        return dict(self._known)

    def look_for(self, names: Collection[str]) -> None:
        """From now on these, and no others."""
        if self._names == frozenset(names):
            return
        self._names = frozenset(names)
        self._known = {name: one for name, one in self._known.items() if name in self._names}
        self._changed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()

    def _look(self) -> None:
        while True:
            self._changed.clear()
            for name in sorted(self._names):
                found = addresses(self._server, name)
                if found is not None:
                    self._known = {**self._known, name: found}
            self._changed.wait(AGAIN_S if self._names else None)


def addresses(server: tuple[str, int], name: str) -> tuple[str, ...] | None:
    """The name's addresses, none where there is no such name; None where the server does not say."""
    try:
        number = secrets.randbelow(1 << 16)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(ANSWER_S)
            asking.connect(server)
            asking.send(question(number, name))
            return answers(number, asking.recv(4096))
    except (OSError, ValueError):
        return None


def question(number: int, name: str) -> bytes:
    """A message that asks for a name's addresses; ValueError for what can be no name."""
    labels = [label.encode("idna") for label in name.split(".")]
    if not all(labels):
        raise ValueError(f"{name!r} has an empty part")
    words = b"".join(bytes([len(label)]) + label for label in labels)
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + words + struct.pack("!BHH", 0, TYPE_A, CLASS_IN)


def answers(number: int, message: bytes) -> tuple[str, ...] | None:
    """The addresses in an answer to that message; None where it is none, or the server has trouble."""
    try:
        given, flags, questions, records, _, _ = struct.unpack_from("!6H", message)
        if given != number or not flags & 0x8000:
            return None
        if flags & 0xF == NO_SUCH_NAME:
            return ()
        if flags & 0xF:
            return None
        at, found = 12, []
        for _ in range(questions):
            at = _after_name(message, at) + 4
        for _ in range(records):
            at = _after_name(message, at)
            kind, family, _, length = struct.unpack_from("!HHIH", message, at)
            at += 10
            if (kind, family, length) == (TYPE_A, CLASS_IN, 4):
                found.append(socket.inet_ntoa(message[at : at + 4]))
            at += length
    except (struct.error, IndexError, OSError):
        return None
    return tuple(sorted(found)[:MOST_ADDRESSES])


def _after_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1
