"""Single fields of an OCI configuration; tests/golden/linuxkit has whole ones."""

import pytest

from i2kit.image.linuxkit.spec import Json, mounts, oci_config, page_size, rlimit
from i2kit.image.linuxkit.values import Device, IdMapping, Mount, Settings
from i2kit.model import CAPABILITIES, ImageConfig


def config(**said: object) -> Json:
    return oci_config(Settings(**said), ImageConfig(working_dir=""))  # type: ignore[arg-type]


def test_what_nobody_says_is_left_out() -> None:
    nothing = config()
    assert nothing["process"] == {"user": {"uid": 0, "gid": 0}, "cwd": "/", "capabilities": {}}
    assert set(nothing) == {"ociVersion", "process", "root", "mounts", "linux"}
    assert config(oom_score_adj=0)["process"]["oomScoreAdj"] == 0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ["pid", "mount"]),
        ({"pid": "host"}, ["mount"]),
        ({"pid": "root", "net": "host", "ipc": "root"}, ["mount"]),
        ({"net": "none"}, ["network", "pid", "mount"]),
        ({"net": "/run/netns/a", "uts": "new"}, ["network=/run/netns/a", "uts", "pid", "mount"]),
        ({"ipc": "new", "userns": "new"}, ["ipc", "pid", "user", "mount"]),
    ],
)
def test_namespaces(said: dict[str, str], expected: list[str]) -> None:
    found = config(**said)["linux"]["namespaces"]
    assert ["=".join(namespace.values()) for namespace in found] == expected


@pytest.mark.parametrize(("name", "count"), [("all", 41), ("ALL", 41), ("none", 0), ("None", 0)])
def test_words_for_capabilities(name: str, count: int) -> None:
    found = config(capabilities=(name,), ambient=(name,))["process"]["capabilities"]
    for part in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        assert len(found.get(part, ())) == count
    assert found.get("bounding", []) == sorted(CAPABILITIES)[:count]


def test_ambient_capabilities_are_permitted_but_not_effective() -> None:
    found = config(capabilities=("CAP_KILL",), ambient=("CAP_CHOWN",))["process"]["capabilities"]
    assert found["effective"] == ["CAP_KILL"]
    assert found["permitted"] == found["bounding"] == ["CAP_CHOWN", "CAP_KILL"]


def test_the_last_mount_of_a_place_counts() -> None:
    settings = Settings(
        readonly=True,
        tmpfs=("/a", "/b"),
        binds=("/x:/b", "v:/c:ro,nosuid"),
        mounts=(Mount("tmpfs", destination="/c"), Mount("bind", "v", "/d"), Mount("", "proc", "", ("ro",))),
    )
    found = {mount.destination: mount for mount in mounts(settings, {"v": "/volumes/v"})}
    assert list(found) == ["/a", "/b", "/c", "/d", "/dev", "/dev/pts", "/proc", "/sys", "/sys/fs/cgroup"]
    assert found["/b"] == Mount("bind", "/x", "/b", ("rw", "rbind", "rshared"))
    assert found["/c"] == Mount("tmpfs", "tmpfs", "/c")
    assert found["/d"].source == "/volumes/v"
    assert found["/proc"] == Mount("proc", "proc", "/proc", ("ro",))
    assert found["/sys"].options[-1] == "ro"
    bind = mounts(Settings(binds=("v:/c:ro,nosuid",)), {"v": "/volumes/v"})[0]
    assert bind == Mount("bind", "/volumes/v", "/c", ("ro", "nosuid", "rbind"))


def test_devices_may_be_used_where_they_are() -> None:
    linux = config(devices=(Device("all", "a"), Device("/dev/a", "c", 5, 0, "666")))["linux"]
    assert linux["devices"] == [{"path": "/dev/a", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666}]
    assert linux["resources"]["devices"] == [
        {"allow": True, "type": "a", "access": "rwm"},
        {"allow": True, "type": "c", "major": 5, "minor": 0, "access": "rwm"},
    ]


def test_limits() -> None:
    assert rlimit("NoFile, 1 ,UNLIMITED") == {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}
    assert rlimit("rlimit_core,0,0") == {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    assert [page_size(size) for size in (4096, 2 << 20, 1 << 30)] == ["4KB", "2MB", "1GB"]


def test_only_mapped_mounts_need_a_newer_runtime() -> None:
    mapped = Mount("bind", "/a", "/a", (), (IdMapping(1000, 0, 1),))
    assert config(uid_mappings=(IdMapping(1000, 0, 1),))["ociVersion"] == "1.0.2"
    assert config(mounts=(mapped,))["ociVersion"] == "1.1.0"
