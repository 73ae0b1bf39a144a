"""What surrounds a pod's containers: volumes, secrets, what comes first, hooks, disks that stay, jobs."""

import hashlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

import i2kit.image
from i2kit.image.base.components import GUEST
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import (
    Claim,
    Container,
    Dns,
    Exec,
    File,
    Files,
    Job,
    MachineImage,
    Mount,
    Probe,
    Scratch,
    SecretKey,
    Security,
    Volume,
    Workload,
    field_word,
    secret_field,
)
from i2kit.settings import Settings
from tests.vm.machine import Machine, booted, busybox_image, container

pytestmark = pytest.mark.vm

SIGNALS = {"web": "SIGQUIT"}
BuildPod = Callable[[Workload], MachineImage]
SECRET = bytes(range(256)) * 3
PASSWORD = 'pa$s "word" \\ é\x01'


@pytest.fixture(scope="module")
def build_pod(store: Store, the_base: Base, build_settings: Settings) -> BuildPod:
    """Make the machine image of a pod whose containers run busybox."""

    def with_images(ones: tuple[Container, ...]) -> tuple[Container, ...]:
        return tuple(
            replace(one, image=busybox_image(store, the_base, one.image, SIGNALS.get(one.name, "")).pinned)
            for one in ones
        )

    def build(pod: Workload) -> MachineImage:
        made = replace(pod, init=with_images(pod.init), containers=with_images(pod.containers))
        return i2kit.image.build(made, settings=build_settings)

    return build


def disk(path: Path, serial: str, size_bytes: int = 0, *, slot: int = 16) -> tuple[str, ...]:
    """QEMU's words for a disk, behind the machine's root; one with a size is made, and can be written to."""
    if size_bytes and not path.exists():
        with path.open("xb") as file:
            file.truncate(size_bytes)
    read_only = "" if size_bytes else ",readonly=on"
    return (
        *("-drive", f"if=none,id={serial},file={path},format=raw{read_only}"),
        *("-device", f"virtio-blk-pci,drive={serial},serial={serial},addr={slot}"),
    )


def secrets_disk(folder: Path, **values: bytes) -> tuple[str, ...]:
    """A disk with the secrets text of the one secret `s`."""
    text = "".join(f"secret/s/{key}={quote(value, safe='-_./')}\n" for key, value in values.items())
    path = folder / "secrets"
    path.write_bytes(text.encode().ljust(1 << 20, b"\0"))
    return disk(path, "secrets", slot=17)


def said(machine: Machine, name: str) -> list[str]:
    prefix = f"{name} "
    return [line.removeprefix(prefix) for line in machine.lines("log") if line.startswith(prefix)]


