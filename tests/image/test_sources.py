"""Images from local files and of our own."""

import gzip
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2kit.errors import InputError, OperationError
from i2kit.events import Event
from i2kit.image.sources import add_local_image, pull, resolve
from i2kit.image.sources.oci import BadImage, read_config, read_manifest
from i2kit.image.store import Store
from tests.image.registries import Image, digest_of, make_image, make_index, write_layout
from tests.image.tars import entry, tar_bytes, write_tar

TARS = [tar_bytes([entry("a", b"1" * 5000)]), tar_bytes([entry("b", b"2")])]
IMAGE = make_image(TARS, {"Cmd": ["/run"]})
OTHER = make_image(TARS[:1], {"Cmd": ["/other"]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def get(store: Store, reference: str) -> tuple[tuple[str, ...], list[bytes]]:
    """The command and the layers of an image."""
    image = resolve(reference, store=store)
    paths = pull(image, store=store)
    return image.config.cmd, [path.read_bytes() for path in paths]


def pack(folder: Path, archive: Path, *, compress: bool = False) -> Path:
    with tarfile.open(archive, "w:gz" if compress else "w") as tar:
        tar.add(folder, arcname=".")
    return archive


# OCI layouts


def test_an_oci_layout(store: Store, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "My Layout", {"1.0": IMAGE})
    image = resolve(f"oci:{layout}", store=store)
    assert image.digest == IMAGE.digest
    assert image.pinned == f"localhost/my-layout@{IMAGE.digest}"
    shutil.rmtree(layout)
    assert [path.read_bytes() for path in pull(image, store=store)] == TARS


def test_an_image_in_an_oci_layout_by_name(store: Store, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"one": IMAGE, "other": OTHER})
    assert get(store, f"oci:{layout}:other") == (("/other",), TARS[:1])
    assert get(store, f"oci:{layout}:one") == (("/run",), TARS)
    for name in ("", ":three"):
        with pytest.raises(BadImage) as caught:
            get(store, f"oci:{layout}{name}")
        assert "its images: one, other" in str(caught.value.hint)


def test_an_image_by_its_digest(store: Store, tmp_path: Path) -> None:
    """Nobody writes a digest beside an image as its name."""
    layout = write_layout(tmp_path / "layout", {"1.0": IMAGE, "latest": IMAGE})
    found = resolve(f"example.com/app@{IMAGE.digest}", store=store, images=[layout])
    assert found.pinned == f"example.com/app@{IMAGE.digest}"
    assert get(store, f"oci:{layout}") == get(store, f"oci:{layout}:1.0"), "one image that has two names"


def test_an_index_in_an_oci_layout(store: Store, tmp_path: Path) -> None:
    arm = make_image(TARS[:1], architecture="arm64")
    layout = write_layout(tmp_path / "layout", {"": make_index({"linux/arm64": arm, "linux/amd64": IMAGE})})
    assert get(store, f"oci:{layout}") == (("/run",), TARS)
    only_arm = write_layout(tmp_path / "arm", {"": arm})
    with pytest.raises(BadImage, match=r"not built for linux/amd64; there is: linux/arm64"):
        get(store, f"oci:{only_arm}")


@pytest.mark.parametrize("compress", [False, True])
def test_an_oci_archive(store: Store, tmp_path: Path, compress: bool) -> None:
    layout = write_layout(tmp_path / "layout", {"1.0": IMAGE})
    archive = pack(layout, tmp_path / "image.tar", compress=compress)
    assert get(store, f"oci-archive:{archive}") == (("/run",), TARS)
    assert get(store, f"oci-archive:{archive}:1.0") == (("/run",), TARS)
    image = resolve(f"oci-archive:{archive}", store=store)
    assert image.pinned == f"localhost/image@{IMAGE.digest}"


# docker save


def docker_archive(path: Path, tars: list[bytes], *, tags: list[str] | None = None, old: bool = True) -> Path:
    """What docker save writes: before version 25 in folders with symlinks, since then with blobs."""
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Cmd": ["/run"]},
            "rootfs": {"diff_ids": [digest_of(tar) for tar in tars]},
        }
    ).encode()
    names, members = [], []
    seen: dict[str, str] = {}
    for number, tar in enumerate(tars):
        name = f"{number}/layer.tar" if old else f"blobs/sha256/{digest_of(tar)[7:]}"
        names.append(name)
        if old and (first := seen.get(digest_of(tar))):
            members.append(entry(name, link=f"../{first}"))
        else:
            members.append(entry(name, tar))
            seen[digest_of(tar)] = name
    config_name = f"{digest_of(config)[7:]}.json" if old else f"blobs/sha256/{digest_of(config)[7:]}"
    manifest = [{"Config": config_name, "RepoTags": tags, "Layers": names}]
    members += [entry(config_name, config), entry("manifest.json", json.dumps(manifest).encode())]
    return write_tar(path, *members)


