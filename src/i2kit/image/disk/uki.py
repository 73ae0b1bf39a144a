"""Kernel, initramfs and kernel arguments as one program that UEFI firmware starts. Pure.

In: systemd's stub, the arguments, the sizes of the others. Out: all bytes before the kernel, and where
kernel and initramfs go. What varies between machines stands before the kernel, whose place the
caller says, so that the large parts stay where they are.

Sources: UAPI.5 Unified Kernel Image; Microsoft, PE Format; systemd-stub(7).
"""

import struct
from dataclasses import dataclass

from i2kit.errors import OperationError

OS_RELEASE = b'ID=i2kit\nNAME=i2kit\nPRETTY_NAME="i2kit machine"\n'
PAGE = 4096
CMDLINE_BYTES = 2048
"""COMMAND_LINE_SIZE of Linux on amd64 and arm64, with the byte that ends it."""

SECTION = struct.Struct("<8sIIIIIIHHI")
READABLE_DATA = 0x40000040
FILLER_BYTES = 4
PE32_PLUS = 0x20B
MACHINES = {0x8664: "amd64", 0xAA64: "arm64"}
"""What PE files call architectures."""


@dataclass(frozen=True, slots=True)
class Unified:
    """The program: `head` goes first, then `kernel` and `initrd` have their places in it, in bytes."""

    head: bytes
    kernel_offset: int
    initrd_offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Program:
    """What has to be known of a PE file to add sections to it."""

    machine: int
    sections_offset: int
    sections: int
    alignment: int
    image_bytes: int


def unify(
    stub: bytes, cmdline: str, *, kernel_head: bytes, kernel_bytes: int, initrd_bytes: int, kernel_offset: int
) -> Unified:
    """Lay the program out with the kernel at `kernel_offset`, a multiple of 512.

    `kernel_head` is its first page; `initrd_bytes` is 0 where there is none. Raises OperationError for
    arguments that are too long, and for a kernel or a stub that is no UEFI program.
    """
    arguments = cmdline.encode()
    if len(arguments) >= CMDLINE_BYTES:
        raise OperationError(
            f"the kernel arguments have {len(arguments)} bytes, and Linux takes at most {CMDLINE_BYTES - 1}"
        )
    program = parse(stub, "the stub that starts the kernel")
    # Where the kernel unpacks itself in place, it takes this much.
    inside = parse(kernel_head, "the kernel")
    kernel_memory = max(kernel_bytes, inside.image_bytes)
    if inside.machine != program.machine:
        raise OperationError(
            f"the kernel is for {name_of(inside.machine)}, and the machine {name_of(program.machine)}",
            hint="take a kernel image that is built for that architecture, too",
        )
    osrel_offset = up(len(stub), program.alignment)
    cmdline_offset = osrel_offset + up(len(OS_RELEASE), program.alignment)
    initrd_offset = kernel_offset + up(kernel_bytes, PAGE)
    if cmdline_offset + CMDLINE_BYTES > kernel_offset:
        raise OperationError(f"the stub that starts the kernel is too large: {len(stub)} bytes")
    # Name, bytes in memory, place and bytes in the file. That of the arguments ends where the kernel starts.
    added = [
        (b".osrel", len(OS_RELEASE), osrel_offset, cmdline_offset - osrel_offset),
        (b".cmdline", len(arguments), cmdline_offset, kernel_offset - cmdline_offset),
        (b".linux", kernel_memory, kernel_offset, initrd_offset - kernel_offset),
    ]
    if initrd_bytes:
        added.append((b".initrd", initrd_bytes, initrd_offset, up(initrd_bytes, program.alignment)))
    table = bytearray()
    address = up(program.image_bytes, PAGE)
    for name, memory, offset, room in added:
        table += SECTION.pack(name, memory, address, room, offset, 0, 0, 0, 0, READABLE_DATA)
        address += up(memory, PAGE)
    head = bytearray(stub)
    place_sections(head, program, bytes(table), len(added), address)
    head = head.ljust(osrel_offset, b"\0") + OS_RELEASE
    head = head.ljust(cmdline_offset, b"\0") + arguments
    size = initrd_offset + up(initrd_bytes, program.alignment)
    return Unified(bytes(head), kernel_offset, initrd_offset, size)


def parse(image: bytes, what: str) -> Program:
    """Read the headers of a 64-bit PE file, of which the first page is enough."""
    try:
        (pe,) = struct.unpack_from("<I", image, 0x3C)
        signature, machine, sections, optional = struct.unpack_from("<4sHH12xH", image, pe)
        magic, alignment, image_bytes = struct.unpack_from("<H34xI16xI", image, pe + 24)
    except struct.error:
        signature = magic = None
    if image[:2] != b"MZ" or signature != b"PE\0\0" or magic != PE32_PLUS:
        raise OperationError(
            f"{what} is no UEFI program", hint="build the kernel with EFI_STUB, as distributions do"
        )
    return Program(machine, pe + 24 + optional, sections, alignment, image_bytes)


def architecture(program: bytes) -> str:
    """What a UEFI program is for, one of MACHINES' names. Raises OperationError for any other."""
    machine = parse(program, "the stub that starts the kernel").machine
    if machine not in MACHINES:
        raise OperationError(f"the stub that starts the kernel is for {name_of(machine)}")
    return MACHINES[machine]


def name_of(machine: int) -> str:
    """An architecture as a PE file has it, in words."""
    return MACHINES.get(machine, f"another architecture ({machine:#x})")


def place_sections(head: bytearray, program: Program, table: bytes, count: int, image_bytes: int) -> None:
    """Enter more sections into the headers of the program that `head` starts with."""
    end = program.sections_offset + program.sections * SECTION.size
    optional = struct.unpack_from("<I", head, 0x3C)[0] + 24
    (headers_bytes,) = struct.unpack_from("<I", head, optional + 60)
    room = bytes(head[end : end + len(table)])
    # What is free has one word all over: zeros, or arm64's instruction that does nothing.
    if end + len(table) > headers_bytes or room != room[:FILLER_BYTES] * (len(room) // FILLER_BYTES):
        raise OperationError("the stub that starts the kernel has no room for more sections")
    head[end : end + len(table)] = table
    struct.pack_into("<H", head, optional - 18, program.sections + count)
    struct.pack_into("<I", head, optional + 56, image_bytes)
    struct.pack_into("<I", head, optional + 64, 0)  # the checksum, which firmware does not look at


def up(number: int, step: int) -> int:
    """The next multiple of `step`, or the number itself."""
    return -(-number // step) * step
