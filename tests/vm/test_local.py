"""What provider `local` promises beyond the contract: names, discovery, healing, and nothing in the way.

Real VMs, real HAProxy, real dnsmasq. One test asks the machines it booted many things.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from i2kit.events import Event, Replicas, Warned, ignore
from i2kit.model import (
    Container,
    Deployment,
    Metric,
    Port,
    Release,
    Resources,
    Scaling,
    Service,
    ServicePort,
    Strategy,
    Workload,
)
from i2kit.providers.local import LocalProvider, control
from i2kit.providers.local.layout import Layout
from i2kit.providers.local.machines import capabilities
from i2kit.settings import Settings
from tests.vm.deployments import SERVE_ITS_NAME, build_release

pytestmark = pytest.mark.vm

PATIENCE_S = 60.0
T = TypeVar("T")


class Local:
    """The provider under test, with words for what the tests do to it."""

    def __init__(self, settings: Settings, image: str) -> None:
        self.settings = settings
        self.image = image
        self.provider = LocalProvider(settings)
        self.layout = Layout(settings.state_dir, settings.run_dir)
        self.events: list[Event] = []

    def web(self, name: str = "web", *, replicas: int = 1, ports: tuple[ServicePort, ...] = ()) -> Release:
        """A web server that answers its VM's name."""
        container = Container("web", self.image, ("sh", "-c", SERVE_ITS_NAME), ports=(Port(80),))
        workload = Workload(name, (container,), replicas, labels=(("app", name),))
        service = Service(name, workload.labels, ports or (ServicePort(80, 80),))
        return build_release(workload, (service,), self.settings)

    def script(self, name: str, script: str, neighbours: tuple[Service, ...] = ()) -> Release:
        """A pod without ports that runs a script."""
        container = Container("run", self.image, ("sh", "-c", script + "\nsleep 1000"))
        return build_release(Workload(name, (container,)), (), self.settings, neighbours)

    def deploy(self, release: Release) -> Deployment:
        key = release.workload.key
        deployment = self.provider.apply(
            self.provider.plan(key, release, self.provider.observe(key)), self.events.append
        )
        assert deployment
        return deployment

    def destroy_all(self) -> None:
        for one in self.provider.list():
            self.destroy(one.key, hurry=True)

    def destroy(self, key: str, *, hurry: bool) -> None:
        self.provider.hurry = hurry
        self.provider.apply(self.provider.plan(key, None, self.provider.observe(key)), ignore)

    def status(self) -> Mapping[str, Any]:
        return control.ask(self.layout.control, {"do": "status"})["deployments"][0]  # type: ignore[no-any-return]

    def logged(self, key: str, pattern: str) -> str:
        """The first line of the log that matches, as soon as there is one."""

        def find() -> str | None:
            lines = self.provider.logs(key, container=None, replica=None, follow=False)
            return next((line.strip() for _, _, line in lines if re.search(pattern, line)), None)

        return until(find)

    def processes(self, program: str) -> list[int]:
        """The ids of our processes of this program."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            folder = os.fsencode(self.layout.run_dir.parent)
            if any(folder in word for word in words) and any(program.encode() in word for word in words[:4]):
                found.append(int(path.parent.name))
        return sorted(found)

    def process(self, program: str) -> int:
        """The id of our one process of this program: a HAProxy that was replaced may be leaving yet."""

        def one() -> int | None:
            found = self.processes(program)
            return found[0] if len(found) == 1 else None

        return until(one)

    def reboot(self) -> None:
        """End everything of ours at once, as nothing can be caught."""
        ours = self.processes("")
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        until(lambda: all(is_gone(one) for one in ours))
        assert self.processes("") == []

    def healed_of(self, machine: str) -> Callable[[], set[str] | None]:
        """The VMs of this machine that are ready, once that is as many as there should be."""

        def find() -> set[str] | None:
            try:
                found = self.status()
            except ConnectionError:
                return None
            mine = (one for one in found["instances"] if one["machine"] == machine)
            ready = {one["id"] for one in mine if one["state"] == "ready"}
            return ready if len(ready) == found["wanted"] else None

        return find

    def healed(self) -> set[str] | None:
        """The VMs that are ready, once it is all of them; asks the supervisor only, which heals nothing."""
        try:
            found = self.status()
        except ConnectionError:
            return None
        ready = {one["id"] for one in found["instances"] if one["state"] == "ready"}
        return ready if found["complete"] and len(ready) == found["wanted"] else None


@pytest.fixture(params=["namespace", "user"])
def network(request: pytest.FixtureRequest, machine_settings: Settings) -> str:
    """Both networks that VMs can have, where this machine has both."""
    if request.param == "namespace":
        found = capabilities.inspect(machine_settings)
        if found.network != "namespace":
            pytest.skip(found.network_reason)
    return str(request.param)


@pytest.fixture
def local(machine_settings: Settings, image: str, network: str) -> Iterator[Local]:
    given = replace(machine_settings, network="user" if network == "user" else "auto")
    local = Local(given, image)
    yield local
    local.destroy_all()


def until(find: Callable[[], T | None]) -> T:
    """What `find` gives as soon as it gives something."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := find()) is None or found is False:
        assert time.monotonic() < deadline, "never came"
        time.sleep(0.05)
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid))


