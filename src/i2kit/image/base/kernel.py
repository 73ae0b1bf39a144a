"""The kernel of a machine, made from a distribution's: an image to boot and the modules it needs.

In: a kernel's image and modules as bytes. Out: the image as firmware starts it and as a virtual machine
does: an ELF kernel where a bzImage holds one with a PVH note (it boots faster, and virtual machines share
its pages), the plain Image for arm64; and modules with what they depend on. Never looks at the running
kernel.

Sources: Linux, Documentation/arch/x86/boot.rst (setup header), Documentation/arch/arm64/booting.rst,
drivers/firmware/efi/libstub/zboot-header.S; Xen, public/elfnote.h; modules.dep(5); Linux,
include/linux/module.h (.modinfo).
"""

import gzip
import lzma
import struct
import tempfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from i2kit.errors import OperationError
from i2kit.image.base import elf
from i2kit.process import run

INITRAMFS_MODULES = ("virtio_pci", "virtio_blk", "nvme", "loop", "crc32c_generic", "erofs")
"""What it takes to mount the root, wherever it lies. erofs asks for the checksum by its name in the crypto
API, which no dependency says."""

MODULES = (
    *INITRAMFS_MODULES,
    *("virtio_net", "virtio_console", "virtio_balloon", "virtio_rng"),
    *("ena", "ext4", "overlay", "qemu_fw_cfg", "af_packet"),
    *("button", "evdev"),
)

MAX_BYTES = 128 << 20
"""Of a kernel, packed or not, which is read as a whole; distributions' have up to 60 MB."""

_XEN_PHYS32_ENTRY = 18
_SIGNED = b"~Module signature appended~\n"
_MIN_PROTOCOL = 0x0208  # the first with the payload's place
_GZIP = b"\x1f\x8b"
_ZBOOT_BYTES = 64


class Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...


class BadKernel(OperationError):
    """What should be a kernel is damaged, or none."""


def for_firmware(image: bytes) -> bytes:
    """The kernel as UEFI starts it: arm64's comes packed by gzip at times, which no firmware unpacks."""
    if not image.startswith(_GZIP):
        return image
    inner = decompress(image)
    return inner if is_arm64(inner) else image


def for_machine(image: bytes) -> bytes:
    """The kernel as a virtual machine starts it best, out of what firmware starts; often the same.

    Raises BadKernel where what is inside is damaged.
    """
    if is_bzimage(image):
        return bootable(image)
    if image[:2] == b"MZ" and image[4:8] == b"zimg" and len(image) >= _ZBOOT_BYTES:
        offset, length = struct.unpack_from("<II", image, 8)
        if offset + length > len(image):
            raise BadKernel("the kernel is cut off")
        inner = decompress(image[offset : offset + length], size_bytes=0)
        return inner if is_arm64(inner) else image
    return image


def is_arm64(image: bytes) -> bool:
    """Whether these bytes have the header of a kernel for arm64, ready to start."""
    return image[0x38:0x3C] == b"ARM\x64"


def bootable(bzimage: bytes) -> bytes:
    """The ELF kernel inside when it can boot by PVH, else the bzImage as it is.

    Raises BadKernel when the bytes are no bzImage or its payload is damaged.
    """
    inner = decompress(payload(bzimage))
    try:
        by_pvh = any(owner == "Xen" and kind == _XEN_PHYS32_ENTRY for owner, kind, _ in elf.notes(inner))
    except elf.NotElf as error:
        raise BadKernel(f"the kernel's payload is damaged: {error}") from error
    return inner if by_pvh else bzimage


def is_bzimage(image: bytes) -> bool:
    """Whether these bytes have the setup header of a kernel for x86."""
    return image[0x202:0x206] == b"HdrS" and len(image) >= 0x250


def payload(bzimage: bytes) -> bytes:
    """The compressed kernel inside a bzImage, found by its setup header."""
    if not is_bzimage(bzimage):
        raise BadKernel("the kernel package holds something else than a bzImage")
    (protocol,) = struct.unpack_from("<H", bzimage, 0x206)
    if protocol < _MIN_PROTOCOL:
        raise BadKernel(f"the kernel has the boot protocol {protocol:#x}, older than {_MIN_PROTOCOL:#x}")
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    found = bzimage[start : start + length]
    if not found or len(found) != length:
        raise BadKernel("the kernel is cut off")
    return found


