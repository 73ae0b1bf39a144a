"""A load of HTTP requests, from a thread of its own, that forgives nothing.

In: a URL. Out: `Tally`s. A request has failed when its connection was refused or broke, when the answer was
not whole, not 200 or not there within 20 s; none is tried again. Five sorts of callers, each in several
copies: GET and POST on a kept connection, GET and POST on a new one each time, and GETs of answers that take
two seconds.
"""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATIENCE_S = 20.0
PAUSE_S = 0.02
"""Between two requests of one caller: the machine's own work is what is looked at, not how much it bears."""

CALLERS = (
    ("GET, kept connection", "GET", "/", True, 4),
    ("POST, kept connection", "POST", "/", True, 2),
    ("GET, new connection", "GET", "/", False, 3),
    ("POST, new connection", "POST", "/", False, 3),
    ("GET of 2 s, new connection", "GET", "/slow", False, 6),
)
"""Name, method, path, whether the connection is kept, how many."""


@dataclass(slots=True)
class Tally:
    """What became of the requests of one sort."""

    sent: int = 0
    worst_s: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    """Why, and how often."""

    @property
    def failed(self) -> int:
        return self.failures.total()


class Load:
    """Callers that ask until the block ends."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._where = (parts.hostname, parts.port)
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.tallies = {name: Tally() for name, *_ in CALLERS}
        self.answers: Counter[str] = Counter()
        """The bodies of short answers: which revision gave them."""

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    async def _run(self) -> None:
        callers = (
            self._caller(self.tallies[name], method, path, kept)
            for name, method, path, kept, count in CALLERS
            for _ in range(count)
        )
        await asyncio.gather(*callers)

    async def _caller(self, tally: Tally, method: str, path: str, kept: bool) -> None:
        connection: Connection | None = None
        while not self._end.is_set():
            began = time.monotonic()
            tally.sent += 1
            try:
                async with asyncio.timeout(PATIENCE_S):
                    connection = connection or await Connection.open(*self._where)
                    body, kept_there = await connection.ask(method, path, keep=kept)
                if len(body) < 100:
                    self.answers[body.decode().strip()] += 1
                if not (kept and kept_there):
                    connection.close()
                    connection = None
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                tally.failures[str(error) or type(error).__name__] += 1
                if connection:
                    connection.close()
                connection = None
            tally.worst_s = max(tally.worst_s, time.monotonic() - began - (2.0 if path == "/slow" else 0))
            await asyncio.sleep(PAUSE_S)
        if connection:
            connection.close()


@dataclass(slots=True)
class Connection:
    """One connection, and as much of HTTP/1.1 as it takes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        return cls(*await asyncio.open_connection(host, port))

    async def ask(self, method: str, path: str, *, keep: bool) -> tuple[bytes, bool]:
        """The body of the answer, and whether the server keeps the connection, too."""
        sent = b"how=are+you" if method == "POST" else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(sent)}\r\n"
        head += "" if keep else "Connection: close\r\n"
        self.writer.write(f"{head}\r\n".encode() + sent)
        await self.writer.drain()
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        if status.split()[1] != "200":
            raise ValueError(f"answered {status}")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "content-length" not in headers:
            raise ValueError("answered without Content-Length, which is all that is understood here")
        body = await self.reader.readexactly(int(headers["content-length"]))
        return body, headers.get("connection", "").lower() != "close"

    def close(self) -> None:
        self.writer.transport.abort()
