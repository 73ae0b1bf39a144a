"""The packages in an rpm database of the sqlite form, which Fedora 33, RHEL 9 and later have.

In: the bytes of rpmdb.sqlite. Out: of each package the values that name it. Never writes and runs no
code that a database could bring: of SQL only reading columns is allowed.

Sources: rpm, docs/manual/format_header.md and lib/backend/sqlite.c; SQLite's file format, section 1.3.
"""

import re
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from itertools import repeat

MAX_BYTES = 64 << 20
MAX_HEADER_BYTES = 16 << 20
MAX_VALUE_BYTES = 512
STEP, MAX_STEPS = 100_000, 100
"""How many instructions of SQLite's machine it may take: a package needs about ten."""

TAGS = {
    1000: "name",
    1001: "version",
    1002: "release",
    1003: "epoch",
    1011: "vendor",
    1014: "license",
    1015: "packager",
    1022: "arch",
    1044: "sourcerpm",
}
_COMPUTES = re.compile(rb"\b(AS|USING)\b", re.IGNORECASE)
"""In the definition of a view, of a generated column and of a virtual table, and of nothing that rpm has."""
INT32, STRING, I18N_STRING = 4, 6, 9


class Damaged(Exception):
    """The database cannot be read, or not to its end."""


def headers(data: bytes) -> Iterator[Mapping[str, bytes]]:
    """The values of each package by the tag's name. Raises Damaged, after those that could be read."""
    try:
        for blob in _blobs(data):
            yield _header(blob)
    except (sqlite3.Error, struct.error, ValueError, OverflowError) as error:
        # Without the reason: its words are those of this machine's SQLite.
        raise Damaged("not read to its end, it is damaged") from error


def _blobs(data: bytes) -> Iterator[bytes]:
    connection = sqlite3.connect(":memory:")
    try:
        # rpm uses a write-ahead log, which a database in memory cannot have: 1 is the other kind.
        connection.deserialize(data[:18] + b"\1\1" + data[20:])
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_HEADER_BYTES)
        connection.set_authorizer(_only_reading)
        connection.text_factory = bytes
        steps = repeat(0, MAX_STEPS)
        connection.set_progress_handler(lambda: next(steps, 1), STEP)
        for (statement,) in connection.execute("SELECT sql FROM sqlite_master"):
            if _COMPUTES.search(statement or b""):
                raise ValueError("it computes what it holds")
        left = len(data)
        for (blob,) in connection.execute("SELECT blob FROM Packages"):
            if not isinstance(blob, bytes):
                raise ValueError("a package's header is no blob")
            # Rows of a hostile database can share their pages.
            left -= len(blob) + 1
            if left < 0:
                raise ValueError("it holds more than its size")
            yield blob
    finally:
        connection.close()


def _only_reading(action: int, _what: object, _column: object, _database: object, view: object) -> int:
    allowed = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) and view is None
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _header(blob: bytes) -> Mapping[str, bytes]:
    """An index of (tag, type, offset, count) and the data that the offsets lead into."""
    entries, data_bytes = struct.unpack_from(">II", blob)
    start = 8 + 16 * entries
    if start + data_bytes > len(blob):
        raise ValueError("a package's header is cut off")
    found: dict[str, bytes] = {}
    for tag, type_, offset, count in struct.iter_unpack(">4I", blob[8:start]):
        if tag not in TAGS or not count:
            continue
        at = start + offset
        if type_ == INT32:
            found[TAGS[tag]] = str(struct.unpack_from(">I", blob, at)[0]).encode()
        elif type_ in (STRING, I18N_STRING):
            found[TAGS[tag]] = blob[at : at + MAX_VALUE_BYTES].partition(b"\0")[0]
    return found
