"""A disk's blocks: all that is not zero, nothing twice, and the same as a plain comparison says."""

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from i2kit.blocks import BLOCK_BYTES, blocks, changed

CONTENTS = st.lists(
    st.sampled_from([b"", b"\0" * BLOCK_BYTES, b"a" * BLOCK_BYTES, b"b" + b"\0" * (BLOCK_BYTES - 1)]),
    max_size=6,
)


def write(path: Path, parts: list[bytes], tail: bytes) -> bytes:
    """A file with a hole for each empty part; returns what it reads as."""
    with path.open("wb") as file:
        for part in parts:
            if part:
                file.write(part)
            else:
                file.seek(BLOCK_BYTES, 1)
        file.write(tail)
        file.truncate(file.tell())
    return path.read_bytes()


def cut(content: bytes) -> dict[int, bytes]:
    pieces = {
        index: content[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        for index in range(-(-len(content) // BLOCK_BYTES))
    }
    return {index: piece for index, piece in pieces.items() if piece.strip(b"\0")}


@given(CONTENTS, CONTENTS, st.sampled_from([b"", b"end", b"\0\0"]))
def test_blocks(tmp_path_factory: object, one: list[bytes], two: list[bytes], tail: bytes) -> None:
    folder = tmp_path_factory.mktemp("blocks")  # type: ignore[attr-defined]
    first, second = (write(folder / name, parts, tail) for name, parts in (("1", one), ("2", two)))
    found = list(blocks(folder / "1"))
    assert {block.index: data for block, data in found} == cut(first)
    assert all(block.sha256 == hashlib.sha256(data).hexdigest() for block, data in found)
    old, new = cut(first), cut(second)
    assert changed(folder / "1", folder / "2") == {
        index for index in old.keys() | new.keys() if old.get(index) != new.get(index)
    }
