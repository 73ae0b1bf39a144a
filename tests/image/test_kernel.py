"""Kernels and modules as distributions pack them."""

import lzma
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import OperationError
from i2kit.image.base import elf, kernel
from i2kit.process import run
from tests.image import elves

KERNEL = elves.make({".text": bytes(range(256)) * 40}, elves.PVH_NOTE)


def sized(compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """As the kernel's build has it: the size of the content after the compressed data."""
    return lambda content: compress(content) + struct.pack("<I", len(content))


def gzipped(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.flush()


def zstd(content: bytes) -> bytes:
    return run(["zstd", "-qc"], stdin=content).stdout


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzipped,
    "xz": sized(lambda content: lzma.compress(content, check=lzma.CHECK_CRC32)),
    "lzma": sized(lambda content: lzma.compress(content, format=lzma.FORMAT_ALONE)),
    "zstd": sized(zstd),
    "lz4": sized(lambda content: run(["lz4", "-lqc"], stdin=content).stdout),
    "none": lambda content: content,
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_kernel_with_a_pvh_note_is_taken_out(name: str) -> None:
    assert kernel.bootable(elves.bzimage(COMPRESSIONS[name](KERNEL))) == KERNEL


def test_a_kernel_without_the_note_stays_packed() -> None:
    packed = elves.bzimage(gzipped(elves.make({".text": b"x"})))
    assert kernel.bootable(packed) == packed


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"", "something else than a bzImage"),
        (elves.bzimage(gzipped(KERNEL))[:-9], "cut off"),
        (elves.bzimage(b"BZh91AY"), "unknown way (it begins with 425a6839)"),
        (elves.bzimage(gzipped(b"no kernel")), "damaged"),
        (elves.bzimage(b"\xfd7zXZ\0" + bytes(50)), "damaged"),
        (elves.bzimage(b"\x1f\x8b\x08" + b"\xff" * 50), "damaged"),
    ],
)
def test_other_files_are_refused(image: bytes, says: str) -> None:
    with pytest.raises(OperationError) as refused:
        kernel.bootable(image)
    assert says in refused.value.message


@pytest.mark.parametrize("name", [name for name in COMPRESSIONS if name != "none"])
def test_a_kernel_that_grows_beyond_all_proportion(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "MAX_BYTES", 2 * len(KERNEL))
    packed = COMPRESSIONS[name](KERNEL + bytes(2 * len(KERNEL)))
    with pytest.raises(kernel.BadKernel, match="damaged"):
        kernel.bootable(elves.bzimage(packed))


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst", ".gz"])
def test_modules_are_unpacked(suffix: str) -> None:
    packers = {"": COMPRESSIONS["none"], ".gz": gzipped, ".xz": lzma.compress, ".zst": zstd}
    module = elves.module(["virtio", "virtio-ring"])
    assert kernel.decompress_module(f"a.ko{suffix}", packers[suffix](module)) == module
    assert kernel.dependencies(module) == ("virtio", "virtio_ring")
    assert kernel.module_name(f"./lib/modules/6.1/kernel/virtio-rng.ko{suffix}") == "virtio_rng"


def test_signatures_are_taken_off() -> None:
    module = elves.module(["virtio"])
    signature = b"s" * 395
    end = bytes(8) + struct.pack(">I", len(signature)) + b"~Module signature appended~\n"
    assert kernel.without_signature(module + signature + end) == module
    assert kernel.without_signature(module) == module


def test_a_module_without_dependencies() -> None:
    assert kernel.dependencies(elves.module([])) == ()


NAMES = "abcdefgh"


@st.composite
def dependencies(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Modules that depend only on those before them in the alphabet."""
    return {
        name: tuple(draw(st.sets(st.sampled_from(NAMES[:number]))) if number else ())
        for number, name in enumerate(NAMES)
    }


@given(dependencies(), st.lists(st.sampled_from([*NAMES, "builtin"]), unique=True))
def test_modules_are_loaded_after_what_they_need(
    depends: dict[str, tuple[str, ...]], wanted: list[str]
) -> None:
    order = kernel.load_order(wanted, depends)
    assert {*wanted} - {"builtin"} <= {*order}
    for position, name in enumerate(order):
        assert {*depends[name]} <= {*order[:position]}


def test_modules_dep_lists_the_first_to_load_last() -> None:
    depends = {"blk": ("ring", "virtio"), "virtio": ("ring",), "ring": ()}
    assert kernel.modules_dep(depends) == "blk.ko: virtio.ko ring.ko\nring.ko:\nvirtio.ko: ring.ko\n"


def test_libraries_of_a_program() -> None:
    assert elf.needed(elves.library(["libc.so.6", "libx.so"])) == ("libc.so.6", "libx.so")
    assert elf.needed(elves.make({})) == ()
    with pytest.raises(elf.NotElf):
        elf.needed(b"#!/bin/sh\n")
    with pytest.raises(elf.NotElf):
        elf.needed(elves.library(["libc.so.6"])[:200])
