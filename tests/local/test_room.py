"""What of memory and CPUs is promised to VMs, and what this machine has."""

from dataclasses import replace

import pytest

from i2kit.errors import InputError
from i2kit.providers.local.design import orders, room
from i2kit.providers.local.design.desired import Desired, Order, admit, order_of
from i2kit.providers.local.machines import processes

from .releases import release

GIB = 1 << 30
SMALL = room.Host(8 * GIB, 4 * GIB, 2)


def order(name: str, replicas: int, gib: int) -> Order:
    made = order_of(release(name, replicas=replicas))
    return replace(made, machine=replace(made.machine, memory_bytes=gib * GIB))


@pytest.mark.parametrize(
    ("replicas", "planned", "warns"),
    [(2, 0, False), (3, 0, True), (2, 2, False), (2, 3, True)],
    ids=["as much as is free", "more than is free", "all there is", "more than there is"],
)
def test_what_is_promised_beyond_what_there_is_is_told(replicas: int, planned: int, warns: bool) -> None:
    before = room.promised(admit(Desired(), order("runs", 2, 1)))
    assert before == {"default/runs": 2 * GIB}
    free = SMALL if not planned else replace(SMALL, free_bytes=8 * GIB)
    said = room.crowded(order("web", replicas, 2), before, {"default/other": planned * GIB}, free)
    assert said.startswith(f"default/web may use {replicas} × 2048 MiB of memory") if warns else not said


def test_nothing_is_told_of_what_asks_for_no_more_than_before() -> None:
    before = {"default/web": 40 * GIB}
    assert not room.crowded(order("web", 4, 10), before, {}, SMALL)
    assert room.crowded(order("web", 5, 10), before, {}, SMALL)


def test_a_vm_that_this_machine_can_never_hold_is_an_error_of_the_input() -> None:
    host = replace(SMALL, memory_bytes=1 << 20)
    message = r"default/web asks for \d+ MiB of memory a VM, this machine has 1 MiB"
    with pytest.raises(InputError, match=message):
        orders.order_for(Desired(), "default/web", release(), (), orders.Here(host=host))


def test_a_vm_gets_no_more_cpus_than_there_are_and_that_is_told() -> None:
    greedy = order("web", 1, 1)
    assert room.told(greedy, {}, {}, SMALL) == ()
    greedy = replace(greedy, machine=replace(greedy.machine, cpus=3))
    assert room.told(greedy, {}, {}, SMALL) == (
        "default/web asks for 3 CPUs a VM, and gets this machine's 2",
    )


def test_this_machine() -> None:
    found = processes.host()
    assert 0 < found.free_bytes < found.memory_bytes and found.cpus > 0
