"""The real linuxkit as a backend: what it is given, and how what it writes is read. It is not run here."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from i2kit.errors import InputError, OperationError
from i2kit.image import linuxkit_builder, sources
from i2kit.image.linuxkit import parse
from i2kit.image.linuxkit.values import Template
from i2kit.image.sources.oci_layout import Stored, fetcher, layout
from i2kit.image.store import Store
from i2kit.image.tree import Kind, Tree
from i2kit.model import Architecture
from tests.image.tars import entry, hardlink, write_tar

TEMPLATE = """\
kernel: {image: kernel, cmdline: quiet}
init: [base, base:again]
files: [{path: etc/from, source: from.bin}]
"""


def stored(store: Store, folder: Path, name: str) -> Stored:
    layer = write_tar(folder / name, entry(name, name.encode()))
    image = sources.add_local_image(store, [layer], {}, name)
    return Stored(image, sources.pull(image, store=store))


def test_a_layout_is_an_image_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    tree = layout("example.org/app:1", [stored(store, tmp_path, "app")], store)
    assert [entry.path for entry in tree[:3]] == ["", "blobs", "blobs/sha256"]
    assert [entry.path for entry in tree[-2:]] == ["index.json", "oci-layout"]
    unpack(tree, tmp_path / "layout")
    other = Store(tmp_path / "other")
    image = sources.resolve(f"oci:{tmp_path / 'layout'}:example.org/app:1", store=other)
    (layer,) = sources.pull(image, store=other)
    assert layer.read_bytes() == (tmp_path / "app").read_bytes()


def test_a_volume_holds_an_image_for_each_platform(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    images = {f"linux/{name}": stored(store, tmp_path, name) for name in ("amd64", "arm64")}
    layers = {one.image.digest: one.layers for one in images.values()}
    fetch = fetcher(
        lambda _, platform: images[platform].image,
        lambda image, _: layers[image.digest],
        store,
        "linux/arm64",
    )
    for platforms, count in (((), 1), (("linux/arm64", "linux/amd64"), 2)):
        tree = fetch("app:1", platforms)
        assert len(tree) == 3 + 3 * count + 1 + 2, "config, manifest and layer of each, and their index"
        (index,) = [entry for entry in tree if entry.path == "index.json"]
        assert index.content is not None
        assert b'"org.opencontainers.image.ref.name":"docker.io/library/app:1"' in index.content.data
        held = b"".join(one.content.read() for one in tree if one.content is not None)
        assert b"arm64" in held, "the machine's own"


def unpack(tree: Tree, folder: Path) -> None:
    for one in tree:
        if one.kind is Kind.DIRECTORY:
            (folder / one.path).mkdir()
        else:
            assert one.content is not None
            (folder / one.path).write_bytes(one.content.read())


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_what_linuxkit_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Architecture
) -> None:
    """Every image by import, the template with those names, sources where it finds them."""
    store = Store(tmp_path / "store")
    base = stored(store, tmp_path, "base")
    images = {"kernel": stored(store, tmp_path, "kernel"), "base": base, "base:again": base}
    scratch, given = tmp_path / "scratch", tmp_path / "given"
    scratch.mkdir()
    given.mkdir()
    (given / "from.bin").write_bytes(b"\0\xff")
    ran: list[list[str]] = []

    def run(argv: Sequence[str | Path], cwd: Path | None = None) -> None:
        ran.append([str(word) for word in argv])
        if "build" in argv:
            write_tar(scratch / "machine.tar", entry("boot/kernel", b"k"), entry("boot/cmdline", b"quiet"))

    monkeypatch.setattr(linuxkit_builder, "run", run)
    monkeypatch.setattr(linuxkit_builder, "which", lambda _: Path("/bin/linuxkit"))
    template = parse(str(given / "pod.yml"), TEMPLATE)
    assembly = linuxkit_builder.build(template, images, store, scratch, architecture=architecture)
    assert assembly.kernel.read() == b"k"
    *imports, build = ran
    assert build[build.index("--arch") + 1] == architecture
    imported = set()
    for argv in imports:
        with tarfile.open(argv[-1]) as archive:
            index = archive.extractfile("index.json")
            assert index is not None
            imported.add(index.read().decode().partition('image.name":"')[2].partition('"')[0])
    again = parse("again.yml", Path(build[-1]).read_text())
    assert imported == set(again.positions)
    assert len(imports) == 2, "the same image is imported once"
    assert all(name.startswith("i2kit.invalid/image:") for name in imported)
    assert not Path(again.files[0].source).is_absolute(), (
        "metadata shows it, and the folder has a random name"
    )
    assert (scratch / again.files[0].source).read_bytes() == b"\0\xff"


def test_reading_what_linuxkit_writes(tmp_path: Path) -> None:
    archive = write_tar(
        tmp_path / "machine.tar",
        entry("boot", type=tarfile.DIRTYPE),
        entry("boot/cmdline", b"console=ttyS0"),
        entry("boot/kernel", b"bzImage", mode=0o755),
        entry("etc", type=tarfile.DIRTYPE),
        entry("etc/passwd", b"first"),
        entry("etc", type=tarfile.DIRTYPE, mode=0o700),
        entry("etc/passwd", b"last"),
        hardlink("etc/again", "etc/passwd"),
    )
    assembly = linuxkit_builder.read(archive, Template("pod"))
    assert (assembly.kernel.read(), assembly.cmdline) == (b"bzImage", "console=ttyS0")
    found = {entry.path: entry for entry in assembly.tree}
    assert sorted(found) == ["", "etc", "etc/again", "etc/passwd"]
    assert found["etc"].mode == 0o700
    content = found["etc/again"].content
    assert content is not None
    assert content.read() == b"last"
    assert [entry.path for entry in assembly.boot] == ["boot", "boot/cmdline", "boot/kernel"]


def test_a_hardlink_before_its_file_is_explained(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "machine.tar", hardlink("a", "b"), entry("b", b"x"))
    with pytest.raises(OperationError, match=r"what linuxkit built cannot be read: .*entry `a`") as raised:
        linuxkit_builder.read(archive, Template("pod"))
    assert "without --builder linuxkit" in str(raised.value.hint)


def test_what_is_no_image(tmp_path: Path) -> None:
    template = parse("pod.yml", "kernel: {image: k}\n")
    archive = tmp_path / "machine.tar"
    with pytest.raises(OperationError, match=r"without writing machine.tar"):
        linuxkit_builder.read(archive, template)
    archive.touch()
    with pytest.raises(OperationError, match=r"has no boot/kernel"):
        linuxkit_builder.read(archive, template)
    archive.write_bytes(b"garbage")
    with pytest.raises(OperationError, match=r"cannot be read: .* cut off"):
        linuxkit_builder.read(archive, template)


def test_linuxkit_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linuxkit_builder, "which", lambda _: None)
    with pytest.raises(OperationError, match="`linuxkit` is not installed"):
        linuxkit_builder.build(Template("pod"), {}, Store(tmp_path), tmp_path)


def test_a_template_without_a_kernel(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "machine.tar", entry("etc/motd", b"x"))
    assembly = linuxkit_builder.read(archive, Template("pod"))
    with pytest.raises(InputError, match="has no kernel"):
        _ = assembly.kernel