def decompress(packed: bytes, size_bytes: int = 4) -> bytes:
    """Undo the kernel build's compression, which leaves the size behind all but gzip's data."""
    content = packed[: len(packed) - size_bytes]
    try:
        if packed.startswith(_GZIP):
            unpacker = zlib.decompressobj(wbits=31)
            return _whole(unpacker, unpacker.decompress(packed, MAX_BYTES))
        if packed.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
            other = lzma.LZMADecompressor(memlimit=MAX_BYTES)
            return _whole(other, other.decompress(content, MAX_BYTES))
    except (zlib.error, lzma.LZMAError) as error:
        raise BadKernel(f"the kernel's payload is damaged: {error}") from error
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        return _by_program("zstd", content)
    if packed.startswith(b"\x02\x21\x4c\x18"):
        return _by_program("lz4", content)
    if packed.startswith(b"\x7fELF"):
        return packed
    raise BadKernel(f"the kernel is compressed in an unknown way (it begins with {packed[:4].hex()})")


def _whole(unpacker: Unpacker, unpacked: bytes) -> bytes:
    if not unpacker.eof:
        why = "too large" if len(unpacked) == MAX_BYTES else "cut off"
        raise BadKernel(f"the kernel's payload is damaged: {why}")
    return unpacked


def _by_program(name: str, packed: bytes) -> bytes:
    limits = ["prlimit", f"--fsize={MAX_BYTES}", f"--as={4 * MAX_BYTES}"]
    with tempfile.TemporaryFile() as unpacked:
        done = run([*limits, name, "-dqc"], stdin=packed, stdout=unpacked, check=False)
        if done.status != 0:
            said = done.stderr.decode(errors="replace").strip()[-300:] or "too large"
            raise BadKernel(f"the kernel's payload is damaged: {said}")
        unpacked.seek(0)
        return unpacked.read()


def decompress_module(name: str, content: bytes) -> bytes:
    """A module's bytes, whatever compression its file name tells."""
    match name.rsplit(".", 1)[-1]:
        case "xz":
            return lzma.decompress(content)
        case "zst":
            return run(["zstd", "-dqc"], stdin=content).stdout
        case "gz":
            return gzip.decompress(content)
        case _:
            return content


def without_signature(module: bytes) -> bytes:
    """The module as it was before it was signed (Linux, include/linux/module_signature.h).

    A machine's modules are as trustworthy as its root, which is known by its hash; to verify their
    signatures as well takes 0.12 s of a boot under emulation.
    """
    if not module.endswith(_SIGNED):
        return module
    end = len(module) - len(_SIGNED)
    (size,) = struct.unpack_from(">I", module, end - 4)
    return module[: end - 12 - size]


def module_name(path: str) -> str:
    """The name that the kernel knows a module's file by: `virtio-rng.ko.xz` is `virtio_rng`."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def dependencies(module: bytes) -> tuple[str, ...]:
    """The names of the modules that have to be there before this one. Raises elf.NotElf."""
    for field in elf.section(module, ".modinfo").split(b"\0"):
        key, _, value = field.partition(b"=")
        if key == b"depends":
            return tuple(name.replace("-", "_") for name in value.decode().split(",") if name)
    return ()


def load_order(wanted: Sequence[str], depends: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """The wanted modules and all they need, each after what it needs. Names not in `depends` are left out."""
    order: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in order or name not in depends or name in path:
            return
        for needed in depends[name]:
            visit(needed, (*path, name))
        order[name] = None

    for name in wanted:
        visit(name, ())
    return tuple(order)


def modules_dep(depends: Mapping[str, Collection[str]]) -> str:
    """The file modules.dep: each module with all it needs, the one to load first at the end."""
    lines = []
    for name in sorted(depends):
        *before, _ = load_order([name], depends)
        lines.append(f"{name}.ko:{''.join(f' {needed}.ko' for needed in reversed(before))}\n")
    return "".join(lines)
