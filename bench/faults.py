"""What callers notice while machines are replaced, killed, hung, added and removed, on this machine, now.

    python bench/faults.py [NAME …]      all events, or only those whose name has one of these words

In: nginx of the examples, in two revisions and one that cannot start. Each event happens to a deployment
that runs under a load (`load`). Out: a table of requests sent and failed, per event. Ends with 1 when a
request failed that an event must not cost. Needs what `make setup` installs; other deployments of this
machine are not touched.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import Load, Tally
from measure import NGINX_IMAGE, nginx, uncompressed

from i2kit import settings

BEFORE_S = AFTER_S = 3.0

CONFIGURATION = """
daemon off;
user www-data;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    server {{
        listen 80;
        root /srv;
        location = / {{ default_type text/plain; return 200 "{revision}\\n"; }}
        location = /slow {{ limit_rate 10k; }}
    }}
}}
"""
SLOW_BYTES = 20 << 10
"""At 10 kB a second."""


@dataclass(frozen=True, slots=True)
class World:
    """A place of i2kit's own, and the images that are deployed there."""

    folder: Path

    def i2kit(self, *words: str, succeed: bool = True) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {
            "I2KIT_STATE_DIR": str(self.folder / "state"),
            "I2KIT_RUN_DIR": str(self.folder / "run"),
            "I2KIT_STORE_DIR": str(settings.load().store_dir),
            "I2KIT_LOCK_FILE": str(self.folder / "i2kit.lock"),
        }
        argv = [sys.executable, "-c", "from i2kit.cli import main; main()", *words]
        done = subprocess.run(argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if succeed and done.returncode:
            sys.exit(f"error: i2kit {' '.join(words)} ended with {done.returncode}\n{done.stderr}")
        return done

    def deploy(self, revision: str, replicas: int, *, broken: bool = False) -> int:
        """The exit status of a deploy that may fail only if it is broken."""
        container: dict[str, Any] = {"image": f"oci:{self.folder / revision}:stable", "ports": [80]}
        container |= {"args": ["-c", "/nowhere"]} if broken else {}
        container["resources"] = {"requests": {"memory": "64Mi"}}
        container["readinessProbe"] = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
        manifest = self.folder / "bench.yml"
        manifest.write_text(
            json.dumps({"name": "bench", "replicas": replicas, "containers": {"nginx": container}})
        )
        return self.i2kit("deploy", "-q", "-f", str(manifest), succeed=not broken).returncode

    def scale(self, replicas: int) -> None:
        self.i2kit("scale", "-q", "bench", str(replicas))

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.i2kit("status", "bench", "--output", "json").stdout)[0])

    def until_whole(self) -> None:
        """Until there are as many ready machines as wanted, and no other."""
        while True:
            found = self.status()
            wanted = found["replicas"]["wanted"]
            if found["replicas"]["ready"] == wanted == len(found["instances"]):
                return
            time.sleep(0.2)

    def processes(self, program: str, *words: str) -> list[int]:
        """The ids of this world's processes of a program whose arguments hold these words."""
        return sorted(pid for pid, argv in running(program) if all(word in argv for word in words))

    def machine(self) -> int:
        """The process of the first machine."""
        return self.processes("qemu-system", self.status()["instances"][0]["id"])[0]

    def balancer(self) -> int:
        return self.processes("haproxy", str(self.folder / "run"))[0]


def running(program: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if argv[0].rpartition("/")[2].startswith(program):
                yield int(entry.name), " ".join(argv)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to `replicas` machines. `may_fail` says which failures are no fault of ours."""

    name: str
    replicas: int
    happen: Callable[[World], None]
    may_fail: Callable[[str], int] = lambda _: 0
    """How many requests of a sort of callers it may cost."""


def update(world: World) -> None:
    world.deploy("second", int(world.status()["replicas"]["wanted"]))


def kill_machine(world: World) -> None:
    os.kill(world.machine(), signal.SIGKILL)
    time.sleep(1)
    world.until_whole()


def hang_machine(world: World) -> None:
    pid = world.machine()
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.1)
    world.until_whole()


def kill_balancer(world: World) -> None:
    os.kill(world.balancer(), signal.SIGKILL)
    time.sleep(1)


def scale(world: World) -> None:
    for replicas in (5, 2, 3):
        world.scale(replicas)


def fail(world: World) -> None:
    status = world.deploy("second", 3, broken=True)
    if status != 3:
        sys.exit(f"error: the broken revision's deploy ended with {status}, not 3")


def in_flight(caller: str) -> int:
    """What was being answered breaks with the process that answered: at most one request of each caller."""
    return 6


def not_idempotent(caller: str) -> int:
    """A POST that a machine took with it may have been done: it is not sent again."""
    return 3 if "POST" in caller else 6 if "2 s" in caller else 0


EVENTS = (
    Event("rolling update of 3", 3, update),
    Event("rolling update of 10", 10, update),
    Event("kill -9 of a machine", 3, kill_machine, not_idempotent),
    Event("SIGSTOP of a machine", 3, hang_machine, not_idempotent),
    Event("kill -9 of HAProxy", 3, kill_balancer, in_flight),
    Event("scale 3 → 5 → 2 → 3", 3, scale),
    Event("an update that fails and goes back", 3, fail),
)


def make_image(folder: Path, revision: str, packages: bytes) -> None:
    """The examples' nginx with a configuration that tells its revision."""

    def files() -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        data = {
            "etc/nginx/nginx.conf": CONFIGURATION.format(revision=revision).encode(),
            "srv/slow": b"x" * SLOW_BYTES,
        }
        for name, content in data.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            yield member, content

    NGINX_IMAGE["write_layout"](folder / revision, [packages, NGINX_IMAGE["pack"](files())])


def happens(world: World, event: Event) -> Load:
    """Deploy, let the callers ask, let it happen, look a little longer."""
    world.deploy("first", event.replicas)
    url = world.status()["endpoints"][0]["url"]
    with Load(url) as load:
        time.sleep(BEFORE_S)
        event.happen(world)
        time.sleep(AFTER_S)
    world.i2kit("destroy", "-q", "bench")
    return load


def cell(tally: Tally) -> str:
    return f"{tally.failed} of {tally.sent:,}, worst {tally.worst_s * 1000:,.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only events with one of these words")
    chosen = parser.parse_args().names
    events = [one for one in EVENTS if not chosen or any(word in one.name for word in chosen)]
    folder = Path(tempfile.mkdtemp(prefix="i2kit-"))
    world, wrong = World(folder), 0
    try:
        nginx(folder / "nginx")
        packages, *_ = uncompressed(folder / "nginx")
        for revision in ("first", "second"):
            make_image(folder, revision, packages)
        for event in events:
            load = happens(world, event)
            table(event, load)
            wrong += sum(max(0, tally.failed - event.may_fail(name)) for name, tally in load.tallies.items())
    finally:
        world.i2kit("destroy", "-q", "bench", succeed=False)
        shutil.rmtree(folder, ignore_errors=True)
    if wrong:
        print(f"\n{wrong} requests failed that should not have", file=sys.stderr)
    return 1 if wrong else 0


def table(event: Event, load: Load) -> None:
    """One row for each sort of callers."""
    print(f"\n| {event.name} | failed of sent, longest wait |\n|---|---|")
    for name, tally in load.tallies.items():
        why = f" ({', '.join(f'{count} × {reason}' for reason, count in tally.failures.items())})"
        print(f"| {name} | {cell(tally)}{why if tally.failed else ''} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
