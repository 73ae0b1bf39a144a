"""Read what the base needs to know of ELF files: sections, libraries, notes. Pure.

In: a whole file's bytes. Out: names and bytes. Never follows a library and never changes a file.
Little-endian 64-bit files only, which are all that amd64 has. Source: System V ABI, chapters 4 and 5
(gabi), and the amd64 supplement.
"""

import struct
from collections.abc import Iterator

_MAGIC = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<QQ")
_NOTE = struct.Struct("<III")
_PT_NOTE = 4
_DT_NULL, _DT_NEEDED = 0, 1


class NotElf(ValueError):
    """The bytes are not an ELF file of this kind, or are cut off."""


def section(elf: bytes, name: str) -> bytes:
    """The content of the section of this name; empty when there is none. Raises NotElf."""
    return _sections(elf).get(name.encode(), b"")


def needed(elf: bytes) -> tuple[str, ...]:
    """The names of the libraries that the dynamic linker loads for this file, in order. Raises NotElf."""
    sections = _sections(elf)
    strings = sections.get(b".dynstr", b"")
    names = []
    for tag, value in _DYNAMIC.iter_unpack(sections.get(b".dynamic", b"")):
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            names.append(_text(strings, value).decode())
    return tuple(names)


def notes(elf: bytes) -> Iterator[tuple[str, int, bytes]]:
    """The notes of the file's segments as (owner, type, description). Raises NotElf."""
    _check(elf)
    (table,) = struct.unpack_from("<Q", elf, 0x20)
    size, count = struct.unpack_from("<HH", elf, 0x36)
    for number in range(count):
        kind, _, offset, _, _, length, _, _ = _unpack(_PROGRAM, elf, table + number * size)
        if kind == _PT_NOTE:
            yield from _notes(elf[offset : offset + length])


def _notes(region: bytes) -> Iterator[tuple[str, int, bytes]]:
    position = 0
    while position + _NOTE.size <= len(region):
        owner_size, size, kind = _NOTE.unpack_from(region, position)
        position += _NOTE.size
        owner = region[position : position + owner_size].rstrip(b"\0").decode("latin-1")
        position += _aligned(owner_size)
        yield owner, kind, region[position : position + size]
        position += _aligned(size)


def _sections(elf: bytes) -> dict[bytes, bytes]:
    _check(elf)
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [_unpack(_SECTION, elf, table + number * size) for number in range(count)]
    if names_at >= len(headers):
        raise NotElf("no table of section names")
    names = elf[headers[names_at][4] :]
    return {_text(names, header[0]): elf[header[4] : header[4] + header[5]] for header in headers}


def _check(elf: bytes) -> None:
    if len(elf) < 64 or not elf.startswith(_MAGIC):
        raise NotElf("not a little-endian 64-bit ELF file")


def _unpack(layout: struct.Struct, elf: bytes, offset: int) -> tuple[int, ...]:
    try:
        return layout.unpack_from(elf, offset)
    except struct.error as error:
        raise NotElf("cut off") from error


def _text(strings: bytes, offset: int) -> bytes:
    end = strings.find(b"\0", offset)
    if end < 0:
        raise NotElf("a name without end")
    return strings[offset:end]


def _aligned(size: int) -> int:
    return (size + 3) & ~3