def is_gone(pid: int) -> bool:
    """Whether a process holds nothing any more: while it dies it loses its arguments before its files."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX" and len(threads) == 1


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=15) as answer:
        text: str = answer.read().decode()
    return text.strip()


def test_names_discovery_and_the_way_between_vms(local: Local, network: str) -> None:
    """A pod finds a service that was deployed after it, by every name; its port differs from the pod's."""
    shop = Service("web", (("app", "web"),), (ServicePort(8088, 80, "http"),))
    asks = (
        "env | grep WEB_SERVICE | sort; cat /etc/resolv.conf;"
        ' ask() { until wget -q -O /tmp/got "$2"; do sleep 0.2; done; echo "$1 $(cat /tmp/got)"; };'
        " ask variables http://$WEB_SERVICE_HOST:$WEB_SERVICE_PORT_HTTP/;"
    )
    if network == "namespace":
        for name in ("web", "web.default", "web.default.svc.cluster.local", "web.i2kit.internal"):
            asks += f" ask {name} http://{name}:8088/;"
        asks += (
            " imds() { printf '%s\\r\\n' \"$@\" '' | nc 169.254.169.254 80 | tail -n 1; };"
            " T=$(imds 'PUT /latest/api/token HTTP/1.0' 'X-aws-ec2-metadata-token-ttl-seconds: 60');"
            " ID=$(imds 'GET /latest/meta-data/instance-id HTTP/1.0' \"X-aws-ec2-metadata-token: $T\");"
            ' echo "metadata $ID";'
            ' echo "without a token $(imds "GET /latest/user-data HTTP/1.0")";'
        )
    client = local.deploy(local.script("client", asks, neighbours=(shop,)))
    web = local.deploy(replace(local.web(), services=(shop,)))
    server = web.instances[0].id

    assert server in local.logged("default/client", "^variables ")
    assert get(web.endpoints[0].url) == server
    host = local.logged("default/client", "^WEB_SERVICE_HOST=")
    if network == "user":
        assert host == "WEB_SERVICE_HOST=10.0.2.2"
        assert [event for event in local.events if isinstance(event, Warned)]
        return
    assert re.fullmatch(r"WEB_SERVICE_HOST=10\.77\.255\.\d+", host)
    assert local.logged("default/client", "^WEB_SERVICE_PORT=") == "WEB_SERVICE_PORT=8088"
    for name in ("web", "web.default", "web.default.svc.cluster.local", "web.i2kit.internal"):
        assert local.logged("default/client", f"^{name} ") == f"{name} {server}"
    assert local.logged("default/client", "^metadata") == f"metadata {client.instances[0].id}"
    assert local.logged("default/client", "^without a token") == "without a token Unauthorized"


def test_what_dies_is_replaced(local: Local, network: str) -> None:
    """kill -9 of a VM and of all that looks after it; what hangs; a reboot; two commands at once."""
    web = local.deploy(local.web(replicas=2))
    url = web.endpoints[0].url
    names = {one.id for one in web.instances}
    assert {get(url) for _ in range(8)} == names

    kill(local.processes("qemu-system")[0])
    for _ in range(20):
        assert get(url) in names  # the other one answers all the while

    def others() -> set[str] | None:
        found = local.healed()
        return found if found and found != names else None

    names = until(others)
    assert {get(url) for _ in range(8)} == names

    for program in ("haproxy", "dnsmasq") if network == "namespace" else ("haproxy",):
        pid = local.process(program)
        kill(pid)
        until(lambda program=program, pid=pid: local.processes(program) not in ([], [pid]))  # type: ignore[misc]
        os.kill(local.process(program), signal.SIGSTOP)
    assert {get(url) for _ in range(8)} == names

    if network == "namespace":
        hung = local.processes("qemu-system")[0]
        os.kill(hung, signal.SIGSTOP)
        until(lambda: is_gone(hung))
        names = until(others)

    # The supervisor and the keeper take everything along; with no command it comes back, at the same address.
    for program in ("i2kit.providers.local.supervisor", "i2kit.providers.local.keeper"):
        kill(local.process("watcher.sh"))
        local.process("watcher.sh")  # another one
        kill(local.process(program))
        names = until(others)
        assert {get(url) for _ in range(8)} == names

    # After a reboot the next command brings it back.
    local.reboot()
    assert [one.endpoints for one in local.provider.list()] == [web.endpoints]
    names = until(others)
    assert {get(url) for _ in range(8)} == names

    # Two commands at once: both are done.
    release = local.web(replicas=2)
    other = threading.Thread(target=local.deploy, args=(local.web("other"),))
    other.start()
    until(lambda: len(local.provider.list()) == 2)
    local.deploy(replace(release, workload=replace(release.workload, replicas=1)))
    other.join()
    assert {one.key: one.replicas_ready for one in local.provider.list()} == {
        "default/other": 1,
        "default/web": 1,
    }


