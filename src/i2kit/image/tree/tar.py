"""Read the headers of an uncompressed tar file, whoever wrote it.

In: a local file. Out: one Member per entry in file order, contents as offsets into the file.
Never unpacks, never follows a name, holds one entry and its extended headers in memory at a time.

Python's tarfile is not used: it reads extended headers of any size into memory, and it refuses
archives without trailer, such as those of Debian's `umoci insert`. Where formats leave a choice,
Go's archive/tar decides, because that is what container runtimes read layers with.
Sources: POSIX.1-2017 pax (ustar and extended headers), GNU tar manual "Basic Tar Format".
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 512
MAX_EXTENDED_BYTES = 1 << 20
"""Longest extended header that is read; Go's archive/tar has the same limit."""

REGULAR, HARDLINK, SYMLINK = "0", "1", "2"
CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = "3", "4", "5", "6"
_HEADER_ONLY = {HARDLINK, SYMLINK, CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO}
_ZERO_BLOCK = bytes(BLOCK_BYTES)
_XATTR = "SCHILY.xattr."


class DamagedTar(ValueError):
    """The file is not a tar file, or is cut off, or holds what cannot be read; with the place."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry. Names are as written; bytes that are not UTF-8 are kept with surrogateescape."""

    name: str
    type: str
    mode: int
    uid: int
    gid: int
    mtime_s: int
    size_bytes: int
    offset_bytes: int
    linkname: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]


