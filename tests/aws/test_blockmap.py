"""What is on a disk, as a value: its table can be read back, and what travels makes one disk of the other."""

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.blocks import BLOCK_BYTES
from i2kit.providers.aws.amis import blockmap
from i2kit.providers.aws.amis.blockmap import BlockMap

CONTENTS = st.dictionaries(st.integers(0, 50), st.sampled_from(["a", "b", "c"]))


def block_map(contents: Mapping[int, str], size_bytes: int = 51 * BLOCK_BYTES) -> BlockMap:
    hashes = {index: hashlib.sha256(text.encode()).hexdigest() for index, text in contents.items()}
    return BlockMap("x86_64", size_bytes, hashes)


@given(CONTENTS, CONTENTS)
def test_changes(before: dict[int, str], after: dict[int, str]) -> None:
    old, new = block_map(before), block_map(after)
    there = dict(old.volume)
    travels = blockmap.changes(old, new)
    there.update(travels)
    assert {index: hash_ for index, hash_ in there.items() if hash_ != blockmap.ZEROS} == new.volume
    assert all(old.volume.get(index) != hash_ for index, hash_ in travels.items())
    assert blockmap.changes(new, new) == {}
    assert blockmap.changes(None, new) == new.volume


@given(CONTENTS, CONTENTS)
def test_names_and_tables(one: dict[int, str], two: dict[int, str]) -> None:
    first, second = block_map(one), block_map(two)
    assert (first.name == second.name) == (one == two)
    assert blockmap.parse(blockmap.filled(first.table), first.name) == first
    if one != two:
        assert blockmap.parse(blockmap.filled(first.table), second.name) is None


def test_a_name_is_of_one_architecture_and_size() -> None:
    one = block_map({0: "a"})
    assert one.name != BlockMap("arm64", one.size_bytes, one.hashes).name
    assert one.name != BlockMap("x86_64", one.size_bytes + 1, one.hashes).name


@pytest.mark.parametrize(
    "block",
    [
        b"",
        bytes(BLOCK_BYTES),
        b"i2kit-blocks 2 x86_64 1 0\n",
        b"i2kit-blocks 1 x86_64 1 99999999999999\n",
        b"i2kit-blocks 1 x86_64 -1 0\n",
        b"i2kit-blocks 1 x86_64 one two\n",
        b"i2kit-blocks 1 x86_64 1\n",
    ],
)
def test_no_table(block: bytes) -> None:
    assert blockmap.parse(block, hashlib.sha256(block).hexdigest()) is None


def test_no_room_for_a_table() -> None:
    """A disk that fills its volume, or has more blocks than a table rows."""
    assert block_map({}, (1 << 30) - BLOCK_BYTES).table_index == 2047
    for full in (block_map({}, 1 << 30), block_map(dict.fromkeys(range(20000), "a"), 20 << 30)):
        assert full.table_index is None
        assert full.volume == full.hashes


def test_a_sketch_fits_a_tag_and_tells_what_is_alike() -> None:
    base = {index: f"{index}" for index in range(200)}
    one, near, far = (
        block_map(contents).sketch
        for contents in (base, {**base, 5: "x"}, {index: f"other {index}" for index in range(200)})
    )
    assert len(one) == 256 and len(block_map({0: "a"}).sketch) == 8
    assert blockmap.likeness(one, near) > 25
    assert blockmap.likeness(one, far) == blockmap.likeness(one, "") == 0
