"""Names of headless services, of their machines, and of aliases."""

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from i2kit.model import Alias, Container, Port, Release, Service, ServicePort, Workload
from i2kit.providers.local.design.desired import Desired, admit, order_of
from i2kit.providers.local.machines.userdata import discovery
from i2kit.providers.local.reach import dns, outside
from i2kit.providers.local.reach.dns import Machine

from .releases import image, release
from .test_balancer import until


def stateful(namespace: str = "data", *, unready: bool = False, service: str = "db") -> Release:
    workload = Workload(
        "db",
        (Container("db", "db", ports=(Port(5432),)),),
        replicas=2,
        namespace=namespace,
        labels=(("app", "db"),),
        stateful=True,
        subdomain=service,
    )
    front = Service(service, (("app", "db"),), (ServicePort(5432, 5432),), namespace, headless=True)
    return Release(workload, image(), (replace(front, unready=unready),))


def machines(namespace: str = "data") -> list[Machine]:
    return [
        Machine("10.77.1.1", "db-0", f"{namespace}/db", ready=True),
        Machine("10.77.1.2", "db-1", f"{namespace}/db", ready=False),
    ]


def addresses_of(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        where, *names = line.split()
        for name in names:
            found.setdefault(name, []).append(where)
    return found


def test_a_headless_service_is_its_ready_machines_and_each_has_a_name() -> None:
    state = admit(Desired(), order_of(stateful()))
    assert not state.services  # no address of its own, nothing is published
    found = addresses_of(dns.host_lines(state, machines()))
    for suffix in (".data", ".data.svc", ".data.svc.cluster.local"):
        assert found[f"db{suffix}"] == ["10.77.1.1"]
        assert found[f"db-0.db{suffix}"] == ["10.77.1.1"]
        assert f"db-1.db{suffix}" not in found
    # What another namespace may have too needs a namespace, or the search list.
    assert not {"db", "db-0", "db-0.db"} & found.keys()
    assert discovery("data", state.services, namespace_network=True) == {}


def test_in_the_default_namespace_short_names_do() -> None:
    state = admit(Desired(), order_of(stateful("default")))
    found = addresses_of(dns.host_lines(state, machines("default")))
    assert found["db"] == found["db-0.db"] == ["10.77.1.1"]


def test_those_that_are_not_ready_are_found_where_that_is_wanted() -> None:
    order = order_of(stateful(unready=True))
    assert order.ready_ports == ()  # or they might wait for each other for ever
    found = addresses_of(dns.host_lines(admit(Desired(), order), machines()))
    assert found["db.data"] == ["10.77.1.1", "10.77.1.2"]
    assert found["db-1.db.data"] == ["10.77.1.2"]


def test_machines_have_names_below_their_own_service_only() -> None:
    other = replace(stateful(), workload=replace(stateful().workload, subdomain="others"))
    found = addresses_of(dns.host_lines(admit(Desired(), order_of(other)), machines()))
    assert "db.data" in found and "db-0.db.data" not in found
    named = replace(other.workload, stateful=False, hostname="master", subdomain="db")
    state = admit(Desired(), order_of(replace(other, workload=named)))
    assert addresses_of(dns.host_lines(state, machines()))["master.db.data"] == ["10.77.1.1"]


def test_a_service_with_and_one_without_an_address() -> None:
    front = Service("db-read", (("app", "db"),), (ServicePort(80, 5432),), "data")
    one = stateful()
    state = admit(Desired(), order_of(replace(one, services=(*one.services, front))))
    assert [record.key for record in state.services] == ["data/db-read"]
    wanted = state.deployment("data/db")
    assert wanted and [each.service for each in wanted.backends] == ["data/db-read"]
    assert addresses_of(dns.host_lines(state, machines()))["db-read.data"] == [state.services[0].vip]


def test_an_alias_stands_for_what_is_inside_and_what_is_not() -> None:
    aliases = (
        Alias("store", "db.data.svc.cluster.local.", "shop"),
        Alias("api", "API.example.com", "shop"),
        Alias("again", "store.shop.svc.cluster.local", "default"),
        Alias("loop", "loop.default.svc.cluster.local", "default"),
        Alias("later", "none.default.svc.cluster.local", "default"),
    )
    state = admit(Desired(), order_of(replace(stateful(), aliases=aliases)))
    assert dns.strangers(state, machines()) == {"api.example.com"}
    known = {"api.example.com": ("192.0.2.1", "192.0.2.2")}
    found = addresses_of(dns.host_lines(state, machines(), known))
    assert found["store.shop.svc"] == found["again"] == ["10.77.1.1"]
    assert found["api.shop.svc.cluster.local"] == ["192.0.2.1", "192.0.2.2"]
    assert not {"api", "loop", "later"} & found.keys()
    gone = admit(state, order_of(stateful()))
    assert not gone.aliases


def test_tcp_and_udp_of_the_same_number() -> None:
    both = (ServicePort(53, 5353, "dns"), ServicePort(53, 5353, "dns-udp", "UDP"))
    front = Service("dns", (("app", "dns"),), both)
    order = order_of(release("dns", services=(front,), ports=(Port(5353), Port(5353, None, "UDP"))))
    state = admit(Desired(), order)
    assert order.ready_ports == (5353,)
    (record,) = state.services
    assert [(port.number, port.protocol) for port in record.ports] == [(53, "TCP"), (53, "UDP")]
    assert record.ports[0].host_port != record.ports[1].host_port
    node = replace(front, ports=tuple(replace(one, node_port=31053) for one in both))
    state = admit(Desired(), order_of(release("dns", services=(node,), ports=(Port(5353),))))
    assert [port.host_port for port in state.services[0].ports] == [31053, 31053]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def test_names_outside_are_asked_for_again_and_again(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "AGAIN_S", 0.02)
    records = {b"\x03api\x07example\x03com\x00": ["192.0.2.7"]}

    def answer() -> None:
        while True:
            try:
                message, caller = server.recvfrom(512)
            except OSError:
                return
            asked = message[12:-4]
            found = records.get(asked, [])
            head = message[:2] + struct.pack("!5H", 0x8180 if found else 0x8183, 1, len(found) + 1, 0, 0)
            alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
            body = b"".join(
                b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(one) for one in found
            )
            server.sendto(head + message[12:] + alias + body, caller)

    threading.Thread(target=answer, daemon=True).start()
    names = outside.Outside(server.getsockname())
    names.look_for({"api.example.com", "none.example.com", "not..a.name"})
    until(lambda: names.known == {"api.example.com": ("192.0.2.7",), "none.example.com": ()})
    records[b"\x03api\x07example\x03com\x00"] = ["192.0.2.9", "192.0.2.8"]
    until(lambda: names.known["api.example.com"] == ("192.0.2.8", "192.0.2.9"))
    names.look_for(())
    assert names.known == {}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 12,
        struct.pack("!6H", 7, 0x8180, 0, 1, 0, 0) + b"\xc0",
        struct.pack("!6H", 7, 0x8182, 0, 0, 0, 0),
    ],
)
def test_an_answer_that_is_none_says_nothing(message: bytes) -> None:
    assert outside.answers(7, message) is None
