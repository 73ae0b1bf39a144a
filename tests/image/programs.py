"""Small UEFI programs for tests: with headers that are right, and nothing that could run."""

import struct

ALIGNMENT = 512
CODE = b"\xc3" * 100


def pe(
    *,
    image_bytes: int = 0x3000,
    sections: int = 1,
    headers_bytes: int = 1024,
    machine: int = 0x8664,
    filler: bytes = b"\0",
) -> bytes:
    """A 64-bit PE file (Microsoft, PE Format) with sections of the same code; they take `image_bytes`."""
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", machine, sections, 0, 0, 0, 240, 0x206)
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
    head += (filler * headers_bytes)[: headers_bytes - len(head)]
    return head + CODE.ljust(ALIGNMENT, b"\0") * sections


def arm64_kernel(content: bytes = b"") -> bytes:
    """What has the headers of a kernel for arm64 (Linux, Documentation/arch/arm64/booting.rst)."""
    head = bytearray(pe(machine=0xAA64))
    head[0x38:0x3C] = b"ARM\x64"
    return bytes(head) + content


def zboot(payload: bytes) -> bytes:
    """A kernel that unpacks itself under UEFI (Linux, drivers/firmware/efi/libstub/zboot-header.S)."""
    head = bytearray(pe(machine=0xAA64))
    struct.pack_into("<4sII", head, 4, b"zimg", len(head), len(payload))
    return bytes(head) + payload + struct.pack("<I", len(payload))