@pytest.mark.parametrize("old", [True, False])
def test_docker_archives_old_and_new(store: Store, tmp_path: Path, old: bool) -> None:
    tars = [TARS[0], TARS[1], TARS[0]]
    archive = docker_archive(tmp_path / "saved.tar", tars, tags=["org/app:1"], old=old)
    assert get(store, f"docker-archive:{archive}") == (("/run",), tars)
    image = resolve(f"docker-archive:{archive}:docker.io/org/app:1", store=store)
    assert image.pinned == f"localhost/app@{image.digest}"
    with pytest.raises(BadImage, match="holds no image named `org/app:2`") as caught:
        get(store, f"docker-archive:{archive}:org/app:2")
    assert "org/app:1" in str(caught.value.hint)


def test_a_docker_archive_that_was_compressed(store: Store, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "saved.tar", TARS)
    packed = tmp_path / "saved.tar.gz"
    packed.write_bytes(gzip.compress(archive.read_bytes()))
    assert get(store, f"docker-archive:{packed}") == (("/run",), TARS)


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes(store: Store, tmp_path: Path, transport: str) -> None:
    layout = write_layout(tmp_path / "layout", {"1.0": IMAGE})
    target = f"{transport}:{tmp_path}/copied:org/app:1"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:1.0", target],
        check=True,
        capture_output=True,
    )
    assert get(store, target) == (("/run",), TARS)


# Files that are wrong


def test_wrong_files(store: Store, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"1.0": IMAGE})
    archive = pack(layout, tmp_path / "image.tar")
    (tmp_path / "text").write_text("hello" * 1000)
    (tmp_path / "empty").mkdir()
    for reference, said in {
        f"oci:{archive}": "is not a folder",
        f"oci:{tmp_path}/empty": "has no index.json",
        f"oci-archive:{layout}": "is a folder",
        f"docker-archive:{archive}": "has no manifest.json",
        f"oci-archive:{tmp_path}/text": "cannot be read as an archive: no tar header",
    }.items():
        with pytest.raises(BadImage) as caught:
            get(store, reference)
        assert said in caught.value.message
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadImage, match="pipe is not a regular file"):
        resolve("app:1", store=store, images=[tmp_path / "pipe"])
    with pytest.raises(InputError, match="nowhere does not exist"):
        get(store, f"oci:{tmp_path}/nowhere:1.0")


@pytest.mark.parametrize("what", ["config", "layer", "manifest"])
@pytest.mark.parametrize("how", ["missing", "wrong"])
def test_a_damaged_layout(store: Store, tmp_path: Path, what: str, how: str) -> None:
    layout = write_layout(tmp_path / "layout", {"1.0": IMAGE})
    value = json.loads(IMAGE.manifest)
    digest = {
        "manifest": IMAGE.digest,
        "config": value["config"]["digest"],
        "layer": value["layers"][0]["digest"],
    }[what]
    blob = layout / "blobs" / digest.replace(":", "/")
    if how == "missing":
        blob.unlink()
    else:
        blob.write_bytes(b"x" + blob.read_bytes()[1:])
    said = "is missing" if how == "missing" else "layout is damaged: the content of .* is different"
    with pytest.raises(BadImage, match=said):
        get(store, f"oci:{layout}")


