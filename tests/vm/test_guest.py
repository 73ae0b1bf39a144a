"""What a machine does once it runs, observed from outside: answers, logs, control lines.

Booting takes seconds, so each test asks one machine many things.
"""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.model import field_word, told_facts
from tests.vm.conftest import Build
from tests.vm.machine import booted, container

pytestmark = pytest.mark.vm

WEB = "echo started; echo from web > /dev/shm/note; trap exit TERM; httpd -f -p 80 -h /www & wait"


def test_pod(build: Build, tmp_path: Path) -> None:
    """Two containers share the network; each has its own root, its limits, and the runtimes' defaults."""
    asks = (
        "grep -E '^(Cap|Seccomp:|Uid)' /proc/self/status; "
        "env; cat /etc/resolv.conf /etc/hosts; hostname; "
        "echo 'at $(DB_SERVICE_HOST) not $$(DB_SERVICE_HOST) $(NO_SERVICE_PORT)'; "
        "touch /written && echo root is writable; "
        "mount -t tmpfs x /tmp 2>&1; ls -d /written; "
        "echo memory $(cat /sys/fs/cgroup/memory.max); "
        "read known rest </proc/sys/fs/dentry-state; echo names $known; "
        "mknod /disk b 254 0 && cat /disk 2>&1 >/dev/null; echo nothing >/dev/null && echo null is there; "
        "until wget -q -O - http://127.0.0.1/; do usleep 100000; done; cat /dev/shm/note; "
        "trap 'echo asked to end; exit 0' TERM; while :; do sleep 0.1; done"
    )
    built = build(container("web", WEB), container("ask", asks, memory_bytes=40 << 20))
    user_data = (
        "hostname=pod-1\nsearch=default.svc.local svc.local\nnameserver=10.9.9.9\nready_port=80\n"
        'env=DB_SERVICE_HOST=10.77.255.2\nenv=FROM=user data\nenv=QUOTED=a "b" \\c\n'
        "hosts=10.77.255.2 db db.default\nunknown=ignored\n"
    )
    with booted(built, tmp_path, user_data) as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("control", "ready")
        machine.wait_for("log", "ask hello")
        machine.wait_for("log", "ask from web")  # the last that it says
        log = [line.removeprefix("ask ") for line in machine.lines("log") if line.startswith("ask ")]
        # The 14 capabilities of container runtimes, and a filter on system calls.
        assert "CapEff:\t00000000a80425fb" in log
        assert "CapInh:\t0000000000000000" in log
        assert "CapBnd:\t00000000a80425fb" in log
        assert "Seccomp:\t2" in log
        assert {"HOSTNAME=pod-1", "DB_SERVICE_HOST=10.77.255.2", 'QUOTED=a "b" \\c'} <= set(log)
        assert "at 10.77.255.2 not $(DB_SERVICE_HOST) $(NO_SERVICE_PORT)" in log
        assert "FROM=image" in log, "a container's own variable wins over user data"
        assert "search default.svc.local svc.local" in log
        assert "nameserver 10.9.9.9" in log
        assert {"10.77.255.2 db db.default", "10.0.2.15 pod-1", "pod-1"} <= set(log)
        assert "root is writable" in log
        assert any("mount" in line and "denied" in line for line in log), "the seccomp profile forbids it"
        assert any("/disk" in line and "not permitted" in line for line in log), "others' files are on it"
        assert "null is there" in log
        assert f"memory {40 << 20}" in log
        (names,) = [int(line.split()[1]) for line in log if line.startswith("names ")]
        assert names < 5000, "no memory for the 10,000 files of tracing"
        assert "address 10.0.2.15" in machine.lines("control")
        total_kb, available_kb = map(int, machine.wait_for("control", "memory").split()[1:])
        assert 0 < available_kb < total_kb < 128 << 10

        machine.say("stop 20")
        began = time.monotonic()
        assert machine.wait_for_end(30) == 0
        assert time.monotonic() - began < 20, "the grace period is a limit, not a wait"
        assert "ask asked to end" in machine.lines("log")
        order = [line.split()[0] for line in machine.lines("control")]
        assert order[0] == "booted"
        assert order[-1] == "stopping"
        assert order.count("started") == 2
        assert order.index("ready") > order.index("started")


