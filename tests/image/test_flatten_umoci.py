"""Flattening judged by another implementation: umoci unpacks the same layers, symlinks and all."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from i2kit.image.tree import Kind, Tree
from i2kit.image.tree.flatten import HostileLayer, flatten
from tests.image.registries import make_image, write_layout
from tests.image.tars import Member, entry, hardlink, tar_bytes

NAMES = "abc"
TARGETS = ["a", "/b", "../c", "/a/b", "../../../b", "."]

Shape = dict[str, object]
"""Path → None for directories, a symlink's target, or a file's bytes."""


def random_member(chance: random.Random) -> Member:
    path = "/".join(chance.choice(NAMES) for _ in range(chance.randint(1, 3)))
    match chance.choice(["file", "file", "directory", "symlink", "whiteout", "hardlink"]):
        case "file":
            return entry(path, chance.randbytes(3))
        case "directory":
            return entry(f"{path}/")
        case "symlink":
            return entry(path, link=chance.choice(TARGETS))
        case "hardlink":
            return hardlink(path, "/".join(chance.choice(NAMES) for _ in range(chance.randint(1, 2))))
    parent, _, name = path.rpartition("/")
    return entry(f"{parent}/.wh.{name}".lstrip("/"), b"")


def shape_of(tree: Tree) -> Shape:
    shape: Shape = {}
    for item in tree[1:]:
        shape[item.path] = item.target or None
        if item.kind is Kind.FILE:
            assert item.content is not None and item.content.source is not None
            start = item.content.offset_bytes
            shape[item.path] = item.content.source.read_bytes()[start : start + item.content.size_bytes]
    return shape


def unpacked(folder: Path) -> Shape:
    shape: Shape = {}
    for parent, directories, files in os.walk(folder):
        for name in directories + files:
            path = Path(parent, name)
            key = str(path.relative_to(folder))
            if path.is_symlink():
                shape[key] = str(path.readlink())
            else:
                shape[key] = None if path.is_dir() else path.read_bytes()
    return shape


@pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not installed")
def test_umoci_sees_the_same(tmp_path: Path) -> None:
    compared = 0
    for seed in range(1000, 1060):
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        tars, paths = [], []
        for number in range(chance.randint(1, 4)):
            tars.append(tar_bytes([random_member(chance) for _ in range(chance.randint(1, 4))]))
            paths.append(folder / f"{number}.tar")
            paths[-1].write_bytes(tars[-1])
        try:
            ours = shape_of(flatten(paths))
        except HostileLayer:
            continue
        write_layout(folder / "layout", {"1": make_image(tars)})
        done = subprocess.run(
            ["umoci", "unpack", "--rootless", "--image", f"{folder}/layout:1", f"{folder}/out"],
            capture_output=True,
        )
        if done.returncode == 0:  # umoci refuses some whiteouts that only we make sense of
            assert ours == unpacked(folder / "out/rootfs"), f"seed {seed}"
            compared += 1
    assert compared > 10
