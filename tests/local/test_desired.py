"""What should run: addresses and ports are handed out once and stay."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import InputError, OperationError
from i2kit.model import Metric, Port, Release, Resources, Scaling, Service, ServicePort, Strategy
from i2kit.providers.local.design import desired
from i2kit.providers.local.design.desired import Desired, Order, Policy, admit, order_of, remove
from i2kit.providers.local.design.orders import order_for
from i2kit.providers.local.machines import userdata

from .releases import image, release


def test_a_first_deployment_gets_the_first_address_and_a_port_of_its_own() -> None:
    wanted = admit(Desired(), order_of(release()))
    (web,) = wanted.deployments
    (service,) = wanted.services
    assert (web.revision, web.replicas, web.ready_ports) == (1, 3, (80,))
    assert desired.address(web, 0) == "10.77.1.1"
    assert service.vip == "10.77.255.1"
    assert [(port.number, port.http) for port in service.ports] == [(80, True)]
    assert 30000 <= service.ports[0].host_port < 32768


def test_the_same_order_again_changes_nothing() -> None:
    once = admit(Desired(), order_of(release()))
    assert admit(once, order_of(release())) == once


def test_a_new_image_is_a_new_revision_with_the_same_addresses() -> None:
    once = admit(Desired(), order_of(release()))
    twice = admit(once, order_of(release(machine=image("c" * 64))))
    assert twice.services == once.services
    assert twice.deployments[0].revision == 2
    assert twice.deployments[0].past == once.deployments


def test_scaling_is_not_a_new_revision() -> None:
    once = admit(Desired(), order_of(release()))
    twice = admit(once, order_of(release(replicas=5)))
    assert (twice.deployments[0].revision, twice.deployments[0].replicas) == (1, 5)
    assert twice.deployments[0].fingerprint != once.deployments[0].fingerprint


def test_going_back_restores_what_was_before_all_of_it() -> None:
    before = desired.serve(admit(Desired(), order_of(release(replicas=2))), "default/web")
    wanted = admit(before, order_of(release(machine=image("c" * 64), ports=(Port(80), Port(81)))))
    back = desired.go_back(wanted, "default/web", {1})
    assert back.deployments[0].fingerprint == before.deployments[0].fingerprint
    assert (back.deployments[0].replicas, back.deployments[0].revision) == (2, 3)
    assert back.services == before.services
    assert desired.from_json(desired.to_json(back)) == back


def test_a_failed_update_of_an_update_goes_back_to_what_served() -> None:
    state = desired.serve(admit(Desired(), order_of(release())), "default/web")
    for letter in "cd":
        state = admit(state, order_of(release(machine=image(letter * 64))))
    (back,) = desired.go_back(state, "default/web", {1, 2}, "too slow", "all of it").deployments
    assert (back.revision, back.machine.image[0], back.served, back.reason) == (4, "a", True, "")
    assert [(one.revision, one.reason, one.story) for one in back.past] == [
        *[(1, "", ""), (2, "", ""), (3, "too slow", "all of it")]
    ]
    (stays,) = desired.go_back(state, "default/web", {2}, "too slow").deployments
    assert (stays.revision, stays.reason) == (3, "too slow"), "the image of what served is gone"


def test_what_scales_by_itself_keeps_its_number_within_its_bounds() -> None:
    def scaling(least: int, most: int, letter: str = "a") -> Order:
        given = release(replicas=1, machine=image(letter * 64))
        metrics = (Metric("cpu", percent=50),)
        return order_of(
            replace(given, workload=replace(given.workload, scaling=Scaling(least, most, metrics)))
        )

    state = admit(Desired(), scaling(2, 8))
    assert state.deployments[0].replicas == 2
    state = desired.serve(desired.scale(state, "default/web", 5), "default/web")
    again = admit(state, scaling(2, 8))
    assert again == state
    assert again.deployments[0].fingerprint == scaling(2, 8).fingerprint
    updated = admit(state, scaling(2, 4, "c"))
    assert (updated.deployments[0].replicas, updated.deployments[0].revision) == (4, 2)
    back = desired.go_back(desired.scale(updated, "default/web", 3), "default/web", {1})
    assert (back.deployments[0].replicas, back.deployments[0].revision) == (3, 3)
    assert desired.from_json(desired.to_json(back)) == back


def test_another_policy_alone_is_taken_over_and_is_no_new_revision() -> None:
    once = admit(Desired(), order_of(release()))
    slow = release()
    slow = replace(slow, workload=replace(slow.workload, min_ready_s=9, strategy=Strategy(recreate=True)))
    (web,) = admit(once, order_of(slow)).deployments
    assert (web.revision, web.machine, web.policy.min_ready_s) == (1, once.deployments[0].machine, 9)
    assert web.fingerprint != once.deployments[0].fingerprint


def test_what_format_2_noted_has_the_usual_policy() -> None:
    once = admit(Desired(), order_of(release()))
    data = json.loads(desired.to_json(once))
    for one in data["deployments"]:
        del one["policy"], one["story"], one["machine"]["grace_s"], one["machine"]["health_port"]
    (web,) = desired.from_json(json.dumps({**data, "format": 2})).deployments
    assert (web.policy, web.machine.health_port, web.machine.grace_s) == (Policy(), None, 30)


def test_a_port_that_another_program_has_is_passed_over_and_the_next_taken() -> None:
    first = admit(Desired(), order_of(release())).services[0].ports[0].host_port
    other = admit(Desired(), order_of(release()), taken={first}).services[0].ports[0].host_port
    assert other != first


def test_a_promised_port_is_kept_even_if_another_program_takes_it() -> None:
    once = admit(Desired(), order_of(release()))
    promised = once.services[0].ports[0].host_port
    twice = admit(once, order_of(release(replicas=1)), taken={promised})
    assert twice.services[0].ports[0].host_port == promised


def with_facts(*facts: tuple[str, str]) -> Release:
    one = release()
    return replace(one, workload=replace(one.workload, facts=facts))


def test_other_values_of_fields_that_containers_read_are_another_revision_of_the_same_image() -> None:
    once = admit(Desired(), order_of(with_facts(("metadata.labels['tier']", "a = b"))))
    (web,) = once.deployments
    assert web.machine.fingerprint != order_of(release()).machine.fingerprint
    told = userdata.render(web, "web-1", once.services, namespace_network=True)
    assert told.endswith("fact=metadata.labels%5B%27tier%27%5D=a%20%3D%20b\n")
    after = admit(once, order_of(with_facts(("metadata.labels['tier']", "c"))))
    assert [one.revision for one in after.deployments] == [2]
    assert desired.from_json(desired.to_json(after)) == after


def with_node_port(name: str, number: int | None, *, port: int = 80) -> Release:
    ports = (ServicePort(port, 80, node_port=number),)
    return release(name, services=(Service(name, (("app", name),), ports),))


def published(state: Desired) -> dict[str, int]:
    return {record.name: port.host_port for record in state.services for port in record.ports}


def test_a_node_port_is_the_published_port_whatever_other_programs_have() -> None:
    state = admit(Desired(), order_of(with_node_port("web", 8300)), taken={8300})
    assert published(state) == {"web": 8300}
    moved = admit(state, order_of(with_node_port("web", 31000)))
    assert published(moved) == {"web": 31000}
    # Without one it stays where it is, and other services stay where they were.
    both = admit(admit(moved, order_of(with_node_port("web", None))), order_of(release("b")))
    again = admit(both, order_of(with_node_port("c", 30001)))
    assert published(again) == {**published(both), "web": 31000, "c": 30001}
    assert desired.from_json(desired.to_json(again)) == again


def test_a_node_port_that_another_service_has_is_refused_and_moves_nothing() -> None:
    state = admit(Desired(), order_of(release("a")))
    port = published(state)["a"]
    order = order_of(with_node_port("b", port))
    with pytest.raises(OperationError, match=f"`b`: port {port} of 127.0.0.1 is that of service default/a"):
        admit(state, order)
    with pytest.raises(InputError, match="is that of service default/a"):
        order_for(state, "default/b", with_node_port("b", port), ())
    # What goes with the same order is in nobody's way.
    once = admit(Desired(), order_of(with_node_port("b", 30500)))
    renamed = Service("new", (("app", "b"),), (ServicePort(80, 80, node_port=30500),))
    assert published(admit(once, order_of(release("b", services=(renamed,))))) == {"new": 30500}


def test_a_neighbours_node_port_is_kept_free_for_it() -> None:
    first = published(admit(Desired(), order_of(release("a"))))["a"]
    beside = with_node_port("b", first).services
    state = admit(Desired(), order_of(replace(release("a"), neighbours=beside)))
    assert published(state)["b"] == first != published(state)["a"]


def test_removing_the_last_deployment_behind_a_service_removes_the_service() -> None:
    both = admit(admit(Desired(), order_of(release("a"))), order_of(release("b")))
    left = remove(both, "default/a")
    assert [one.name for one in left.deployments] == ["b"]
    assert [one.name for one in left.services] == ["b"]
    assert left.services[0] == both.services[1]


def test_two_deployments_behind_one_service_share_its_address() -> None:
    shop = Service("shop", (("app", "x"),), (ServicePort(80, 8080),))
    wanted = admit(Desired(), order_of(release("a", services=(shop,))))
    wanted = admit(wanted, order_of(release("b", services=(shop,))))
    assert [one.key for one in wanted.services] == ["default/shop"]
    assert [one.name for one in remove(wanted, "default/a").services] == ["shop"]


def test_a_place_in_the_network_is_nobodys_while_a_vm_that_leaves_is_there() -> None:
    state = admit(admit(Desired(), order_of(release("a"))), order_of(release("b")))
    after = admit(remove(state, "default/a"), order_of(release("c")), leaving={1})
    assert [(one.name, one.index) for one in after.deployments] == [("b", 2), ("c", 3)]


def test_a_neighbours_service_has_its_address_before_anything_stands_behind_it() -> None:
    db = Service("db", (("app", "db"),), (ServicePort(5432, 5432),))
    alone = admit(Desired(), order_of(replace(release("web"), neighbours=(db,))))
    announced = next(one for one in alone.services if one.name == "db")
    both = admit(alone, order_of(release("db", ports=(Port(5432),))))
    assert next(one for one in both.services if one.name == "db") == announced
    assert remove(remove(both, "default/db"), "default/web") == Desired()


def test_a_named_target_port_is_looked_up_in_the_pod() -> None:
    service = Service("web", (("app", "web"),), (ServicePort(80, "www"),))
    order = order_of(release(ports=(Port(8123, "www"),), services=(service,)))
    assert [(one.number, one.target, one.http) for one in order.backends] == [(80, 8123, True)]


@pytest.mark.parametrize(
    ("name", "number", "http"),
    [
        *((None, 80, True), ("web", 80, True), ("http-api", 9000, True)),
        *((None, 9000, False), ("tcp-raw", 80, False), ("https", 443, False), ("httpx", 9000, False)),
    ],
)
def test_requests_are_balanced_where_the_name_of_a_port_says_http_or_its_number_does(
    name: str | None, number: int, http: bool
) -> None:
    assert desired.is_http(ServicePort(number, number, name), number) is http


def test_readiness_asks_for_the_ports_of_services_where_there_are_any() -> None:
    service = Service("front", (("app", "web"),), (ServicePort(80, 80),))
    own = Service("web", (("app", "web"),), (ServicePort(80, 80), ServicePort(9090, 9090)))
    order = order_of(release(ports=(Port(80), Port(9090)), services=(service, own)))
    assert order.ready_ports == (80,)
    assert order_of(release(ports=(Port(80), Port(9090)))).ready_ports == (80, 9090)


@pytest.mark.parametrize(
    ("resources", "memory_mib", "cpus"),
    [
        (Resources(), 96 + 128, 1),
        (Resources(memory_limit_bytes=64 << 20), 96 + 64, 1),
        (Resources(memory_request_bytes=200 << 20, memory_limit_bytes=64 << 20), 96 + 200, 1),
        (Resources(memory_request_bytes=(1 << 20) + 1), 96 + 2, 1),
        (Resources(cpu_request_millis=1001), 96 + 128, 2),
        (Resources(cpu_request_millis=100, cpu_limit_millis=2500), 96 + 128, 3),
    ],
)
def test_a_vm_is_as_large_as_its_containers_and_its_image_need(
    resources: Resources, memory_mib: int, cpus: int
) -> None:
    machine = desired.machine_of(release(resources=resources))
    assert (machine.memory_bytes, machine.cpus) == (memory_mib << 20, cpus)


def test_the_network_holds_250_deployments_and_says_so() -> None:
    wanted = Desired()
    for number in range(desired.MAX_DEPLOYMENTS):
        wanted = admit(wanted, order_of(release(f"d{number}", ports=())))
    with pytest.raises(OperationError, match="250 deployments"):
        admit(wanted, order_of(release("one-more", ports=())))


names = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.tuples(names, st.integers(0, 4), st.booleans()), max_size=12))
def test_what_is_kept_on_disk_is_what_was_wanted(steps: list[tuple[str, int, bool]]) -> None:
    """After any orders: it survives the disk, and no address or port is given twice."""
    wanted = Desired()
    for name, replicas, gone in steps:
        if gone:
            wanted = remove(wanted, f"default/{name}")
        else:
            wanted = admit(wanted, order_of(release(name, replicas=replicas)))
    assert desired.from_json(desired.to_json(wanted)) == wanted
    assert len({one.index for one in wanted.deployments}) == len(wanted.deployments)
    ports = [port.host_port for service in wanted.services for port in service.ports]
    assert len(set(ports)) == len(ports)
    assert {one.name for one in wanted.services} == {one.name for one in wanted.deployments}
