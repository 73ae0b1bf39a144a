"""securityContext as processes in the machine find it, and what the kernel then allows."""

from dataclasses import replace
from pathlib import Path

import pytest

import i2kit.image
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Container, Exec, MachineImage, Pairs, Probe, Security, Workload
from i2kit.settings import Settings
from tests.vm.machine import Machine, booted, busybox_image, container

pytestmark = pytest.mark.vm

STATUS = "grep -E '^(Uid|Gid|Groups|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"
ALL = "000001ffffffffff"
DEFAULT = "00000000a80425fb"
NONE = "0000000000000000"


def secured(name: str, script: str, **said: object) -> Container:
    words = f"{STATUS}; {script}; echo done; sleep 1000"
    return replace(container(name, words), security=Security(**said))  # type: ignore[arg-type]


def status(machine: Machine, name: str) -> dict[str, str]:
    """What a container saw of itself, and what else it said."""
    machine.wait_for("log", f"{name} done")
    lines = [line.partition(" ")[2] for line in machine.lines("log") if line.startswith(f"{name} ")]
    return {
        key: value.strip().replace("\t", " ") for key, _, value in (line.partition(":") for line in lines)
    }


def test_containers_of_one_pod(
    store: Store, the_base: Base, build_settings: Settings, tmp_path: Path
) -> None:
    def built(sysctls: Pairs, *containers: Container) -> MachineImage:
        images = (busybox_image(store, the_base).pinned for _ in containers)
        pod = tuple(replace(one, image=image) for one, image in zip(containers, images, strict=True))
        return i2kit.image.build(Workload("test", pod, sysctls=sysctls), settings=build_settings)

    asks_in = Probe(Exec(("sh", "-c", "grep NoNewPrivs /proc/self/status; exit 1")), period_s=1, timeout_s=20)
    strict = replace(
        secured(
            "strict",
            "pwd; touch /tmp/a 2>&1; touch /dev/shm/a && echo shm: written; su -c id 2>&1",
            user=1000, group=3000, groups=(4000,), fs_group=2000, readonly_root=True,
            no_new_privileges=True, drop=("ALL",),
        ),
        working_dir="/made/for/it",
        readiness=asks_in,
    )  # fmt: skip
    pod = built(
        (("net/core/somaxconn", "1234"), ("kernel/shmmax", "99999")),
        secured("plain", "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax"),
        strict,
        secured("readonly", "touch /a 2>&1; echo x 2>&1 >/etc/passwd; touch /dev/a && echo dev: written; "
                "mount -o remount,rw / 2>&1", readonly_root=True),
        secured("port", "chown 1 /tmp 2>&1", drop=("ALL",), add=("CAP_NET_BIND_SERVICE",), user=0),
        secured("admin", "mount -t tmpfs x /www && echo mount: done; unshare -m true && echo unshare: done; "
                "mknod /d b 254 0; cat /d 2>&1 >/dev/null; date -s 2030-01-01 2>&1", add=("CAP_SYS_ADMIN",)),
        secured("free", "ls /proc/sys/kernel/ngroups_max; mount | grep -c ' /proc'; "
                "echo $(cat /proc/sys/vm/max_map_count) >/proc/sys/vm/max_map_count && echo proc: written",
                unconfined=True, unmasked=True),
        secured("whole", "dd if=/dev/vda bs=4096 count=1 2>/dev/null | wc -c; echo null: >/dev/null; "
                "echo 262144 >/proc/sys/vm/max_map_count && echo proc: written; "
                "mkdir /sys/fs/cgroup/mine && echo cgroup: made; "
                "hostname other && echo host: named", privileged=True),
    )  # fmt: skip
    with booted(pod, tmp_path, "hostname=one\n") as machine:
        plain = status(machine, "plain")
        assert (plain["Uid"], plain["CapEff"], plain["CapBnd"]) == ("0 0 0 0", DEFAULT, DEFAULT)
        assert (plain["NoNewPrivs"], plain["Seccomp"]) == ("0", "2")
        assert {"1234", "99999"} <= plain.keys()

        found = status(machine, "strict")
        assert (found["Uid"], found["Gid"]) == ("1000 1000 1000 1000", "3000 3000 3000 3000")
        assert found["Groups"] == "5 2000 3000 4000", "etc/group of the image has the user in 5"
        assert (found["CapEff"], found["CapBnd"]) == (NONE, NONE)
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
        assert {"/made/for/it", "shm"} <= found.keys()
        assert "Read-only file system" in found["touch"]
        assert machine.wait_for("control", "probe strict readiness failed").endswith("NoNewPrivs: 1")

        found = status(machine, "readonly")
        assert "Read-only file system" in found["touch"]
        assert "dev" in found
        assert "denied" in found["mount"] or "not permitted" in found["mount"]

        found = status(machine, "port")
        assert (found["CapEff"], found["CapBnd"]) == ("0000000000000400", "0000000000000400")
        assert "not permitted" in found["chown"]

        found = status(machine, "admin")
        assert (found["CapEff"], found["Seccomp"]) == ("00000000a82425fb", "2")
        assert {"mount", "unshare"} <= found.keys(), "the filter allows what the capability is for"
        assert "not permitted" in found["cat"], "no devices but the usual"
        assert "not permitted" in found["date"]

        found = status(machine, "free")
        assert (found["CapEff"], found["Seccomp"]) == (DEFAULT, "0")
        assert "proc" in found

        found = status(machine, "whole")
        assert (found["CapEff"], found["Seccomp"]) == (ALL, "0")
        assert {"4096", "proc", "cgroup"} <= found.keys()

    refuses = built((("net/core/somaxconn", "many"),), secured("web", "true"))
    with booted(refuses, tmp_path / "refuses", "hostname=one\n") as machine:
        said = machine.wait_for("control", "broken")
        assert said == "broken cannot set the sysctl net/core/somaxconn: the kernel does not take many"
        assert machine.wait_for_end(30) == 0
        assert not machine.lines("log")
