"""What provider `local` keeps and what it does not: disks outlive VMs, secrets are nowhere, jobs end.

Real VMs. Data is what a container wrote and synced before it said so.
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import NotReadyError
from i2kit.events import ignore
from i2kit.model import (
    Claim,
    Container,
    Deployment,
    File,
    Files,
    Job,
    Mount,
    Port,
    Release,
    Scratch,
    SecretKey,
    SecretValue,
    Service,
    ServicePort,
    Volume,
    Workload,
    field_word,
    secret_field,
)
from i2kit.providers import Rollback, Wanted
from i2kit.providers.local import LocalProvider
from i2kit.providers.local.layout import Layout
from i2kit.settings import Settings
from tests.vm.deployments import build_release
from tests.vm.test_local import get, is_gone, until

pytestmark = pytest.mark.vm

WRITE = """
mkdir -p /data/www && cd /data
trap 'exit 0' TERM
echo "$(hostname) $VERSION begins" >> www/index.html && sync
httpd -p 80 -h /data/www
touch numbers
N=$(wc -l < numbers)
seq 1 $N | cmp - numbers && echo "found $N"
while true; do
    N=$((N + 1))
    echo "$N" | dd of=numbers oflag=append conv=notrunc,fsync 2>/dev/null && echo "wrote $N"
    sleep 0.05 & wait $!
