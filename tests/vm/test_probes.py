"""Probes as the guest asks them, readiness as load balancers hear of it, and pods beyond repair."""

import socket
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
from i2kit.model import Container, Exec, Grpc, HttpGet, MachineImage, Probe, TcpSocket, Workload
from i2kit.settings import Settings
from tests.vm.machine import Machine, booted, busybox_image, container

MakePod = Callable[..., MachineImage]

SHELL = (
    "mkdir -p /www/cgi-bin; "
    r"""printf '#!/bin/sh\necho\nhttpd -d "$QUERY_STRING" | sh 2>&1\n' >/www/cgi-bin/sh; """
    "chmod +x /www/cgi-bin/sh; httpd -f -p 80 -h /www & trap 'kill $!' TERM; wait"
)
"""A server that runs what it is asked to."""

SERVER = (
    r"""printf '#!/bin/sh\n%s\n' "$1" >/answer; chmod +x /answer; """
    "nc -ll -p $2 -e /answer & trap 'kill $!' TERM; wait"
)
"""A server that answers every connection with what a line of shell prints."""

# Frames of HTTP/2: settings; headers (:status 200); the message (status: SERVING); trailers (grpc-status: 0).
GRPC_ANSWER = (
    bytes.fromhex(
        "000000040000000000" + "000001010400000001" + "88" + "000007000000000001" + "0000000002" + "0801"
    )
    + bytes.fromhex("00000f010500000001" + "000b")
    + b"grpc-status"
    + bytes.fromhex("0130")
)


@pytest.fixture(scope="module")
def pod(store: Store, the_base: Base, build_settings: Settings) -> MakePod:
    """Make the machine image of containers that run busybox, with a short grace period."""
    pinned = busybox_image(store, the_base).pinned

    def make(*containers: Container) -> MachineImage:
        with_image = tuple(replace(one, image=pinned) for one in containers)
        return i2kit.image.build(Workload("test", with_image, grace_s=3), settings=build_settings)

    return make


def often(
    handler: HttpGet | TcpSocket | Exec | Grpc, *, failures: int = 1, grace_s: int | None = None
) -> Probe:
    return Probe(handler, period_s=1, timeout_s=20, failure_threshold=failures, grace_s=grace_s)


def server(name: str, line: str, port: int) -> Container:
    return Container(name, "", command=("sh", "-c", SERVER, "sh", line, str(port)))


def run_in(machine: Machine, command: str) -> str:
    """What a command prints in the container with SHELL."""
    return machine.get(f"/cgi-bin/sh?{quote(command)}").decode()


