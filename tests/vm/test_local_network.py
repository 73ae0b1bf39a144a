"""Names, ways and walls between VMs of provider `local`, as Kubernetes' manifests ask for them."""

import base64
import contextlib
import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from i2kit.model import (
    Alias,
    Container,
    Deployment,
    Ingress,
    NetworkPolicy,
    Pairs,
    PodPeer,
    PolicyPort,
    PolicyRule,
    Port,
    Release,
    Route,
    Selector,
    Service,
    ServicePort,
    Workload,
)
from i2kit.providers.local.design.desired import GATEWAY
from i2kit.providers.local.machines import capabilities
from i2kit.settings import Settings
from tests.vm.deployments import SERVE_ITS_NAME, build_release
from tests.vm.test_local import Local, until

pytestmark = pytest.mark.vm

WEB = PolicyPort("TCP", "web")
CODE = bytes.fromhex(
    "6a29586a025f6a025e31d20f0589c352"  # socket(AF_INET, SOCK_DGRAM, 0)
    "48b8020014e9000000005089df4889e66a105a6a31580f05"  # bind(it, port 5353, 16)
    "4881ec00100000"
    "89df4889e6ba000800004531d24c8d8424100800004c8d8c240808000041c701100000006a2d580f05"  # recvfrom
    "89c2804e0284c6460303"  # it is an answer, "no such name"
    "89df4531d26a1041596a2c580f05"  # sendto
    "ebbd"
)
"""A DNS server, in x86-64's machine code: no program of busybox answers datagrams. Knows no name."""


def program() -> bytes:
    """The DNS server as an ELF file."""
    start, size = 0x400000, 64 + 56 + len(CODE)
    head = b"\x7fELF\2\1\1".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, start + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000) + CODE


SERVE_DNS = (
    f"echo {base64.b64encode(program()).decode()} | base64 -d >/tmp/dns; chmod +x /tmp/dns; exec /tmp/dns"
)


@pytest.fixture
def local(machine_settings: Settings, image: str) -> Iterator[Local]:
    found = capabilities.inspect(machine_settings)
    if found.network != "namespace":
        pytest.skip(found.network_reason)
    local = Local(machine_settings, image)
    yield local
    local.destroy_all()


def pod(
    local: Local,
    name: str,
    script: str,
    *services: Service,
    ports: tuple[Port, ...] = (),
    replicas: int = 1,
    stateful: bool = False,
    namespace: str = "default",
    labels: Pairs = (),
) -> Release:
    container = Container("run", local.image, ("sh", "-c", script), ports=ports)
    workload = Workload(
        *(name, (container,), replicas, namespace),
        labels=(("app", name), *labels),
        stateful=stateful,
        subdomain=f"{name}-headless" if stateful else None,
    )
    return build_release(workload, services, local.settings)


def test_names_of_machines_and_datagrams(local: Local) -> None:
    """A StatefulSet's names from its own and from another namespace, an alias, and a service of UDP."""
    headless = Service("db-headless", (("app", "db"),), (ServicePort(80, 80),), "data", headless=True)
    db = pod(
        *(local, "db", SERVE_ITS_NAME, headless),
        ports=(Port(80),),
        replicas=2,
        stateful=True,
        namespace="data",
    )
    alias = Alias("store", "db-0.db-headless.data.svc.cluster.local", "shop")
    stateful = local.deploy(replace(db, aliases=(alias,)))
    both = (ServicePort(53, 5353, "dns", "UDP"),)
    dns = local.deploy(pod(local, "dns", SERVE_DNS, Service("dns", (("app", "dns"),), both), ports=()))
    names = {
        "inside": (
            "db-0.db-headless",
            "db-1.db-headless.data.svc",
            "db-0.db-headless.data.svc.cluster.local",
        ),
        "outside": ("db-1.db-headless.data", "store", "store.shop"),
    }
    for where, namespace in (("inside", "data"), ("outside", "shop")):
        asks = "ask() { until wget -qO /tmp/got $1; do sleep 0.2; done; echo $1 $(cat /tmp/got); };"
        asks += "".join(f" ask {name};" for name in names[where])
        asks += " nslookup -type=a db-headless.data.svc.cluster.local | grep 10.77 | sort | tr '\\n' ' ';"
        asks += (
            " echo; until nslookup -type=a no.example dns.default 2>&1 | grep NXDOMAIN; do sleep 0.2; done;"
        )
        local.deploy(pod(local, where, asks + " echo done; sleep 1000", namespace=namespace))
        key = f"{namespace}/{where}"
        local.logged(key, "^done")
        for name in names[where]:
            said = local.logged(key, f"^{re.escape(name)} ")
            assert said.split()[1] == ("db-1" if name.startswith("db-1") else "db-0")
        found = set(re.findall(r"10\.77\.\d+\.\d+", local.logged(key, "10.77")))
        assert found == {GATEWAY, *(one.address for one in stateful.instances)}
        assert "no.example" in local.logged(key, "NXDOMAIN")
    (endpoint,) = dns.endpoints
    address, port = re.fullmatch(r"udp://(127\.0\.0\.1):(\d+)", endpoint.url).groups()  # type: ignore[union-attr]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(0.5)

        def answered() -> bool:
            caller.sendto(b"\1\2\0\0hello", (address, int(port)))
            with contextlib.suppress(TimeoutError):
                return caller.recv(100) == b"\1\2\x84\3hello"
            return False

        until(answered)