def test_containers_that_fail(build: Build, tmp_path: Path) -> None:
    """A container ends, one takes too much memory, and the others go on."""
    built = build(
        container("web", WEB),
        container("ends", "echo once more; exit 3"),
        container("greedy", "x=x; while :; do x=$x$x; done", memory_bytes=16 << 20),
        container("user", "id; echo mine >/dev/stderr; grep Cap /proc/self/status; sleep 1000", user="app"),
    )
    with booted(built, tmp_path, "ready_port=80\nready_port=81\n") as machine:
        assert machine.get() == b"hello\n"
        exits = "exited ends 3 4"
        machine.wait_for("control", exits)
        ended = [line for line in machine.lines("control") if line.startswith("exited ends")]
        assert [line.split()[:4] for line in ended[:3]] == [
            ["exited", "ends", "3", delay] for delay in ("1", "2", "4")
        ]
        machine.wait_for("log", lambda _: machine.lines("log").count("ends once more") >= 3)
        assert machine.wait_for("control", "exited greedy").endswith("out of memory")
        machine.wait_for("log", "user uid=1000(app) gid=1001(app) groups=5(extra)")
        machine.wait_for("log", "user mine")  # a user can open its own output anew
        machine.wait_for("log", "user CapEff:\t0000000000000000")
        assert machine.get() == b"hello\n"
        assert "ready" not in machine.lines("control")
        assert "exited web" not in "\n".join(machine.lines("control"))


def test_fields_of_the_pod(build: Build, tmp_path: Path) -> None:
    """They come into variables, commands and other variables: any text, and what the machine knows."""
    script = (
        'printf "%s|" "$NAME" "$URL" "$NOTE" "$NONE" "$NODE"; echo; '
        'echo "$0" "$1"; echo uid $ID; echo "$TWO"; cat /etc/hosts; sleep 1000'
    )
    note = "metadata.annotations['note']"
    env = (
        ("NAME", field_word("metadata.name")),
        ("IP", field_word("status.podIP")),
        ("URL", "http://$(IP):80/"),
        ("NOTE", field_word(note)),
        ("NONE", field_word("metadata.labels['none']")),
        ("NODE", field_word("spec.nodeName")),
        ("ID", field_word("metadata.uid")),
        ("TWO", field_word("metadata.labels['two']")),
    )
    web = container("web", script)
    built = build(
        replace(web, command=(*(web.command or ()), "at $(IP) $(IP)", "$$(IP)"), env=env),
        hosts=(("192.0.2.1", "a b.example"),),
    )
    facts = ((note, 'a = "é" \\c\td%25'), ("metadata.labels['none']", ""), ("metadata.labels['two']", "1\n2"))
    with booted(built, tmp_path, "\n".join(["hostname=pod-1", *told_facts(facts)])) as machine:
        line = 'web pod-1|http://10.0.2.15:80/|a = "é" \\c\td%25||pod-1|'
        machine.wait_for("log", lambda found: found == line)
        machine.wait_for("log", lambda found: found == "web at 10.0.2.15 10.0.2.15 $(IP)")
        assert len(machine.wait_for("log", "web uid").split()[2]) == 36
        machine.wait_for("log", lambda found: found == "web 2")
        machine.wait_for("log", lambda found: found == "web 192.0.2.1 a b.example")


