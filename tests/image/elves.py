"""Small ELF files for tests, with the sections and notes that they are asked to have."""

import struct
from collections.abc import Mapping, Sequence

PVH_NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(8)


def make(sections: Mapping[str, bytes], note: bytes = b"") -> bytes:
    """An ELF file; with `note` it has one segment of notes."""
    names = b"\0"
    body = bytearray()
    headers = [bytes(64)]
    start = 64 + 56
    for name, content in [*sections.items(), (".shstrtab", b"")]:
        at = len(names)
        names += name.encode() + b"\0"
        if name == ".shstrtab":
            content = names
        headers.append(struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, start + len(body), len(content), 0, 0, 1, 0))
        body += content
    note_at = start + len(body)
    body += note
    table_at = start + len(body)
    program = struct.pack("<IIQQQQQQ", 4 if note else 0, 0, note_at, 0, 0, len(note), len(note), 4)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, table_at, 0, 64, 56, 1, 64, len(headers), len(headers) - 1
    )
    return header + program + bytes(body) + b"".join(headers)


def library(needed: Sequence[str]) -> bytes:
    """A program or library that loads these libraries."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    dynamic = b"".join(
        struct.pack("<QQ", 1, strings.index(b"\0" + name.encode() + b"\0") + 1) for name in needed
    )
    return make({".dynamic": dynamic + bytes(16), ".dynstr": strings})


def module(depends: Sequence[str]) -> bytes:
    """A kernel module that depends on these."""
    return make({".modinfo": b"license=GPL\0depends=" + ",".join(depends).encode() + b"\0name=x\0"})


def bzimage(payload: bytes) -> bytes:
    """A bzImage with one setup sector and this payload right after it."""
    image = bytearray(1024 + len(payload))
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20F)
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    image[1024:] = payload
    return bytes(image)