def test_what_surrounds_a_container(build_pod: BuildPod, tmp_path: Path) -> None:
    """Files, secrets, folders in memory and on disk; what comes first, in order; hooks; the end in turn."""
    volumes = (
        Volume("conf", Files((File("a.conf", data=b"a = 1\n"), File("d/deep", 0o600, b"deep")))),
        Volume(
            "mixed",
            Files(
                (
                    File("plain", data=b"plain\n"),
                    File("name", text=f"I am {field_word('metadata.name')}\n"),
                    File("logo", 0o444, data=SECRET),
                    File("tls/the key", 0o400, secret=SecretKey("s", "key")),
                )
            ),
        ),
        Volume("memory", Scratch(memory=True, limit_bytes=1 << 20)),
        Volume("work", Scratch()),
    )
    work = Mount("work", "/scratch")
    flaky = container("flaky", "echo try; mkdir /scratch/tried 2>/dev/null && exit 3; echo done")
    proxy = container(
        "proxy",
        "trap 'echo proxy ends; exit 0' TERM; sleep 1; touch /scratch/up; while :; do sleep 0.1; done",
    )
    seed = container(
        "seed", "test -e /scratch/up && echo proxy was up; mkdir /scratch/in; echo 1 >/scratch/in/one"
    )
    show = (
        "id -G; cat /conf/a.conf /conf/d/deep /one.conf /mixed/name; ls /conf; touch /conf/x 2>&1; "
        "md5sum /mixed/logo '/mixed/tls/the key'; "
        "stat -c '%a %g' '/mixed/tls/the key' /mixed/plain /scratch /memory; "
        "grep -E ' /(memory|scratch) ' /proc/mounts; df -k /memory | tail -n 1; cat /sub/one; ls -d /new/er; "
        "touch /new/er/mine && stat -c %g /new/er/mine; "
        'printf "%s" "$PASSWORD" | md5sum; hostname; cat /etc/hosts; '
        "cat /etc/resolv.conf; touch /denied 2>&1; "
        "trap 'cat /scratch/end; echo quits; exit 0' QUIT; trap '' TERM; while :; do sleep 0.1; done"
    )
    web = replace(
        container("web", show, user="app"),
        env=(("PASSWORD", field_word(secret_field("s", "password"))),),
        post_start=Exec(("sh", "-c", "sleep 1; echo hook >/scratch/hook")),
        pre_stop=Exec(("sh", "-c", "sleep 1; echo before the end >/scratch/end")),
        security=Security(fs_group=2000, readonly_root=True),
        mounts=(
            Mount("conf", "/conf/"),
            Mount("conf", "/one.conf", "d/deep"),
            Mount("mixed", "/mixed"),
            Mount("memory", "/memory"),
            work,
            Mount("work", "/sub", "in", read_only=True),
            Mount("work", "/new/er", "made/new"),
        ),
    )
    pod = Workload(
        "test",
        (web,),
        init=(
            replace(flaky, mounts=(work,)),
            replace(
                proxy,
                mounts=(work,),
                sidecar=True,
                startup=Probe(Exec(("sh", "-c", "test -e /scratch/up")), period_s=1),
            ),
            replace(seed, mounts=(work,)),
        ),
        volumes=volumes,
        secrets=(SecretKey("s", "key"), SecretKey("s", "password")),
        dns=Dns(("192.0.2.53",), ("db.example",), ("ndots:2",)),
    )
    built = build_pod(pod)
    user_data = (
        "hostname=web-0\nstable=1\nfqdn=web-0.web.ns.svc.cluster.local\nsecrets=disk\nscratch=scratch\n"
        "search=ns.svc.cluster.local\nnameserver=10.9.9.9\n"
    )
    words = (
        *disk(tmp_path / "scratch", "scratch", 1 << 30),
        *secrets_disk(tmp_path, key=SECRET, password=PASSWORD.encode()),
    )
    with booted(built, tmp_path / "m", user_data, words=words) as machine:
        machine.wait_for("control", "ready")
        told = machine.lines("control")
        order = [
            line for line in told if line.split()[0] in ("mounted", "init", "exited", "started", "ready")
        ]
        assert order == [
            *("mounted", "init flaky", "exited flaky 3 1", "exited flaky 0 0", "init proxy", "started proxy"),
            *("init seed", "exited seed 0 0", "started web", "ready"),
        ]
        assert said(machine, "seed") == ["proxy was up"]
        assert said(machine, "flaky") == ["try", "try", "done"]
        web_said = said(machine, "web")
        digest = hashlib.md5(SECRET).hexdigest()
        assert web_said[: web_said.index("1")] == [
            *("1001 5 2000", "a = 1", "deepdeepI am web-0", "a.conf", "d"),
            "touch: /conf/x: Read-only file system",
            *(f"{digest}  /mixed/logo", f"{digest}  /mixed/tls/the key"),
            *("440 2000", "644 2000", "2777 2000", "2777 2000"),
            "memory /memory tmpfs rw,relatime,size=1024k,mode=2777,gid=2000,inode64 0 0",
            next(line for line in web_said if line.startswith("/dev/vd")),
            "memory                    1024         0      1024   0% /memory",
        ]
        assert web_said[web_said.index("1") :] == [
            *("1", "/new/er", "2000", f"{hashlib.md5(PASSWORD.encode()).hexdigest()}  -", "web-0"),
            *("127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"),
            "10.0.2.15 web-0.web.ns.svc.cluster.local web-0",
            *("search ns.svc.cluster.local db.example", "nameserver 10.9.9.9", "nameserver 192.0.2.53"),
            *("options ndots:2", "touch: /denied: Read-only file system"),
        ]
        machine.say("stop 20")
        began = time.monotonic()
        assert machine.wait_for_end(30) == 0
        assert time.monotonic() - began < 20
        log = machine.lines("log")
        assert log.index("web before the end") < log.index("web quits") < log.index("proxy proxy ends")
        assert "hook" not in "\n".join(machine.lines("control"))
        everything = "\n".join((*log, *machine.lines("control"), *machine.lines("console")))
        assert PASSWORD not in everything
        assert not (tmp_path / "m" / "console").read_bytes()


