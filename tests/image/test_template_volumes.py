"""What a template and the pod's file say of volumes, and of all that surrounds a pod's containers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.image import podfile, volumes
from i2kit.image.linuxkit import parse
from i2kit.image.template import render
from i2kit.model import (
    Claim,
    Container,
    Dns,
    Exec,
    File,
    Files,
    HttpGet,
    Identity,
    ImageConfig,
    Job,
    Mount,
    Probe,
    Scratch,
    SecretKey,
    Security,
    Sleep,
    TcpSocket,
    Volume,
    Workload,
    field_word,
)
from tests import golden
from tests.image.test_template import APP, BASE, image

CONF = Volume("conf", Files((File("app.conf", data=b"a = 1\nb = 2\n"), File("d/x", 0o600, b"no end"))))
MIXED = Volume(
    "mixed",
    Files(
        (
            File("plain", data=b"text\n"),
            File("d/logo.png", 0o400, b"\x89PNG\0\xff"),
            File("name", text=f"I am {field_word('metadata.name')}"),
            File("tls/key é", 0o400, secret=SecretKey("tls", "tls.key")),
        )
    ),
)
EVERYTHING = Workload(
    "pod",
    (
        Container(
            "web",
            "app",
            mounts=(
                Mount("conf", "/etc/app/"),
                Mount("conf", "/etc/app.conf", "./app.conf"),
                Mount("conf", "/none", "none"),
                Mount("mixed", "/etc/tls", "tls", read_only=True),
                Mount("data", "/data"),
                Mount("data", "/data/sub", "a b//c", read_only=True),
                Mount("memory", "/dev/shm"),
                Mount("work", "/work", field_word("metadata.name")),
            ),
            post_start=Exec(("sh", "-c", "echo $(A) >&2")),
            pre_stop=HttpGet(80, "/stop"),
            readiness=Probe(TcpSocket(80)),
            env=(("A", "a b"),),
            security=Security(fs_group=2000, no_new_privileges=True),
        ),
    ),
    init=(
        Container("migrate", "app", command=("/migrate",), mounts=(Mount("data", "/data"),)),
        Container("proxy", "app", sidecar=True, pre_stop=Sleep(5), startup=Probe(TcpSocket(81))),
        Container("seed", "app", args=("seed",)),
    ),
    volumes=(
        CONF,
        MIXED,
        Volume("data", Claim("pg data", 1 << 30, each=True)),
        Volume("memory", Scratch(memory=True, limit_bytes=1 << 20)),
        Volume("work", Scratch()),
    ),
    secrets=(SecretKey("tls", "tls.key"), SecretKey("db", "a=b c")),
    job=Job(most_failures=4, deadline_s=60, retry=True),
    dns=Dns(("192.0.2.53",), ("db.example",), ("ndots:2", "edns0"), only=True),
    shared_processes=True,
)


def images(workload: Workload, config: ImageConfig = APP) -> dict[str, object]:
    return {one.name: image("app", config) for one in (*workload.init, *workload.containers)}


def rendered(workload: Workload, config: ImageConfig = APP) -> str:
    return render(workload, {name: image("app", config) for name in images(workload)}, BASE)


def test_everything() -> None:
    golden.check("template/volumes.yml", rendered(EVERYTHING, replace(APP, stop_signal="SIGQUIT")))


def test_no_value_of_a_secret_can_be_in_it() -> None:
    """There is only its name: a template is made without them."""
    assert "tls/tls.key" in rendered(EVERYTHING)
    assert "db/a%3Db%20c" in rendered(EVERYTHING)


def test_what_is_mounted_in_a_read_only_volume_has_a_place_there() -> None:
    """No folder can be made in it later."""
    conf = Volume("conf", Files((File("app.conf", data=b"a"), File("there/x", data=b"b"))))
    one = Volume("one", Files((File("file", data=b"c"),)))
    mounts = (
        Mount("conf", "/etc/app"),
        Mount("data", "/etc/app/var/data"),
        Mount("one", "/etc/app/extra/one.conf", "file"),
        Mount("one", "/etc/app/app.conf", "file"),
        Mount("data", "/etc/app/there"),
    )
    pod = Workload(
        "pod", (Container("c", "app", mounts=mounts),), volumes=(conf, one, Volume("data", Scratch()))
    )
    made = [(entry["path"], entry.get("directory", False)) for entry in volumes.files(pod)]
    assert [entry for entry in made if entry[0].startswith(f"{volumes.FOLDER}/conf/")] == [
        (f"{volumes.FOLDER}/conf/{path}", folder)
        for path, folder in (
            ("extra", True), ("there", True), ("var", True), ("var/data", True),
            ("app.conf", False), ("there/x", False), ("extra/one.conf", False),
        )
    ]  # fmt: skip


def test_what_new_disks_begin_with() -> None:
    """What the first container has there, or its user as the owner; not so for parts."""
    mounts = (
        Mount("full", "/srv/a b/", filled=True),
        Mount("owned", "/none", filled=True),
        Mount("part", "/srv", "x", filled=True),
        Mount("plain", "/srv"),
    )
    pod = Workload(
        "pod",
        (Container("web", "app", mounts=mounts), Container("db", "app", mounts=mounts)),
        volumes=tuple(Volume(name, Claim(name, 1)) for name in ("full", "owned", "part", "plain")),
    )
    web = replace(image("app", APP), identity=Identity(5, 6), folders={"/srv/a b/": "data/a b"})
    text = render(pod, {"web": web, "db": image("app", APP)}, BASE)
    assert [line.strip() for line in text.splitlines() if "volume=" in line] == [
        "volume=full claim - full 5:6 web data/a b",
        "volume=owned claim - owned 5:6",
        "volume=part claim - part",
        "volume=plain claim - plain",
    ]


def test_only_pods_with_disks_have_what_makes_file_systems() -> None:
    disk, memory = Volume("v", Scratch()), Volume("v", Scratch(memory=True))
    pod = Workload("pod", (Container("c", "app"),))
    assert BASE.ext4 in parse("p.yml", rendered(replace(pod, volumes=(disk,)))).init
    assert BASE.ext4 not in parse("p.yml", rendered(replace(pod, volumes=(memory, CONF)))).init


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        min_size=1,
        max_size=3,
    )
)
def test_any_text_is_a_file_of_the_template(texts: list[str]) -> None:
    parts = tuple(File(f"f{number}", data=text.encode()) for number, text in enumerate(texts))
    pod = Workload("pod", (Container("c", "app"),), volumes=(Volume("v", Files(parts)),))
    found = {file.place: file.contents for file in parse("pod.yml", rendered(pod)).files}
    assert [found[f"etc/i2kit/volumes/v/f{number}"] for number in range(len(texts))] == texts


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", ""),
        ("SIGTERM", "TERM"),
        ("SIGQUIT", "QUIT"),
        ("quit", "QUIT"),
        ("3", "3"),
        ("SIGRTMIN+3", "37"),
        ("SIGNONE", ""),
        ("65", ""),
        ("9; reboot", ""),
    ],
)
def test_signals(said: str, expected: str) -> None:
    assert podfile.signal_of(said) == expected


def test_the_last_of_a_path_cannot_leave_the_volume() -> None:
    assert volumes.normal("../../etc//passwd") == "etc/passwd"
    assert volumes.normal("./") == ""
