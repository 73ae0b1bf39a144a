"""Read what the base needs to know of ELF files: sections, libraries, notes; take a library away. Pure.

In: a whole file's bytes. Out: names and bytes. Never follows a library. Little-endian 64-bit files only,
which are all that amd64 and arm64 have. Sources: System V ABI, chapters 4 and 5 (gabi), and the amd64
supplement; Linux Standard Base, "Symbol Versioning".
"""

import struct
from collections.abc import Collection, Iterator, Mapping

_MAGIC = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<QQ")
_NOTE = struct.Struct("<III")
_SYMBOL = struct.Struct("<IBBHQQ")
_VERSIONS_OF = struct.Struct("<HHIII")
_VERSION = struct.Struct("<IHHII")
_PT_NOTE = 4
_DT_NULL, _DT_NEEDED, _DT_VERNEED, _DT_VERNEEDNUM = 0, 1, 0x6FFFFFFE, 0x6FFFFFFF
_WEAK, _ANY_VERSION = 2 << 4, 1


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


def without_library(elf: bytes, library: str) -> bytes:
    """The file so that it does not need this library: whatever it has from there is at address 0.

    Right for a program that never calls those functions as it is used; one that does crashes. The same
    bytes when it does not need the library. Raises NotElf.
    """
    if library not in needed(elf):
        return elf
    changed = bytearray(elf)
    places = {name: (at, size) for name, at, size in _places(elf)}
    strings = section(elf, ".dynstr")
    first, gone = 0, set[int]()
    # The list of libraries whose versions of symbols are wanted: this one leaves it.
    at, before = places.get(b".gnu.version_r", (0, 0))[0], 0
    while at:
        _, count, name, aux, following = _unpack(_VERSIONS_OF, elf, at)
        if _text(strings, name).decode() == library:
            position = at + aux
            for _ in range(count):
                _, _, number, _, step = _unpack(_VERSION, elf, position)
                gone.add(number)
                position += step
            if before:
                step = at + following - before if following else 0
                struct.pack_into("<I", changed, before + 12, step)
            else:
                first = following
        else:
            before = at
        at = at + following if following else 0
    _make_weak(changed, places, gone)
    entries = []
    for tag, value in _DYNAMIC.iter_unpack(section(elf, ".dynamic")):
        if tag == _DT_NEEDED and _text(strings, value).decode() == library:
            continue
        entries.append((tag, value + {_DT_VERNEED: first, _DT_VERNEEDNUM: -bool(gone)}.get(tag, 0)))
    at, size = places[b".dynamic"]
    table = b"".join(_DYNAMIC.pack(*entry) for entry in entries)
    changed[at : at + size] = table.ljust(size, b"\0")
    return bytes(changed)


def _make_weak(elf: bytearray, places: Mapping[bytes, tuple[int, int]], versions: Collection[int]) -> None:
    """Let the linker pass over the symbols of these versions when nothing has them."""
    at, size = places.get(b".gnu.version", (0, 0))
    for number in range(size // 2):
        (version,) = struct.unpack_from("<H", elf, at + 2 * number)
        if version & 0x7FFF in versions:
            struct.pack_into("<H", elf, at + 2 * number, _ANY_VERSION)
            place = places[b".dynsym"][0] + number * _SYMBOL.size + 4
            elf[place] = elf[place] & 15 | _WEAK


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
    return {name: elf[at : at + size] for name, at, size in _places(elf)}


def _places(elf: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and size of each section."""
    _check(elf)
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [_unpack(_SECTION, elf, table + number * size) for number in range(count)]
    if names_at >= len(headers):
        raise NotElf("no table of section names")
    names = elf[headers[names_at][4] :]
    for header in headers:
        yield _text(names, header[0]), header[4], header[5]


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