WRITES = (
    "touch /data/log; "
    "echo found $(cat /data/log | wc -l); df -k /data | tail -n 1; stat -c '%a %g' /data; i=0; "
    "while :; do i=$((i + 1)); echo $i >>/data/log; head -c 300000 /dev/urandom >/data/new; "
    "mv /data/new /data/old; "
    "sync; echo synced $i; done"
)


def file_system_id(path: Path) -> bytes:
    """The UUID in an ext4 superblock."""
    with path.open("rb") as file:
        file.seek(1024 + 104)
        return file.read(16)


def test_a_disk_that_outlives_machines(build_pod: BuildPod, tmp_path: Path) -> None:
    """What was synced is there after a machine died as it wrote; what is not ours is never written to."""
    writer = replace(
        container("web", WRITES), security=Security(fs_group=2000), mounts=(Mount("data", "/data"),)
    )
    part = container("part", "echo part $(ls /part); ln -sfn / /part/out; sleep 1000")
    begins = "echo $(cat /www/*) $(stat -c %u /www /own) $(ls /own); echo >/own/a; sleep 1000"
    begun = container("begun", begins, user="app")
    pod = Workload(
        "test",
        (
            writer,
            replace(part, mounts=(Mount("data", "/part", "a/b"),)),
            replace(begun, mounts=(Mount("www", "/www", filled=True), Mount("own", "/own", filled=True))),
        ),
        volumes=tuple(Volume(name, Claim(name, 1)) for name in ("data", "www", "own")),
    )
    built = build_pod(pod)
    path = tmp_path / "data.raw"
    user_data = "disk=data=disk0\ndisk=www=disk1\ndisk=own=disk2\n"
    others = [disk(tmp_path / f"disk{n}.raw", f"disk{n}", 16 << 20, slot=16 + n) for n in (1, 2)]

    def is_synced(line: str) -> bool:
        return line.startswith("web synced") and int(line.split()[2]) >= 4

    words = (*disk(path, "disk0", 64 << 20), *others[0], *others[1])
    with booted(built, tmp_path / "1", user_data, words=words) as machine:
        machine.wait_for("log", is_synced)
        machine.wait_for("log", lambda line: line.startswith("begun "))
        assert said(machine, "begun")[0] == "hello 0 1000", "what the image has there, or its user's"
        machine.process.kill()
        machine.process.wait()
        assert machine.has_ended()
        assert said(machine, "web")[0] == "found 0"
        assert said(machine, "web")[2] == "2775 2000"
        synced = int(said(machine, "web")[-1].split()[1])
    made = file_system_id(path)

    with path.open("r+b") as file:
        file.truncate(128 << 20)
    with booted(built, tmp_path / "2", user_data, words=words) as machine:
        machine.wait_for("log", is_synced)
        found, size, *_ = said(machine, "web")
        assert int(found.split()[1]) >= synced
        assert int(size.split()[1]) > 100_000, "it grew with its disk"
        assert said(machine, "part") == ["part out"]
        machine.wait_for("log", lambda line: line == "begun hello 0 1000 a")
        machine.say("stop 2")
        assert machine.wait_for_end(30) == 0
    assert file_system_id(path) == made
    checked = subprocess.run(
        ["/sbin/e2fsck", "-f", "-n", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout
    assert "recover" not in checked.stdout

    subprocess.run(
        ["/sbin/debugfs", "-w", "-f", "-", path],
        input="rm a/b/out\nrmdir a/b\nsymlink a/b /etc\n",
        text=True,
        check=True,
        timeout=60,
        capture_output=True,
    )
    with booted(built, tmp_path / "3", user_data, words=words) as machine:
        assert machine.wait_for_end(60) == 0
        (broken,) = (line for line in machine.lines("control") if line.startswith("broken"))
        assert broken == (
            "broken container part cannot start: volume data: the path a/b leads out of the volume"
        )

    foreign = bytes(5000) + b"someone's data" + bytes(64 << 20)
    path.write_bytes(foreign)
    with booted(built, tmp_path / "4", user_data, words=words) as machine:
        assert machine.wait_for_end(60) == 0
        assert machine.wait_for("control", "broken").startswith("broken volume data holds no file system")
        assert not machine.lines("log")
    assert path.read_bytes() == foreign


def test_jobs_that_end(build_pod: BuildPod, tmp_path: Path) -> None:
    """One ends well at the second try, which its sidecar outlives; others fail, or take too long."""
    proxy = container("proxy", "trap 'echo ends; exit 0' TERM; while :; do sleep 0.1; done")
    work = container("work", "mkdir /tried 2>/dev/null && exit 3; ps | grep -c 'echo end[s]'; echo works")
    also = container("also", "echo also")
    pod = Workload(
        "test",
        (work, also),
        init=(replace(proxy, sidecar=True),),
        job=Job(retry=True, most_failures=1),
        shared_processes=True,
    )
    with booted(build_pod(pod), tmp_path / "well", "") as machine:
        assert machine.wait_for_end(60) == 0
        told = machine.lines("control")
        assert told[-2:] == ["stopping", "finished 0"]
        assert {"exited work 3 1", "exited work 0 0", "exited also 0 0"} <= set(told)
        assert said(machine, "work") == ["1", "works"]
        assert said(machine, "proxy") == ["ends"]
        assert said(machine, "also") == ["also"]

    failing = replace(container("work", "sleep 1; exit 7"))
    with booted(build_pod(Workload("t", (failing,), job=Job())), tmp_path / "failed", "") as machine:
        assert machine.wait_for_end(60) == 0
        assert machine.lines("control")[-1] == "finished 7 container work failed: exit status 7"

    slow = replace(
        pod, containers=(container("work", "sleep 1000"),), init=(), job=Job(deadline_s=6), grace_s=1
    )
    with booted(build_pod(slow), tmp_path / "slow", "") as machine:
        assert machine.wait_for_end(60) == 0
        assert machine.lines("control")[-1] == "finished 124 the job took longer than 6 s"


@pytest.mark.parametrize(
    ("what", "expected"),
    [("blank", "blank"), ("ext4", "ext4"), ("foreign", "foreign"), ("half", "half"), ("late", "foreign")],
)
def test_what_a_disk_holds(tmp_path: Path, what: str, expected: str) -> None:
    """Only a disk with nothing on it, or on which a file system was just being made, may be formatted."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 << 20))
    with path.open("r+b") as file:
        # The first is what a file system's programs write before its superblock.
        file.seek({"half": 8192, "foreign": 5000, "late": 1 << 19}.get(what, 0))
        file.write(b"\n" if what in ("half", "foreign", "late") else b"")
        if what == "half":
            file.seek(-512, 2)
            file.write(b"i2kit is making a file system here\n")
    if what == "ext4":
        subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", path], check=True, timeout=60)
    script = f"""
        . {GUEST}/supervisor/usr/lib/i2kit/volumes
        sectors_of() {{ sectors={(8 << 20) // 512}; }}
        if is_blank {path}; then echo blank
        elif is_half_made {path}; then echo half
        elif has_ext4 {path}; then echo ext4
        else echo foreign
        fi
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.strip() == expected