def test_log_lines(build: Build, tmp_path: Path) -> None:
    """Lines of any length arrive; one without end costs the machine nothing."""
    script = (
        "head -c 20000 /dev/zero | tr '\\0' x; echo; echo after the long one; echo to stderr >&2; "
        "echo again >/dev/stderr; head -c 40000000 /dev/zero | tr '\\0' y; echo; "
        # What comes together with the end of the endless line may be dropped with it.
        "sleep 1; echo after the endless one; sleep 1000"
    )
    built = build(container("talks", script))
    with booted(built, tmp_path, "hostname=x\n") as machine:
        machine.wait_for("log", "talks after the endless one")
        lines = [line.removeprefix("talks ") for line in machine.lines("log")]
        assert "".join(line for line in lines if line.startswith("x")) == "x" * 20000
        assert max(map(len, lines)) <= 8192
        assert {"after the long one", "to stderr", "again"} <= set(lines)
        machine.wait_for("control", "ready")
        assert machine.process.poll() is None


def test_no_channels(build: Build, tmp_path: Path) -> None:
    """A machine whose host offers no ports serves all the same, and logs to its console."""
    built = build(container("web", WEB))
    with booted(built, tmp_path, "", channels=False) as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("console", lambda line: "web started" in line)


@pytest.mark.parametrize("text", ["hostname=from-metadata\nready_port=80\nenv=A=b c", ""])
def test_metadata_service(build: Build, tmp_path: Path, text: str) -> None:
    """Without fw_cfg the user data comes from the metadata service, by a token; none is fine too."""
    built = build(container("web", f"hostname; echo A=$A; {WEB}"))
    with booted(built, tmp_path, text, source="metadata") as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("control", "ready")
        assert "address 169.254.169.15" in machine.lines("control")
        machine.wait_for("log", f"web {'from-metadata' if text else '(none)'}")
        machine.wait_for("log", lambda line: line == f"web A={'b c' if text else ''}")


@pytest.mark.parametrize("instance", ["i-0123456789abcdef0", "i-89abcdef", "web-x7k2p"])
def test_ec2_is_late(build: Build, tmp_path: Path, instance: str) -> None:
    """The metadata service answers at last; machines that are told the same have names of their own."""
    (tmp_path / "user-data.json").write_text(json.dumps({"instance-id": instance}))
    (tmp_path / "user-data.late").write_text("7")
    built = build(container("web", f"hostname; echo HOSTNAME=$HOSTNAME; cat /etc/hosts; {WEB}"))
    ec2 = ("-smbios", "type=1,manufacturer=Amazon EC2")
    name = "w" * 60
    own = f"{'w' * 54}-{instance[-8:]}" if instance.startswith("i-") else name
    with booted(built, tmp_path, f"hostname={name}\n", source="metadata", words=ec2) as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("log", "web started")
        lines = {f"web {own}", f"web HOSTNAME={own}", f"web 169.254.169.15 {own}"}
        assert lines <= set(machine.lines("log"))


def test_ec2_without_user_data(build: Build, tmp_path: Path) -> None:
    """That there is none is known at once."""
    (tmp_path / "user-data.json").write_text(json.dumps({"instance-id": "i-0123456789abcdef0"}))
    built = build(container("web", f"hostname; {WEB}"))
    ec2 = ("-smbios", "type=1,manufacturer=Amazon EC2")
    with booted(built, tmp_path, None, source="metadata", words=ec2) as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("log", "web started")
        assert "web (none)" in machine.lines("log")


def test_user_data_on_a_disk(build: Build, tmp_path: Path) -> None:
    """Where the kernel has no fw_cfg, as Ubuntu's for virtual machines."""
    built = build(container("web", f"hostname; {WEB}"))
    with booted(built, tmp_path, "hostname=from-disk\nready_port=80\n", source="disk") as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("log", "web from-disk")


def test_no_metadata_service(build: Build, tmp_path: Path) -> None:
    """Nobody tells the machine anything, and it serves."""
    built = build(container("web", WEB))
    with booted(built, tmp_path, None) as machine:
        assert machine.get() == b"hello\n"
