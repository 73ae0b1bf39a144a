"""Small UEFI programs for tests: with headers that are right, and nothing that could run."""

import struct

ALIGNMENT = 512
CODE = b"\xc3" * 100


def pe(*, image_bytes: int = 0x3000, sections: int = 1, headers_bytes: int = 1024) -> bytes:
    """A 64-bit PE file (Microsoft, PE Format) with sections of the same code; they take `image_bytes`."""
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, sections, 0, 0, 0, 240, 0x206)
    optional = struct.pack(
        *("<HBBIIIIIQIIHHHHHHIIIIHHQQQQII", 0x20B, 0, 0, 512, 0, 0, 0x1000, 0x1000, 0, 4096, ALIGNMENT),
        *(0, 0, 0, 0, 0, 0, 0, image_bytes, headers_bytes, 7, 10, 0, 0, 0, 0, 0, 0, 16),
    )
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + coff + optional.ljust(240, b"\0")
    for number in range(sections):
        address = 0x1000 * (number + 1)
        place = headers_bytes + number * ALIGNMENT
        name = b".text%d" % number
        head += struct.pack(
            "<8sIIIIIIHHI", name, len(CODE), address, ALIGNMENT, place, 0, 0, 0, 0, 0x60000020
        )
    return head.ljust(headers_bytes, b"\0") + CODE.ljust(ALIGNMENT, b"\0") * sections