def members(path: Path, spend: Callable[[int], None] = lambda _: None) -> Iterator[Member]:
    """All entries of the file. Raises DamagedTar, or OSError when the file cannot be read.

    `spend` is told of each extended header how many records are in it, and may raise: a file can have any
    number of them and no entry. A missing trailer or missing padding after the last content is tolerated;
    missing content is not.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield from _members(descriptor, os.fstat(descriptor).st_size, spend)
    finally:
        os.close(descriptor)


def _members(descriptor: int, end: int, spend: Callable[[int], None]) -> Iterator[Member]:
    position = 0
    extended: dict[str, bytes] = {}
    long: dict[str, bytes] = {}
    while position < end:
        header = os.pread(descriptor, BLOCK_BYTES, position)
        if header == _ZERO_BLOCK:
            following = os.pread(descriptor, BLOCK_BYTES, position + BLOCK_BYTES)
            if following.strip(b"\0"):
                raise DamagedTar(f"an empty block in the middle, at byte {position}")
            break
        if len(header) < BLOCK_BYTES:
            if header.strip(b"\0"):
                raise DamagedTar(f"cut off in a header, at byte {position}")
            break
        _verify_checksum(header, position)
        type_ = chr(header[156])
        size = _size(header, extended if type_ not in "xgLK" else {}, position)
        if type_ in _HEADER_ONLY:
            size = 0
        start = position + BLOCK_BYTES
        if start + size > end:
            raise DamagedTar(f"cut off: the content at byte {start} has {size} bytes, the file ends at {end}")
        position = start + -(-size // BLOCK_BYTES) * BLOCK_BYTES
        if type_ in "xgLK":
            if size > MAX_EXTENDED_BYTES:
                raise DamagedTar(f"an extended header of {size} bytes at byte {start}")
            spend(1)
            payload = os.pread(descriptor, size, start)
            if type_ == "x":
                extended = _pax_records(payload, start, spend)
            elif type_ == "L":
                long["path"] = payload.partition(b"\0")[0]
            elif type_ == "K":
                long["linkpath"] = payload.partition(b"\0")[0]
            # Global headers ("g", git writes them) carry comments; runtimes ignore them as well.
            continue
        # Of several headers of a kind the last counts, and GNU's before those of pax, as in Go.
        yield _member(header, type_, size, start, extended | long)
        extended, long = {}, {}
    if extended or long:
        raise DamagedTar("cut off after an extended header")


def _member(header: bytes, type_: str, size: int, start: int, extended: dict[str, bytes]) -> Member:
    name, linkname = header[0:100].partition(b"\0")[0], header[157:257].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    name, linkname = extended.get("path", name), extended.get("linkpath", linkname)
    if b"\0" in name or b"\0" in linkname:
        raise DamagedTar(f"a NUL in the name at byte {start - BLOCK_BYTES}")
    if type_ == "\0" and name.endswith(b"/"):
        type_ = DIRECTORY  # as the oldest archives have them
    elif type_ in "\0007":
        type_ = REGULAR
    if type_ == "S" or any(key.startswith("GNU.sparse.") for key in extended):
        raise DamagedTar(f"`{_text(name)}` is a sparse file, which image layers cannot hold")
    device = (0, 0)
    if type_ in (CHARACTER_DEVICE, BLOCK_DEVICE):
        device = (_number(header[329:337], start), _number(header[337:345], start))
    return Member(
        name=_text(name),
        type=type_,
        mode=_number(header[100:108], start),
        uid=_decimal(extended, "uid", start) if "uid" in extended else _number(header[108:116], start),
        gid=_decimal(extended, "gid", start) if "gid" in extended else _number(header[116:124], start),
        mtime_s=_decimal(extended, "mtime", start)
        if "mtime" in extended
        else _number(header[136:148], start),
        size_bytes=size,
        offset_bytes=start,
        linkname=_text(linkname),
        device=device,
        xattrs=tuple(
            sorted(
                (key.removeprefix(_XATTR), value) for key, value in extended.items() if key.startswith(_XATTR)
            )
        ),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _verify_checksum(header: bytes, position: int) -> None:
    said = _number(header[148:156], position)
    unsigned = sum(header) - sum(header[148:156]) + 8 * 0x20
    if said != unsigned:
        # Historic tars added signed characters.
        signed = unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:])
        if said != signed:
            raise DamagedTar(f"no tar header at byte {position}")


def _size(header: bytes, extended: dict[str, bytes], position: int) -> int:
    size = _decimal(extended, "size", position) if "size" in extended else _number(header[124:136], position)
    if size < 0:
        raise DamagedTar(f"a negative size at byte {position}")
    return size


def _number(field: bytes, position: int) -> int:
    if field[0] & 0x80:  # base-256: two's complement without the marking bit
        value = int.from_bytes(field, "big") & ~(1 << (8 * len(field) - 1))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
    if digits.strip(b"01234567"):
        raise DamagedTar(f"no tar header at byte {position}")
    return int(digits or b"0", 8)


def _decimal(extended: dict[str, bytes], key: str, position: int) -> int:
    whole, point, fraction = extended[key].partition(b".")
    negative = whole.startswith(b"-")
    is_number = whole.removeprefix(b"-").isdigit() and len(whole) <= 20
    if not is_number or (fraction and not fraction.isdigit()) or (point and key != "mtime"):
        raise DamagedTar(f"`{key}` is not a number in the extended header before byte {position}")
    return int(whole) - (1 if negative and fraction.strip(b"0") else 0)


def _pax_records(payload: bytes, position: int, spend: Callable[[int], None]) -> dict[str, bytes]:
    records = {}
    at, end = 0, len(payload.rstrip(b"\0"))
    while at < end:
        length, _, _ = payload[at : at + 8].partition(b" ")
        if not length.isdigit() or len(length) > 7 or not len(length) + 1 < int(length) <= end - at:
            raise DamagedTar(f"a damaged extended header at byte {position}")
        record = payload[at + len(length) + 1 : at + int(length)]
        at += int(length)
        spend(1)
        key, equals, value = record[:-1].partition(b"=")
        if record[-1:] != b"\n" or not equals or b"\0" in key:
            raise DamagedTar(f"a damaged extended header at byte {position}")
        if value or key.startswith(_XATTR.encode()):
            records[_text(key)] = value
    return records
