"""NetworkPolicies: which rules they are, and what the kernel makes of them, without VMs."""

import os
import socket
import sys
from dataclasses import replace

import pytest

from i2kit.model import (
    Ingress,
    NetworkPeer,
    NetworkPolicy,
    PodPeer,
    PolicyPort,
    PolicyRule,
    Port,
    Route,
    Selector,
    Service,
    ServicePort,
)
from i2kit.process import ProgramError, run
from i2kit.providers.local.design import describe
from i2kit.providers.local.design.desired import INGRESS, Desired, admit, mac, order_of, remove
from i2kit.providers.local.machines.namespaces import isolated
from i2kit.providers.local.reach import firewall, network
from tests.golden import check as golden

from . import test_network as frames
from .releases import release

WEB = Selector((("app", "web"),))
DB = Selector((("app", "db"),))
SQL = PolicyPort("UDP", "sql")
HERE = ("default",)

CLOSED_DB = NetworkPolicy(
    "db",
    DB,
    ingress=(PolicyRule((PodPeer(WEB, HERE),), (SQL,)),),
)
STRICT_WEB = NetworkPolicy(
    "web",
    WEB,
    egress=(
        PolicyRule((PodPeer(DB, HERE),), (PolicyPort("UDP", 5000, 5999),)),
        PolicyRule(
            (PodPeer(Selector((("k8s-app", "kube-dns"),)), ("kube-system",)),), (PolicyPort("UDP", 53),)
        ),
        PolicyRule((NetworkPeer("192.0.2.0/24", ("192.0.2.128/25", "192.0.2.192/26")),)),
    ),
)
NOTHING_IN = NetworkPolicy("closed", Selector((("app", "other"),)), ingress=())


def three(*policies: NetworkPolicy, ingresses: tuple[Ingress, ...] = ()) -> Desired:
    """`db` (1), `web` (2) and `other` (3), each with a service, and the policies that select them."""
    state = Desired()
    for name in ("db", "web", "other"):
        ports = (Port(5432, "sql", "UDP"), Port(9999, "more", "UDP"), Port(80, "http"))
        numbers = (ServicePort(53, "sql", None, "UDP"), ServicePort(99, "more", None, "UDP"))
        front = Service(name, (("app", name),), (*numbers, ServicePort(8088, "http")))
        made = release(name, services=(front,), ports=ports)
        mine = tuple(one for one in policies if one.selects(made.workload))
        state = admit(state, order_of(replace(made, policies=mine, ingresses=ingresses)))
    return state


def test_the_rules() -> None:
    ingress = Ingress("shop", (("", (Route("/", False, "web", 8088),)),))
    state = three(CLOSED_DB, STRICT_WEB, NOTHING_IN, ingresses=(ingress,))
    golden("local/policies.nft", firewall.rules(state))


def test_without_policies_nothing_is_held_back() -> None:
    assert "drop" not in firewall.rules(three())


def test_what_this_machine_may_call() -> None:
    anybody = NetworkPolicy("any", WEB, ingress=(PolicyRule(None, (PolicyPort("TCP", 80),)),))
    networks = NetworkPolicy("net", DB, ingress=(PolicyRule((NetworkPeer("198.51.100.0/24"),)),))
    state = three(anybody, networks, NOTHING_IN)

    def may(service: str, number: int, protocol: str = "TCP") -> bool:
        return firewall.is_published(state, f"default/{service}", number, protocol)  # type: ignore[arg-type]

    assert may("web", 8088) and not may("web", 53, "UDP")
    assert may("db", 8088) and may("db", 53, "UDP")
    assert not may("other", 8088)
    assert firewall.is_published(state, INGRESS, 80, "TCP")
    wanted = state.deployment("default/other")
    assert wanted
    told = describe.deployment(
        wanted, state, (), unpublished=(), usual=False, detail="", complete=True, stuck=""
    )
    assert told["endpoints"] == []


def test_nobody_listens_for_a_service_that_nothing_is_behind_any_more() -> None:
    front = Service("db", (("app", "db"),), (ServicePort(5432, 5432),))
    web = replace(release("web"), neighbours=(front,))
    state = admit(Desired(), order_of(web))
    assert not firewall.is_published(state, "default/db", 5432, "TCP")
    both = admit(state, order_of(release("db", services=(front,), ports=(Port(5432),))))
    assert firewall.is_published(both, "default/db", 5432, "TCP")
    after = remove(both, "default/db")
    assert not firewall.is_published(after, "default/db", 5432, "TCP")
    assert [one.vip for one in after.services if one.key == "default/db"], "others know its address"