def ingress_of(deployment: Deployment) -> str:
    return next(one.url for one in deployment.endpoints if ".localhost" in one.url)


def test_an_ingress_over_an_update(local: Local) -> None:
    """Requests by an Ingress, from this machine and from a VM, of which none fails while VMs are replaced.
    That VM is asked to end when it is destroyed.
    """
    ingress = Ingress("shop", (("shop.example.com", (Route("/", False, "web", "http"),)),))

    def web(version: str) -> Release:
        script = f"VERSION={version}; {SERVE_ITS_NAME.replace('httpd', 'httpd -vv')}"
        front = Service("web", (("app", "web"),), (ServicePort(8088, 80, "http"),))
        made = pod(local, "web", script, front, ports=(Port(80),), replicas=2)
        return replace(made, ingresses=(ingress,))

    deployed = local.deploy(web("one"))
    url = ingress_of(deployed)
    where = urlsplit(url)
    assert where.hostname == "shop.example.com.localhost"
    port = where.port or 80
    caller = (
        "until wget -q -O /tmp/got http://shop.example.com/; do sleep 0.2; done; cat /tmp/got;"
        " trap 'wget -q http://web:8088/goodbye; exit 0' TERM; sleep 1000 & wait"
    )
    local.deploy(pod(local, "caller", caller))
    assert local.logged("default/caller", "web-.* one$")
    failed: list[str] = []
    seen: set[str] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", "/", headers={"Host": "shop.example.com"})
                answer = connection.getresponse()
                text = answer.read().decode().split()
                seen.add(text[1]) if answer.status == 200 else failed.append(f"{answer.status} {text}")
            except (OSError, http.client.HTTPException) as error:
                failed.append(repr(error))
            finally:
                connection.close()
            time.sleep(0.01)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for one in asking:
        one.start()
    try:
        again = local.deploy(web("two"))
    finally:
        stop.set()
        for one in asking:
            one.join()
    assert failed == [] and seen == {"one", "two"}
    assert ingress_of(again) == url

    local.destroy("default/caller", hurry=False)
    assert local.logged("default/web", "/goodbye")


def test_policies_between_vms(local: Local) -> None:
    """Who is let in gets in, by the service and straight; nobody else does, before the policy goes again."""
    friend, db = Selector((("app", "friend"),)), Selector((("app", "db"),))
    dns = PodPeer(Selector((("k8s-app", "kube-dns"),)), ("kube-system",))
    let_in = NetworkPolicy("db", db, ingress=(PolicyRule((PodPeer(friend, ("default",)),), (WEB,)),))
    let_out = NetworkPolicy(
        *("friend", friend),
        egress=(PolicyRule((PodPeer(db, None),)), PolicyRule((dns,), (PolicyPort("UDP", 53),))),
    )

    def server(name: str, *policies: NetworkPolicy) -> Release:
        front = Service(name, (("app", name),), (ServicePort(80, "web"),))
        made = pod(local, name, SERVE_ITS_NAME, front, ports=(Port(80, "web"),))
        return replace(made, policies=policies)

    behind = local.deploy(server("db", let_in))
    local.deploy(server("open"))
    assert behind.endpoints == ()
    where = behind.instances[0].address
    asks = (
        "ask() { timeout 5 wget -qO /tmp/got http://$1/ 2>/dev/null && echo $1 reached || echo $1 blocked; };"
        f" while :; do for i in db {where} open; do ask $i; done; echo round; sleep 1; done"
    )
    local.deploy(replace(pod(local, "friend", asks), policies=(let_out,)))
    local.deploy(pod(local, "stranger", asks))

    def rounds(name: str) -> list[str]:
        """What the callers say, of their whole rounds."""
        lines = local.provider.logs(f"default/{name}", container=None, replica=None, follow=False)
        said = "\n".join(line.strip() for _, _, line in lines)
        return [one.strip() for one in said.split("round")[:-1]]

    def told(name: str, *outcomes: str) -> bool:
        wanted = "\n".join(
            f"{target} {outcome}" for target, outcome in zip(("db", where, "open"), outcomes, strict=True)
        )
        return rounds(name)[-2:] == [wanted, wanted]

    until(lambda: told("friend", "reached", "reached", "blocked"))
    until(lambda: told("stranger", "blocked", "blocked", "reached"))
    opened = local.deploy(server("db"))
    assert [one.port for one in opened.endpoints] == [80]
    until(lambda: told("stranger", "reached", "reached", "reached"))
    assert told("friend", "reached", "reached", "blocked")
