"""Kernel, initramfs and arguments in one UEFI program, read back by objdump."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from i2kit.errors import OperationError
from i2kit.image.disk import uki
from tests.image import programs

KERNEL = programs.pe(image_bytes=0x9000) + b"kernel" * 1000
INITRD = b"070701" * 700
PLACE = 64 << 10


def unify(cmdline: str, *, stub: bytes = b"", kernel: bytes = KERNEL, initrd: bytes = INITRD) -> uki.Unified:
    return uki.unify(
        stub or programs.pe(),
        cmdline,
        kernel_head=kernel[: uki.PAGE],
        kernel_bytes=len(kernel),
        initrd_bytes=len(initrd),
        kernel_offset=PLACE,
    )


def whole(unified: uki.Unified) -> bytes:
    """The file as a disk has it."""
    out = unified.head.ljust(unified.kernel_offset, b"\0") + KERNEL
    if unified.initrd_offset < unified.size_bytes:
        out = out.ljust(unified.initrd_offset, b"\0") + INITRD
    return out.ljust(unified.size_bytes, b"\0")


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs binutils")
@pytest.mark.parametrize("sections", [1, 9])
def test_objdump_reads_it(tmp_path: Path, sections: int) -> None:
    file = tmp_path / "BOOTX64.EFI"
    file.write_bytes(whole(unify("quiet root=x", stub=programs.pe(sections=sections, image_bytes=0x19300))))
    listed = subprocess.run(["objdump", "-h", file], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^ *\d+ (\.\S+) +([0-9a-f]+) +([0-9a-f]+) +\S+ +([0-9a-f]+)", listed, re.MULTILINE)
    assert len(found) == sections + 4
    assert [name for name, *_ in found][-4:] == [".osrel", ".cmdline", ".linux", ".initrd"]
    addresses = [int(address, 16) for _, _, address, _ in found]
    assert addresses == sorted(addresses)
    assert all(address % 4096 == 0 for address in addresses)
    assert addresses[-4] == 0x1A000, "behind the stub, whose end is no page's"
    assert addresses[-1] - addresses[-2] == 0x9000, "the kernel has the room that it asks for"
    held = {name: file.read_bytes()[int(at, 16) :][: int(size, 16)] for name, size, _, at in found}
    assert held[".text0"] == programs.CODE
    assert held[".osrel"] == uki.OS_RELEASE
    assert held[".cmdline"] == b"quiet root=x"
    assert held[".linux"].rstrip(b"\0") == KERNEL
    assert held[".initrd"] == INITRD


def test_only_what_stands_before_the_kernel_depends_on_the_arguments() -> None:
    one, another = unify("quiet"), unify("x" * (uki.CMDLINE_BYTES - 1))
    assert one.head != another.head
    assert (one.kernel_offset, one.initrd_offset) == (another.kernel_offset, another.initrd_offset)
    assert len(another.head) <= PLACE


def test_without_initramfs() -> None:
    unified = unify("quiet", initrd=b"")
    assert b".initrd" not in unified.head
    assert unified.size_bytes == unified.initrd_offset == PLACE + -(-len(KERNEL) // 4096) * 4096


@pytest.mark.parametrize(
    ("stub", "kernel", "cmdline", "message"),
    [
        (programs.pe(), KERNEL, "x" * 2048, "have 2048 bytes, and Linux takes at most 2047"),
        (programs.pe(), KERNEL, "ä" * 1024, "have 2048 bytes, and Linux takes at most 2047"),
        (programs.pe(), b"\0" * 9000, "quiet", "the kernel is no UEFI program"),
        (programs.pe(), b"MZ", "quiet", "the kernel is no UEFI program"),
        (b"MZ" * 9000, KERNEL, "quiet", "stub that starts the kernel is no UEFI program"),
        (programs.pe(headers_bytes=512), KERNEL, "quiet", "no room for more sections"),
        (programs.pe(sections=120, headers_bytes=8192), KERNEL, "quiet", "is too large"),
    ],
)
def test_what_cannot_boot(stub: bytes, kernel: bytes, cmdline: str, message: str) -> None:
    with pytest.raises(OperationError, match=message):
        unify(cmdline, stub=stub, kernel=kernel)