done
"""
"""Counts on a disk, and says a number once it is synced there. Serves which VMs had the disk so far."""

PASSWORD = "correct-horse-%41-battery\x01staple"
"""What must be found nowhere; with what is escaped on the way."""

TOLD = "correct-horse-%2541-battery%01staple"
"""The same as machines are told it."""


class Here:
    """The provider under test, and what it leaves where."""

    def __init__(self, settings: Settings, image: str) -> None:
        self.settings = settings
        self.image = image
        self.provider = LocalProvider(settings)
        self.provider.hurry = True
        self.layout = Layout(settings.state_dir, settings.run_dir)

    def release(self, workload: Workload, *secrets: SecretValue) -> Release:
        ports = tuple(ServicePort(port.number, port.number) for port in workload.ports)
        services = (Service(workload.name, workload.labels, ports),) if ports else ()
        return replace(build_release(workload, services, self.settings), secrets=secrets)

    def container(self, script: str, *mounts: Mount, **more: object) -> Container:
        one = Container("run", self.image, ("sh", "-c", script), mounts=mounts)
        return replace(one, **more)  # type: ignore[arg-type]

    def apply(self, key: str, wanted: Wanted | None) -> Deployment | None:
        return self.provider.apply(self.provider.plan(key, wanted, self.provider.observe(key)), ignore)

    def deploy(self, release: Release) -> Deployment:
        found = self.apply(release.workload.key, release)
        assert found
        return found

    def said(self, key: str) -> list[str]:
        return [text for _, _, text in self.provider.logs(key, container=None, replica=None, follow=False)]

    def machine(self, instance: str) -> int:
        """The process that the VM of this name is."""
        name = os.fsencode(self.layout.run_dir / "default" / instance)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"qemu-system-x86_64") and name in words:
                return int(path.parent.name)
        raise AssertionError(f"{instance} does not run")

    def kill(self, instance: str) -> None:
        pid = self.machine(instance)
        os.kill(pid, signal.SIGKILL)
        until(lambda: is_gone(pid))


@pytest.fixture(params=["namespace", "user"])
def here(request: pytest.FixtureRequest, machine_settings: Settings, image: str) -> Iterator[Here]:
    made = Here(replace(machine_settings, network="user" if request.param == "user" else "auto"), image)
    yield made
    made.provider.volumes = True
    keys = {one.key for one in made.provider.list()}
    for key in keys | {"default/db"}:
        made.apply(key, None)


def database(here: Here, version: str, replicas: int = 2) -> Release:
    container = here.container(WRITE, Mount("data", "/data"), env=(("VERSION", version),), ports=(Port(80),))
    workload = Workload(
        "db",
        (container,),
        replicas,
        labels=(("app", "db"),),
        volumes=(Volume("data", Claim("data", 64 << 20, each=True)),),
        stateful=True,
        grace_s=10,
    )
    return here.release(workload)


def numbers(here: Here, word: str) -> list[int]:
    """What the first VM, and those before it, said with this word: `found` when it began, `wrote` after."""
    lines = here.provider.logs("default/db", container=None, replica=0, follow=False)
    return [int(text.split()[1]) for _, _, text in lines if text.startswith(f"{word} ")]


def had_it(here: Here) -> list[str]:
    """Which VMs had the disk of the one that answers, from the first on."""
    found = here.provider.observe("default/db")
    assert found
    return get(found.endpoints[0].url).splitlines()


@pytest.mark.parametrize("here", ["namespace"], indirect=True)
def test_data_outlives_vms_updates_and_deployments(here: Here) -> None:
    """SIGKILL in the middle of writes, an update, a rollback, a destroy: what was synced is there."""
    first = here.deploy(database(here, "1"))
    assert [one.id for one in first.instances] == ["db-0", "db-1"]
    assert first.volumes == ("data-db-0", "data-db-1")
    addresses = {one.id: one.address for one in first.instances}
    until(lambda: len(numbers(here, "wrote")) > 20)
    here.kill("db-0")
    before = numbers(here, "wrote")[-1]
    assert until(lambda: numbers(here, "found")[1:] or None)[0] >= before

    second = here.deploy(database(here, "2"))
    assert {one.id: one.address for one in second.instances} == addresses
    back = here.apply("default/db", Rollback())
    assert back and back.revision == 3
    one = here.deploy(database(here, "1", replicas=1))
    assert [each.id for each in one.instances] == ["db-0"]
    history = had_it(here)
    assert history == [*["db-0 1 begins"] * 2, "db-0 2 begins", "db-0 1 begins"]

    before = numbers(here, "wrote")[-1]
    here.apply("default/db", None)
    disks = sorted(path.name for path in here.layout.volumes.rglob("*.raw"))
    assert disks == ["data-db-0.raw", "data-db-1.raw"]
    here.deploy(database(here, "1", replicas=1))
    assert had_it(here) == [*history, "db-0 1 begins"]
    assert until(lambda: numbers(here, "found") or None)[-1] >= before

    here.provider.volumes = True
    here.apply("default/db", None)
    assert not here.layout.volumes.exists()


def test_a_secret_is_told_to_its_vm_and_is_nowhere_else(here: Here) -> None:
    """As a variable and as a file. Found in no file but the one that keeps it, and of no process."""
    key = SecretKey("login", "password")
    script = (
        'echo "told $(printf %s "$PASSWORD" | md5sum) $(md5sum < /etc/login/pass)";'
        " imds() { printf '%s\\r\\n' \"$@\" '' | timeout 5 nc 169.254.169.254 80 | tail -n 1; };"
        " T=$(imds 'PUT /latest/api/token HTTP/1.0' 'X-aws-ec2-metadata-token-ttl-seconds: 60');"
        ' echo "asked $(imds "GET /latest/i2kit/secrets HTTP/1.0" "X-aws-ec2-metadata-token: $T")";'
        " sleep 1000"
    )
    workload = Workload(
        "db",
        (
            here.container(
                script,
                Mount("login", "/etc/login"),
                env=(("PASSWORD", field_word(secret_field("login", "password"))),),
            ),
        ),
        volumes=(Volume("login", Files((File("pass", 0o400, secret=key),))),),
        secrets=(key,),
        grace_s=1,
    )
    given = here.release(workload, SecretValue("default", "login", "password", PASSWORD.encode()))
    before = time.time() - 1
    here.deploy(given)
    told = until(lambda: next((text for text in here.said("default/db") if text.startswith("told ")), None))
    assert re.fullmatch(r"told (\w{32})  - \1  -", told), told
    asked = until(lambda: next((text for text in here.said("default/db") if text.startswith("asked")), None))
    assert asked.strip() in ("asked Not Found", "asked"), "whatever runs in it is not told all of them"

    places = list(found(before, here.layout.state_dir, here.layout.run_dir, here.settings.store_dir))
    (kept,) = (path for path in places if here.layout.secrets in path.parents)
    assert places == [kept]
    assert kept.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in (kept.parent, here.layout.secrets)} == {0}

    again = here.provider.plan("default/db", given, here.provider.observe("default/db"))
    assert again.actions == ()
    other = replace(given, secrets=(SecretValue("default", "login", "password", b"other"),))
    (action,) = here.provider.plan("default/db", other, here.provider.observe("default/db")).actions
    assert (action.verb, action.reason) == ("replace", "secrets changed")
    here.deploy(other)
    assert len([path for path in here.layout.secrets.rglob("*") if path.is_file()]) == 2
    here.apply("default/db", None)
    assert not here.layout.secrets.exists()


def found(since: float, *folders: Path) -> Iterator[Path]:
    """The files in these folders, and the processes of this machine, that hold the secret in any form.

    Files that nobody touched since then cannot: the time is that of the inode's last change.
    """
    forms = (PASSWORD.encode(), TOLD.encode())
    everything = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    files = [path for path in everything if path.stat().st_ctime >= since]
    mine = [Path(f"/proc/{os.getpid()}")]
    for path in (*files, *Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        if path.parent in mine:
            continue
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if any(form in data for form in forms):
            yield path


@pytest.mark.parametrize("here", ["namespace"], indirect=True)
def test_scratch_goes_with_its_vm(here: Here) -> None:
    script = "echo kept >> /data/file; echo has $(wc -l < /data/file) of $(df -m /data | tail -1); sleep 1000"
    workload = Workload(
        "db",
        (here.container(script, Mount("work", "/data")),),
        volumes=(Volume("work", Scratch(limit_bytes=96 << 20)),),
    )
    (one,) = here.deploy(here.release(workload)).instances
    until(lambda: any(text.startswith("has 1 of ") for text in here.said("default/db")))
    here.kill(one.id)
    until(lambda: len([text for text in here.said("default/db") if text.startswith("has 1 of ")]) == 2)


@pytest.mark.parametrize("here", ["namespace"], indirect=True)
def test_jobs_end_and_deploy_says_as_what(here: Here) -> None:
    def job(script: str, **more: object) -> Release:
        return here.release(Workload("db", (here.container(script),), job=Job(**more)))  # type: ignore[arg-type]

    well = job("echo done well", completions=2, parallelism=2)
    found = here.deploy(well)
    assert (found.phase, found.instances) == ("succeeded", ())
    assert here.said("default/db").count("done well") == 2
    assert here.provider.plan("default/db", well, found).actions == ()

    badly = job("echo no such table; exit 3", most_failures=1)
    with pytest.raises(NotReadyError, match="no such table") as caught:
        here.deploy(badly)
    assert "exit status 3" in str(caught.value)
    assert here.said("default/db").count("no such table") == 2
    assert here.said("default/db").count("done well") == 2
    (action,) = here.provider.plan("default/db", badly, here.provider.observe("default/db")).actions
    assert action.reason == "it failed last time, and runs once more"
    assert [one.outcome for one in here.provider.history("default/db")] == ["superseded", "failed"]