def test_a_port_that_another_program_has(local: Local, network: str) -> None:
    """A first deploy takes another port; a promised port is said to be taken, and served once it is free."""
    if network == "user":
        pytest.skip("the same code in both networks")
    release = local.web()
    promised = local.deploy(release).endpoints[0].url
    local.destroy_all()
    number = int(promised.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", number)):
        url = local.deploy(release).endpoints[0].url
        assert url != promised
        assert get(url)
    local.reboot()
    number = int(url.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", number)):
        assert local.provider.list()[0].endpoints[0].url == url
        assert local.status()["unpublished"] == [number]
    until(lambda: local.status()["unpublished"] == [] and local.status()["ready"] == 1)
    assert get(url)


def test_what_should_run_survives_a_file_that_cannot_be_read(local: Local, network: str) -> None:
    """An unreadable desired.json is kept aside, not overwritten: a person may still want it."""
    if network == "user":
        pytest.skip("the same code in both networks")
    local.layout.state_dir.mkdir()
    local.layout.desired.write_text("{ not json")
    local.deploy(local.script("job", "echo hi"))
    (aside,) = local.layout.state_dir.glob("desired.unreadable-*")
    assert aside.read_text() == "{ not json"
    assert json.loads(local.layout.desired.read_text())["deployments"]
    aside.unlink()


def test_a_port_that_nobody_listens_on(local: Local, network: str) -> None:
    """While it waits, the deploy says for what: the guest sees that its containers run and do not listen."""
    if network == "user":
        pytest.skip("the same code in both networks")
    deaf = Container("web", local.image, ("sh", "-c", "httpd -f -p 127.0.0.1:80"), ports=(Port(80),))
    workload = Workload("deaf", (deaf,))
    service = Service("deaf", (), (ServicePort(80, 80),))
    release = build_release(workload, (service,), local.settings)

    def stop_waiting(event: Event) -> None:
        local.events.append(event)
        if isinstance(event, Replicas) and any("listens" in one.detail for one in event.instances):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.provider.apply(local.provider.plan(workload.key, release, None), stop_waiting)
    (instance,) = local.status()["instances"]
    assert instance["detail"] == "its containers run, but nobody listens on port 80"


def test_a_run_folder_that_is_removed(local: Local, network: str) -> None:
    """Nothing goes on that no command can reach: it starts anew where commands find it."""
    if network == "user":
        pytest.skip("the same code in both networks")
    local.deploy(local.script("job", "echo hi"))
    before = local.processes("")
    shutil.rmtree(local.layout.run_dir)
    until(lambda: all(is_gone(one) for one in before))
    assert until(local.healed)
    assert [one.key for one in local.provider.list()] == ["default/job"]


def test_what_others_have_in_the_same_folders_stays(
    local: Local, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the keeper starts, and after a deployment: ours is taken away, and only ours."""
    if network == "user":
        pytest.skip("the same code in both networks")
    precious = [local.layout.run_dir / "precious", local.layout.logs / "precious"]
    for path in precious:
        path.parent.mkdir(parents=True)
        path.touch()
    release = local.script("job", "echo hi")

    def interrupt(_: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)  # while it waits for the supervisor to listen
    with pytest.raises(KeyboardInterrupt):
        local.deploy(release)
    assert local.processes("") == []

    local.deploy(release)
    local.destroy_all()
    assert sorted(local.layout.run_dir.rglob("*")) == precious[:1]
    assert sorted(local.layout.state_dir.rglob("*")) == [local.layout.logs, precious[1]]
    for path in precious:
        path.unlink()
    local.layout.logs.rmdir()
    local.layout.run_dir.rmdir()
    local.layout.state_dir.rmdir()


def test_a_service_that_comes_to_lead_to_another_port(local: Local, network: str) -> None:
    """Only the Service changes: its address leads to the other port, in the user network by other VMs."""
    script = (
        "mkdir -p /tmp/a /tmp/b; echo a > /tmp/a/index.html; echo b > /tmp/b/index.html; trap exit TERM;"
        " httpd -p 80 -h /tmp/a; httpd -f -p 81 -h /tmp/b & wait"
    )
    container = Container("web", local.image, ("sh", "-c", script), ports=(Port(80), Port(81)))
    workload = Workload("web", (container,), labels=(("app", "web"),))

    def leading_to(target: int) -> Deployment:
        service = Service("web", workload.labels, (ServicePort(8080, target),))
        return local.deploy(build_release(workload, (service,), local.settings))

    before = leading_to(80)
    assert get(before.endpoints[0].url) == "a"
    after = leading_to(81)
    assert after.endpoints == before.endpoints
    assert get(after.endpoints[0].url) == "b"
    assert (after.instances[0].id == before.instances[0].id) == (network == "namespace")


def test_a_rollout_that_fails_goes_back_though_nobody_watches(local: Local, network: str) -> None:
    """The command is ended right after its order; the supervisor, too, begins anew in the middle."""
    if network == "user":
        pytest.skip("the same code in both networks")
    web = local.deploy(local.web(replicas=2))
    names = {one.id for one in web.instances}
    bad = Container(
        "web", local.image, ("sh", "-c", "echo my last words; sleep 1; exit 7"), ports=(Port(80),)
    )
    workload = Workload("web", (bad,), 2, labels=(("app", "web"),))
    release = build_release(
        workload, (Service("web", workload.labels, (ServicePort(80, 80),)),), local.settings
    )

    def deploy_and_die() -> None:
        def stop_waiting(event: Event) -> None:
            if isinstance(event, Replicas) and len(event.instances) > 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            local.provider.apply(local.provider.plan(workload.key, release, web), stop_waiting)

    deploy_and_die()
    seen: set[str] = set()
    while (found := local.status())["revision"] == 2:
        ready = {one["id"] for one in found["instances"] if one["state"] == "ready"}
        assert ready == names, "what served before does so all the while"
        seen |= {one["state"] for one in found["instances"]}
        assert get(web.endpoints[0].url) in names
    assert seen == {"ready", "starting", "failed"}
    assert until(local.healed) == names
    failed = local.provider.history("default/web")[1]
    assert (failed.number, failed.outcome) == (2, "failed")
    assert re.fullmatch(r".*container web ended with exit status 7.*: web my last words", failed.reason)

    # Killed in the middle of another try, it first brings back what served.
    deploy_and_die()
    kill(local.process("i2kit.providers.local.supervisor"))
    old = until(local.healed_of(web.machine))
    assert {get(web.endpoints[0].url) for _ in range(8)} == old
    until(lambda: local.status()["revision"] == 5)
    assert until(local.healed) == old


def test_recreate_and_the_number_of_vms_that_follows_what_they_do(local: Local, network: str) -> None:
    """One busy VM becomes two; another revision starts when both are gone, and keeps the number."""
    if network == "user":
        pytest.skip("the same code in both networks")

    def busy(version: str) -> Release:
        script = f"echo {version}; trap exit TERM; while :; do :; done"
        asked = Resources(cpu_request_millis=10)
        container = Container("run", local.image, ("sh", "-c", script), resources=asked)
        scaling = Scaling(1, 2, (Metric("cpu", percent=50),))
        workload = Workload(
            "busy", (container,), scaling=scaling, strategy=Strategy(recreate=True), grace_s=3
        )
        return build_release(workload, (), local.settings)

    first = local.deploy(busy("1"))
    assert first.replicas_wanted == 1
    until(lambda: local.status()["wanted"] == 2 and local.healed())
    assert (
        local.provider.plan("default/busy", busy("1"), local.provider.observe("default/busy")).actions == ()
    )

    local.events.clear()
    second = local.deploy(busy("2"))
    assert (second.replicas_ready, second.revision) == (2, 2)
    told = [event.instances for event in local.events if isinstance(event, Replicas)]
    assert {one.image for instances in told for one in instances} == {first.image, second.image}
    assert all(len({one.image for one in instances}) <= 1 for instances in told)
