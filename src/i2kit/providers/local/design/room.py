"""Whether this machine has the memory and CPUs for VMs. Pure.

In: what it has, and what they ask for. Out: what is wrong, in words. VMs take memory as they come to use it,
so that more may be promised than there is; what one of them can never have is an error. Processors are
shared: a VM that asks for more than there are gets all of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from i2kit.providers.local.design import jobs
from i2kit.providers.local.design.desired import Desired, Order


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine has: all of it, and as much as programs could have now."""

    memory_bytes: int
    free_bytes: int
    cpus: int


def beyond(order: Order, host: Host) -> Iterator[tuple[str, str]]:
    """What a VM asks for that this machine can never give it, each with what to do."""
    asked = order.machine.memory_bytes
    if asked > host.memory_bytes:
        yield (
            f"{order.key} asks for {asked >> 20} MiB of memory a VM, this machine has"
            f" {host.memory_bytes >> 20} MiB",
            "lower resources.requests.memory or limits.memory",
        )


def told(
    order: Order, before: Mapping[str, int], planned: Mapping[str, int], host: Host | None
) -> tuple[str, ...]:
    """What to know before a deployment changes.

    `before` is the memory that is promised, by key, `planned` what the same command is about to promise too.
    """
    found = (crowded(order, before, planned, host), slowed(order, host)) if host else ()
    return tuple(filter(None, found))


def slowed(order: Order, host: Host) -> str:
    """What to know of processors; "" where a VM gets as many as it asks for."""
    if order.machine.cpus <= host.cpus:
        return ""
    return f"{order.key} asks for {order.machine.cpus} CPUs a VM, and gets this machine's {host.cpus}"


def promised(state: Desired) -> dict[str, int]:
    """The memory of all VMs of each deployment, by key."""
    return {
        one.key: one.machine.memory_bytes
        * (sum(jobs.vms(one.policy.job, one.runs).values()) if one.policy.job else one.replicas)
        for one in state.deployments
    }


def crowded(order: Order, before: Mapping[str, int], planned: Mapping[str, int], host: Host) -> str:
    """What to know of memory, as `told` has it; "" where it asks for no more, or there is enough."""
    each, mine = order.machine.memory_bytes, order.replicas * order.machine.memory_bytes
    total = sum({**before, **planned, order.key: mine}.values())
    fits = total <= host.memory_bytes and total - sum(before.values()) <= host.free_bytes
    if fits or mine <= before.get(order.key, 0):
        return ""
    return (
        f"{order.key} may use {order.replicas} × {each >> 20} MiB of memory, and all VMs here"
        f" {total >> 20} MiB; this machine has {host.memory_bytes >> 20} MiB, {host.free_bytes >> 20} MiB of"
        " it free: it may swap, or have to kill VMs. Fewer replicas or a lower limits.memory help"
    )
