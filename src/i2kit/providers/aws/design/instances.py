"""Which instance type a pod gets, and what is known of the types without asking AWS. Pure.

Sizes, hypervisors and boot modes: `aws ec2 describe-instance-types`, seen through moto 5.2.5's copy.
Prices: Linux, on demand, us-east-1, of https://aws.amazon.com/ec2/pricing/on-demand/ as others quoted it in
2026, noted on 2026-11-21; the sizes of a family cost in proportion.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from i2kit.model import Container, Release
from i2kit.providers.aws.values import Architecture

PRICES_AS_OF = "2026-11-21"
PRICES_REGION = "us-east-1"

OVERHEAD = 0.075
"""What of a type's memory the hypervisor and the firmware keep (Karpenter, VM_MEMORY_OVERHEAD_PERCENT)."""

DEFAULT_CONTAINER_MEMORY_BYTES = 128 << 20
"""For a container that says nothing, the same as on the local machine."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """`usd_per_hour` is the price on demand; `current` types are chosen without being asked for."""

    name: str
    architecture: Architecture
    cpus: int
    memory_bytes: int
    usd_per_hour: float
    hypervisor: Literal["nitro", "xen"] = "nitro"
    boot_modes: tuple[str, ...] = ("legacy-bios", "uefi")

    @property
    def current(self) -> bool:
        return self.hypervisor == "nitro"

    @property
    def usable_bytes(self) -> int:
        return int(self.memory_bytes * (1 - OVERHEAD))

    def __str__(self) -> str:
        memory = f"{self.memory_bytes / (1 << 30):g}"
        return f"{self.name}: {self.cpus} vCPU, {memory} GiB, ${self.usd_per_hour:.4f} per hour"


@dataclass(frozen=True, slots=True)
class Need:
    """What a pod asks its machine for."""

    cpu_millis: int
    memory_bytes: int

    def fits(self, type_: InstanceType) -> bool:
        return self.cpu_millis <= type_.cpus * 1000 and self.memory_bytes <= type_.usable_bytes


def _types(
    family: str,
    architecture: Architecture,
    sizes: Iterable[tuple[str, int, float, float]],
    hypervisor: Literal["nitro", "xen"] = "nitro",
) -> Iterator[InstanceType]:
    """Sizes are: name, processors, GiB, price."""
    modes = {
        "arm64": ("uefi",),
        "x86_64": ("legacy-bios", "uefi") if hypervisor == "nitro" else ("legacy-bios",),
    }
    for size, cpus, gib, usd in sizes:
        memory = int(gib * (1 << 30))
        yield InstanceType(
            f"{family}.{size}", architecture, cpus, memory, round(usd, 4), hypervisor, modes[architecture]
        )


def _burstable(
    nano_usd: float, cpus: Iterable[int] = (2, 2, 2, 2, 2, 4, 8)
) -> Iterator[tuple[str, int, float, float]]:
    """From nano with half a GiB on, each twice the one before in memory and in price."""
    names = ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")
    for step, (name, count) in enumerate(zip(names, cpus, strict=True)):
        yield name, count, 0.5 * 2**step, nano_usd * 2**step


def _steady(xlarge_usd: float) -> Iterator[tuple[str, int, float, float]]:
    """Four GiB for each processor."""
    yield "large", 2, 8, xlarge_usd / 2
    for times in (1, 2, 4, 8, 12, 16):
        yield f"{times if times > 1 else ''}xlarge", 4 * times, 16 * times, xlarge_usd * times


TYPES = {
    type_.name: type_
    for type_ in (
        *_types("t3", "x86_64", _burstable(0.0052)),
        *_types("t4g", "arm64", _burstable(0.0042)),
        *_types("m7i", "x86_64", _steady(0.2016)),
        *_types("m7g", "arm64", _steady(0.1632)),
        # What the first i2kit ran on: here, so that a message can say what is wrong with it.
        *_types("t2", "x86_64", _burstable(0.0058, (1, 1, 1, 2, 2, 4, 8)), "xen"),
    )
}


_NAME = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")
_GRAVITON = re.compile(r"a1|[a-z]+\d+[a-z]*g[a-z]*")


def architecture_of(name: str) -> Architecture | None:
    """Of an instance type, also of one that is not in the table; None for what is no type's name.

    A `g` after the generation's digit is for Graviton (EC2 user guide, "Instance type naming conventions").
    """
    if name in TYPES:
        return TYPES[name].architecture
    if not _NAME.fullmatch(name):
        return None
    return "arm64" if _GRAVITON.fullmatch(name.partition(".")[0]) else "x86_64"


def need(release: Release) -> Need:
    """What the containers request together, what folders in memory hold, and what the image itself takes.

    As in Kubernetes, a limit without a request is a request too.
    """
    workload = release.workload
    memory = release.image.memory_floor_bytes + workload.volumes_memory_bytes + workload.most(_memory)
    return Need(workload.most(_cpu), memory)


def _memory(container: Container) -> int:
    given = container.resources
    return given.memory_request_bytes or given.memory_limit_bytes or DEFAULT_CONTAINER_MEMORY_BYTES


def _cpu(container: Container) -> int:
    return container.resources.cpu_request_millis or container.resources.cpu_limit_millis or 0


def smallest(wanted: Need, architecture: Architecture) -> InstanceType | None:
    """The cheapest type that holds it; None where no type of the table does."""
    fitting = [
        one for one in TYPES.values() if one.current and one.architecture == architecture and wanted.fits(one)
    ]
    return min(fitting, key=lambda one: (one.usd_per_hour, one.name), default=None)


def largest(architecture: Architecture) -> InstanceType:
    """For messages, and as the nearest where nothing holds a pod."""
    fitting = (one for one in TYPES.values() if one.current and one.architecture == architecture)
    return max(fitting, key=lambda one: one.memory_bytes)