def test_names_in_an_archive_do_not_lead_outside(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(TARS[0])
    (tmp_path / "in").mkdir()
    config = b'{"rootfs": {"diff_ids": ["' + digest_of(TARS[0]).encode() + b'"]}}'
    manifest = json.dumps([{"Config": "config", "Layers": ["link"]}]).encode()
    archive = write_tar(
        tmp_path / "in/saved.tar",
        entry("config", config),
        entry("manifest.json", manifest),
        entry("link", link="../../secret"),
    )
    with pytest.raises(BadImage, match="its layer link is missing"):
        get(store, f"docker-archive:{archive}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RepoTags": 5}, "RepoTags is not a list"),
        ({"RepoTags": [None, 5]}, r"RepoTags\[1\] is not a string"),
        ({"Config": {}}, "Config is not a string"),
        ({"Layers": "layer"}, "Layers is not a list"),
        ({"Layers": []}, "do not have the same layers"),
    ],
)
def test_a_list_of_images_that_is_wrong(
    store: Store, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    config = b'{"rootfs": {"diff_ids": ["' + digest_of(TARS[0]).encode() + b'"]}}'
    image = {"Config": "config", "Layers": ["layer"], "RepoTags": ["org/app:1"], **changes}
    archive = write_tar(
        tmp_path / "saved.tar",
        entry("config", config),
        entry("manifest.json", json.dumps([image]).encode()),
        entry("layer", TARS[0]),
    )
    with pytest.raises(BadImage, match=said):
        get(store, f"docker-archive:{archive}")
    if "RepoTags" in changes:
        with pytest.raises(BadImage, match=said):
            resolve("app:1", store=store, images=[archive])


def test_a_name_beside_the_wanted_one_may_be_none(store: Store, tmp_path: Path) -> None:
    config = b'{"os": "linux", "architecture": "amd64", "rootfs": {}}'
    images = [{"Config": "config", "RepoTags": [tag]} for tag in ("Not A Name", "org/app:1")]
    archive = write_tar(
        tmp_path / "saved.tar", entry("config", config), entry("manifest.json", json.dumps(images).encode())
    )
    assert get(store, f"docker-archive:{archive}:org/app:1") == ((), [])


# Layers that are wrong


def layout_of(folder: Path, image: Image) -> str:
    return f"oci:{write_layout(folder / 'layout', {'1': image})}"


def test_a_bomb_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.sources.layers.UNSUSPICIOUS_BYTES", 1 << 20)
    zeros = bytes(8 << 20)
    for number, squeeze in enumerate(
        [
            gzip.compress,
            lambda tar: subprocess.run(["zstd", "-qc"], input=tar, capture_output=True, check=True).stdout,
        ]
    ):
        image = make_image([zeros], compress=squeeze)
        with pytest.raises(BadImage, match="unpacks to more than"):
            get(store, layout_of(tmp_path / str(number), image))
    assert store.blob(digest_of(zeros)) is None
    assert list((store.root / "partial").iterdir()) == []
    assert list((store.root / "scratch").iterdir()) == []


def test_many_small_bombs(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.sources.layers.UNSUSPICIOUS_BYTES", 1 << 20)
    for number, squeeze in enumerate([gzip.compress, zstd]):
        tars = [bytes([number, layer]) * 200_000 for layer in range(4)]
        image = make_image(tars, compress=squeeze)
        reference = layout_of(tmp_path / str(number), image)
        for _ in range(2):  # what fitted before is in the store
            with pytest.raises(
                BadImage, match=r"layout.*: its layers of \d+ bytes .* 1048576 bytes together"
            ):
                get(store, reference)
        assert sum(store.blob(digest_of(tar)) is not None for tar in tars) <= 2


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


def skippable(size: int) -> bytes:
    """A frame of zstd that holds nothing of the contents (RFC 8878, 3.1.2)."""
    return b"\x53\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)


@pytest.mark.parametrize(
    "squeeze",
    [
        lambda tar: b"".join(gzip.compress(tar[start : start + 3]) for start in range(0, len(tar), 3)),
        lambda tar: gzip.compress(b"") * 3000 + gzip.compress(tar) + bytes(40_000),
        lambda tar: zstd(tar[:2000]) + skippable(9) + zstd(tar[2000:]) + skippable(5),
        lambda tar: skippable(100_000) + zstd(tar),
    ],
    ids=["many members", "empty members and padding", "frames", "a frame to skip first"],
)
def test_layers_in_several_parts(store: Store, tmp_path: Path, squeeze: Callable[[bytes], bytes]) -> None:
    assert get(store, layout_of(tmp_path, make_image(TARS[:1], compress=squeeze)))[1] == TARS[:1]


def test_members_of_gzip_without_end(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.sources.layers.MAX_MEMBERS", 10)
    empty = gzip.compress(b"")
    enough = make_image(TARS[:1], compress=lambda tar: gzip.compress(tar) + empty * 9)
    assert get(store, layout_of(tmp_path / "enough", enough))[1] == TARS[:1]
    more = make_image(TARS[1:], compress=lambda tar: gzip.compress(tar) + empty * 10)
    with pytest.raises(BadImage, match="cannot be decompressed: it has more than 10 members"):
        get(store, layout_of(tmp_path / "more", more))


def test_what_zstd_unpacks_beside_zstd_has_no_more_memory(store: Store, tmp_path: Path) -> None:
    # An lzma header that wants a gigabyte for its window, in which it could have put a bomb.
    def squeeze(tar: bytes) -> bytes:
        packed = lzma.compress(tar, lzma.FORMAT_ALONE)
        return zstd(b"") + packed[:1] + (1 << 30).to_bytes(4, "little") + packed[5:]

    with pytest.raises(BadImage, match="cannot be decompressed"):
        get(store, layout_of(tmp_path, make_image(TARS[:1], compress=squeeze)))


@pytest.mark.parametrize(
    ("squeeze", "said"),
    [
        (lambda tar: gzip.compress(tar)[:-20], "cannot be decompressed: it is cut off"),
        (lambda tar: gzip.compress(tar) + b"garbage", "cannot be decompressed"),
        (lambda tar: gzip.compress(tar)[:30] + b"garbage" * 10, "cannot be decompressed"),
        (lambda tar: b"\x28\xb5\x2f\xfd" + b"garbage" * 10, "cannot be decompressed"),
        (lambda tar: b"BZh9" + tar, "compressed with bzip2"),
        (lambda tar: tar + b"x", "does not hold what the image's config says"),
    ],
)
def test_damaged_layers(store: Store, tmp_path: Path, squeeze: Callable[[bytes], bytes], said: str) -> None:
    with pytest.raises(BadImage) as caught:
        get(store, layout_of(tmp_path, make_image(TARS[:1], compress=squeeze)))
    assert said in caught.value.message
    assert store.blob(digest_of(TARS[0])) is None


def test_decompression_needs_little_memory(store: Store, tmp_path: Path) -> None:
    # 64 MiB that compress well: read as a whole, or inflated without limit, they would show.
    tar = tar_bytes([entry("f", bytes(range(256)) * (64 << 12))])
    reference = layout_of(tmp_path, make_image([tar], compress=lambda content: gzip.compress(content, 1)))
    image = resolve(reference, store=store)
    tracemalloc.start()
    pull(image, store=store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b'{"config": {"Env": "PATH=/bin"}}', "config.Env is not a list"),
        (b'{"config": {"Env": [1]}}', "config.Env[0] is not a string"),
        (b'{"config": {"Env": ["=x"]}}', "`=x` is not NAME=VALUE"),
        (b'{"config": {"Entrypoint": "/run"}}', "config.Entrypoint is not a list"),
        (b'{"config": {"Cmd": ["a\\u0000b"]}}', "config.Cmd[0] holds a character that no program"),
        (b'{"config": {"Env": ["A=\\ud800"]}}', "config.Env[0] holds a character that no program"),
        (b'{"config": {"User": 1000}}', "config.User is not a string"),
        (b'{"config": {"Labels": {"a": 1}}}', "config.Labels.a is not a string"),
        (b'{"config": []}', "config is not an object"),
        (b'{"rootfs": {"diff_ids": ["../x"]}}', "`../x` is not a sha256 digest"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"x": ' + b"1" * 5000 + b"}", "holds a number of too many digits"),
    ],
)
def test_configs_that_are_wrong(config: bytes, said: str) -> None:
    with pytest.raises(BadImage) as caught:
        read_config(config, "org/app:1")
    assert said in caught.value.message and "org/app:1" in caught.value.message
    assert caught.value.hint


FIELDS = ["mediaType", "schemaVersion", "config", "layers", "manifests", "digest", "size", "platform"]
FIELDS += ["os", "architecture", "rootfs", "diff_ids", "Env", "Cmd", "User", "Labels", "annotations"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(f"sha256:{'0' * 64}"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON)
@settings(deadline=None)
def test_any_json_is_read_or_refused(value: object) -> None:
    for read in (read_manifest, read_config):
        with suppress(BadImage):
            read(json.dumps(value).encode(), "x")


def test_a_config_of_nulls_is_an_empty_one() -> None:
    nulls = {"config": {"Env": None, "Cmd": None, "Entrypoint": None, "Labels": None, "WorkingDir": ""}}
    config = read_config(json.dumps(nulls).encode(), "x").start
    assert (config.env, config.cmd, config.entrypoint, config.working_dir) == ((), (), (), "/")


# Images of our own


def test_own_images_are_the_same_everywhere(store: Store, tmp_path: Path) -> None:
    tars = [tmp_path / "0.tar", tmp_path / "1.tar"]
    for path in tars:
        path.write_text(f"layer {path.name}")
    config = {"Cmd": ["/sbin/init"], "Labels": {"b": "2", "a": "1"}}
    image = add_local_image(store, tars, config, "base")
    told: list[Event] = []
    assert resolve(image.pinned, store=store, watch=told.append) == image
    assert told == []  # nobody has asked for it, and nothing is fetched
    assert image.pinned == f"i2kit/base@{image.digest}"
    assert image.config.labels == (("a", "1"), ("b", "2"))
    again = Store(tmp_path / "again")
    reordered = {"Labels": {"a": "1", "b": "2"}, "Cmd": ["/sbin/init"]}
    assert add_local_image(again, tars, reordered, "base") == image
    # Written down, so that a change of the form shows: lock files keep these digests.
    assert image.digest == "sha256:1f3582895d0c7c70059bab4a508badd195f0eee4db15afc382437a36f1aa1b79"
    contents = [path.read_bytes() for path in tars]
    for path in tars:
        path.unlink()
    found = resolve(image.pinned, store=store)
    assert found == image
    assert [path.read_bytes() for path in pull(found, store=store)] == contents


def test_a_layer_of_a_local_image_that_is_gone_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "layer").write_text("layer")
    image = add_local_image(store, [tmp_path / "layer"], {}, "base")
    store.remove_blob(image.layers[0].digest)
    with pytest.raises(OperationError, match="is no longer in the store"):
        pull(image, store=store)
    with pytest.raises(OperationError, match="is not in the store"):
        resolve(image.pinned, store=store)


def test_own_images_never_come_from_a_registry(store: Store) -> None:
    with pytest.raises(OperationError, match=r"i2kit/base@sha256:.* is not in the store"):
        resolve(f"i2kit/base@sha256:{'0' * 64}", store=store)