def until(machine: Machine, accept: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not accept():
        assert time.monotonic() < end, machine.evidence()
        time.sleep(0.05)


@pytest.mark.vm
def test_what_probes_decide(pod: MakePod, tmp_path: Path) -> None:
    """Startup gates the others, readiness is told to load balancers, liveness restarts with its reason."""
    web = replace(
        container("web", SHELL),
        startup=often(Exec(("sh", "-c", 'test -e "$0"', "/tmp/it has started")), failures=60),
        liveness=often(TcpSocket(80), failures=3),
        readiness=often(HttpGet(80, "/healthy?a b", headers=(("X-A", "1 = 2"),))),
    )
    answer = "printf '" + "".join(f"\\{byte:03o}" for byte in GRPC_ANSWER) + "'; sleep 2"
    rpc = replace(server("rpc", answer, 9000), readiness=often(Grpc(9000, "some.Service")))
    told = r"printf '\033[31mred\007 \303\251 \377 last'"
    worker = replace(
        container("worker", "rm -f /dev/shm/ill; echo works; trap '' TERM; while :; do sleep 1; done"),
        liveness=often(Exec(("sh", "-c", f"test ! -e /dev/shm/ill || {{ {told}; exit 3; }}")), grace_s=1),
    )
    # Nobody listens on the ready port: where there is a readiness probe, it decides.
    with booted(pod(web, rpc, worker), tmp_path, "ready_port=4\n") as machine:
        machine.wait_for("control", "probe web startup failed exit status 1")
        machine.wait_for("control", "probe rpc readiness ok")
        assert machine.ready() == 503
        assert not [line for line in machine.lines("control") if line.startswith("probe web readiness")]
        run_in(machine, "touch '/tmp/it has started'")
        machine.wait_for("control", "probe web startup ok")
        machine.wait_for("control", "probe web readiness failed GET /healthy?a b: HTTP 404: ")
        machine.wait_for("control", "probe web liveness ok")
        assert "ready" not in machine.lines("control")
        for times in (1, 2):
            run_in(machine, "echo yes >/www/healthy")
            until(machine, lambda: machine.ready() == 200)
            assert machine.lines("control").count("ready") == times
            run_in(machine, "rm /www/healthy")
            until(machine, lambda: machine.ready() == 503)
            assert machine.lines("control").count("unready") == times

        run_in(machine, "touch /dev/shm/ill")
        why = "exit status 3: ?[31mred? ? ? last"
        machine.wait_for("control", f"probe worker liveness failed {why}")
        # It ignores the signal to end, and gets another one once its grace is over.
        machine.wait_for("control", lambda line: line == f"exited worker 137 1 liveness probe failed: {why}")
        machine.wait_for("control", lambda _: machine.lines("control").count("started worker") == 2)
        assert int(machine.wait_for("control", "usage").split()[2]) > 100_000

        run_in(machine, "echo yes >/www/healthy")
        until(machine, lambda: machine.ready() == 200)
        machine.say("stop 3")
        machine.wait_for("control", "stopping")
        assert machine.ready() in (503, None)
        assert machine.wait_for_end(30) == 0
        assert len([line for line in machine.lines("control") if line.startswith("exited")]) == 1


@pytest.mark.vm
def test_hostile_pods(pod: MakePod, tmp_path: Path) -> None:
    """Processes without end are gone once the probe's time is over; /ready answers whoever else asks."""
    bomb = Exec(("sh", "-c", "f() { f | f & }; f; yes"))
    web = replace(container("web", SHELL), liveness=Probe(bomb, period_s=60, failure_threshold=99))
    with booted(pod(web), tmp_path, "ready_port=80\n") as machine:
        machine.wait_for("control", "probe web liveness failed no answer within 1 s")
        until(machine, lambda: int(run_in(machine, "cat /proc/loadavg").split()[3].split("/")[1]) < 100)
        # Many that say nothing, and some that say too much.
        idle = []
        for _ in range(80):
            idle.append(socket.create_connection(("127.0.0.1", machine.health_port)))
            time.sleep(0.03)  # QEMU's network takes one at a time, and the next a second later
        for connection in idle[-20:]:
            connection.sendall(bytes(range(256)) * 20)
        for _ in range(5):
            assert machine.ready() == 200
        for connection in idle:
            connection.close()
        for path in ("/", "/ready/", "/../etc/i2kit/pod"):
            with socket.create_connection(("127.0.0.1", machine.health_port), timeout=5) as asked:
                asked.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
                assert asked.recv(100).startswith(b"HTTP/1.1 404 ")
        assert "exited" not in "".join(machine.lines("control"))


@pytest.mark.vm
def test_a_pod_beyond_repair(pod: MakePod, tmp_path: Path) -> None:
    """A container can never start: the others end as they are asked to, and the machine goes off."""
    web = container(
        "web", "trap 'echo asked to end; exit 0' TERM; httpd -p 80 -h /www; while :; do sleep 0.1; done"
    )
    with booted(pod(web, Container("absent", "", command=("/no/such/program",))), tmp_path, "") as machine:
        assert machine.wait_for_end(60) == 0
        told = machine.lines("control")
        assert [line.split()[:4] for line in told if line.startswith("exited")] == [
            ["exited", "absent", "1", delay] for delay in ("1", "2", "4")
        ]
        (broken,) = (line for line in told if line.startswith("broken"))
        assert broken.startswith("broken container absent cannot start: ")
        assert "/no/such/program" in broken
        assert told[-2:] == [broken, "stopping"]
        assert "web asked to end" in machine.lines("log")


@pytest.mark.parametrize(
    ("statuses", "ran_s", "broken_after"),
    [
        ((1,) * 7, 1, 7),
        ((0,) * 9, 1, None),
        ((2, 0, 2, 0, 2, 2, 2, 2, 2), 1, 9),
        ((1,) * 9, 600, None),
    ],
)
def test_failures_in_a_row(
    tmp_path: Path, statuses: tuple[int, ...], ran_s: int, broken_after: int | None
) -> None:
    """Seven of them are too many; to end with 0 is none, and a container that ran for long is forgiven."""
    script = f"""
        . {GUEST}/supervisor/usr/lib/i2kit/container
        run={tmp_path} now=0
        now() {{ now=$((now + {ran_s} * 100)); }}
        sleep() {{ echo "slept $1" >&5; }}
        crun_container() {{
            read -r status || {{ echo >$run/stopping; return; }}
            echo $status >$run/c/status
        }}
        mkdir $run/c
        supervise c 5>$run/events
    """
    given = "".join(f"{status}\n" for status in statuses)
    subprocess.run(["sh", "-c", script], input=given, text=True, check=True, timeout=20)
    told = (tmp_path / "events").read_text().splitlines()
    exits = [line.split()[2] for line in told if line.startswith("exited c ")]
    assert exits == [str(status) for status in statuses]
    broken = [
        index for index, line in enumerate(told) if line.startswith("broken container c failed 7 times")
    ]
    ends = [index for index, line in enumerate(told) if line.startswith("exited c ")]
    assert broken == ([ends[broken_after - 1] + 1] if broken_after else [])
    delays = [told[index].split()[3] for index in ends]
    assert delays[:3] == (["1"] * 3 if ran_s == 600 else ["1", "2", "4"])
    slept = [line for line in told if line.startswith("slept")]
    assert set(slept) == {"slept 1"}, "in pieces, so that a pod that stops is not held up"