@pytest.mark.parametrize(
    ("peer", "routed"),
    [
        (PodPeer(Selector((("app.kubernetes.io/name", "ingress-nginx"),)), ("ingress-nginx",)), True),
        (PodPeer(Selector(), ("ingress-nginx",)), True),
        (PodPeer(Selector(), None), True),
        (PodPeer(Selector(), HERE), False),
        (NetworkPeer("0.0.0.0/0"), True),
    ],
)
def test_what_ingresses_may_call(peer: PodPeer | NetworkPeer, routed: bool) -> None:
    policy = NetworkPolicy("web", WEB, ingress=(PolicyRule((peer,)),))
    state = three(policy)
    assert firewall.is_routed(state, "default/web", 8088) is routed
    assert firewall.is_routed(state, "default/db", 8088)


def test_what_is_no_network_is_told() -> None:
    wrong = replace(STRICT_WEB, ingress=(PolicyRule((NetworkPeer("10.0.0.0/8", ("10.0.0.0/99", "x")),)),))
    assert firewall.wrong_networks(wrong) == ["10.0.0.0/99", "x"]
    six = NetworkPolicy("six", DB, ingress=(PolicyRule((NetworkPeer("2001:db8::/32"),)),))
    assert firewall.wrong_networks(six) == []
    assert "2001" not in firewall.rules(three(six))


def send_all() -> None:
    """Print what got from each VM to the others, to services and outside, under each set of policies."""
    network.make()
    run(["ip", "link", "add", network.OUTSIDE, "type", "veth", "peer", "name", "far"])
    run(["ip", "link", "set", "far", "up"])
    run(["ip", "addr", "add", "10.76.0.2/24", "dev", network.OUTSIDE])
    run(["ip", "link", "set", network.OUTSIDE, "up"])
    run(["ip", "route", "add", "default", "via", "10.76.0.1"])
    run(["ip", "neigh", "replace", "10.76.0.1", "lladdr", frames.MALLORY[0], "dev", network.OUTSIDE])
    state = three()
    vms = {one.name: (mac(one, 0), f"10.77.{one.index}.1") for one in state.deployments}
    taps = {}
    for one in state.deployments:
        taps[one.name] = network.open_tap(f"vm{one.index}.0", *vms[one.name])
        frames.know(vms[one.name])
    vip = next(one.vip for one in state.services if one.name == "db")
    bound = {
        "db:53": network.bind(vip, 53),
        "db:99": network.bind(vip, 99),
        "names": network.bind("10.77.0.1", 53),
    }
    outside = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    outside.bind((network.OUTSIDE, 0))
    for each in (*bound.values(), outside):
        each.setblocking(False)
    for which, policies in (("none", ()), ("policies", (CLOSED_DB, STRICT_WEB, NOTHING_IN))):
        network.enforce(firewall.rules(three(*policies)))
        for source, (hardware, address) in vms.items():
            targets = {
                f"{name}:{port}": (where, port) for name, (_, where) in vms.items() for port in (5432, 9999)
            }
            targets |= {"db:53": (vip, 53), "db:99": (vip, 99), "names": ("10.77.0.1", 53)}
            targets |= {
                "world": ("192.0.2.1", 9),
                "elsewhere": ("192.0.2.200", 9),
                "far": ("198.51.100.1", 9),
            }
            got = []
            for target, (where, port) in targets.items():
                if target.partition(":")[0] == source and where != vip:
                    continue
                text = f"{which} {source} {target}".encode()
                datagram = frames.udp(address, where, (9, port), text)
                os.write(
                    taps[source],
                    frames.VNET_HEADER + frames.ethernet(hardware, network.HARDWARE, 0x800, datagram),
                )
                if any(text in one for one in arrived(taps, bound, outside, target)):
                    got.append(target)
            print(f"{which}: {source} → {' '.join(got)}")


def arrived(
    taps: dict[str, int], bound: dict[str, socket.socket], outside: socket.socket, target: str
) -> list[bytes]:
    """What is there for a target now."""
    if target in bound:
        frames.received(taps["other"])  # takes its time
        return frames.heard(bound[target])
    if target.partition(":")[0] in taps:
        return frames.received(taps[target.partition(":")[0]])
    frames.received(taps["other"])
    return frames.heard(outside)


def test_what_the_kernel_lets_through() -> None:
    try:
        run(isolated([sys.executable, "-m", "i2kit.providers.local.reach.network"], network_too=True))
    except ProgramError as error:
        pytest.skip(f"no network in a namespace here: {error}")
    child = [sys.executable, "-c", "from tests.local import test_firewall; test_firewall.send_all()"]
    everything = (
        "db:5432 db:9999 other:5432 other:9999 web:5432 web:9999 db:53 db:99 names world elsewhere far"
    )

    def but(*names: str) -> str:
        return " ".join(one for one in everything.split() if not one.startswith(names))

    assert run(isolated(child, network_too=True)).text.splitlines() == [
        f"none: db → {but('db:5432', 'db:9999')}",
        f"none: other → {but('other')}",
        f"none: web → {but('web')}",
        f"policies: db → {but('db', 'other')}",
        f"policies: other → {but('other', 'db')}",
        "policies: web → db:5432 db:53 names world",
    ]
