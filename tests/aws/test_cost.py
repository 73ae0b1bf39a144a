"""Instance types and what stacks cost."""

from dataclasses import replace

import pytest

from i2kit.model import Resources
from i2kit.providers.aws.design.cost import estimate
from i2kit.providers.aws.design.instances import TYPES, Need, need, smallest
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.values import Architecture
from tests.golden import check as golden

from .releases import AMI, NETWORK, OPTIONS, release
from .templates import all_templates


def test_estimates() -> None:
    lines = []
    for name, made in all_templates().items():
        found = estimate(made)
        lines += [f"{name}: {found}", *(f"  {line}" for line in found.lines)]
    golden("aws/cost.txt", "\n".join(lines) + "\n")


def test_an_unknown_type_is_said_to_be_unknown() -> None:
    made = template(release(), AMI, NETWORK, None, replace(OPTIONS, instance_type="x99.huge"))
    found = estimate(made)
    assert str(found).startswith("at least $")
    assert "3 × machine x99.huge: unknown" in map(str, found.lines)


def test_what_costs_next_to_nothing_does_not_cost_nothing() -> None:
    found = estimate(template(release(), replace(AMI, size_bytes=40 << 20), NETWORK, None, OPTIONS))
    assert str(found.lines[-1]) == "1 × image's snapshot, at most: less than $0.01"


def test_no_machines_cost_nothing_for_machines() -> None:
    found = estimate(template(release(replicas=0, ports=()), AMI, NETWORK, None, OPTIONS))
    assert [line.what for line in found.lines] == ["image's snapshot, at most"]


@pytest.mark.parametrize(
    ("cpu_millis", "memory_mib", "architecture", "expected"),
    [
        (0, 100, "x86_64", "t3.nano"),
        (0, 473, "x86_64", "t3.nano"),
        (0, 474, "x86_64", "t3.micro"),
        (2000, 100, "x86_64", "t3.nano"),
        (2001, 100, "x86_64", "t3.xlarge"),
        (0, 3000, "arm64", "t4g.medium"),
        (0, 60_000, "arm64", "m7g.4xlarge"),
        (64_000, 1, "x86_64", "m7i.16xlarge"),
        (64_001, 1, "x86_64", None),
    ],
)
def test_the_smallest_type_that_holds_the_pod(
    cpu_millis: int, memory_mib: int, architecture: Architecture, expected: str | None
) -> None:
    found = smallest(Need(cpu_millis, memory_mib << 20), architecture)
    assert (found.name if found else None) == expected


def test_a_limit_without_a_request_is_a_request() -> None:
    floor = release().image.memory_floor_bytes
    assert need(release(resources=Resources(memory_limit_bytes=5, cpu_limit_millis=7))) == Need(7, floor + 5)
    both = Resources(1, 7, 2, 5)
    assert need(release(resources=both)) == Need(1, floor + 2)
    assert need(release()) == Need(0, floor + (128 << 20))


def test_the_table_says_what_ec2_says() -> None:
    """As far as the emulator's copy of `describe-instance-types` does."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    for name, type_ in TYPES.items():
        said = INSTANCE_TYPES[name]
        assert type_.cpus == said["VCpuInfo"]["DefaultVCpus"], name
        assert type_.memory_bytes == said["MemoryInfo"]["SizeInMiB"] << 20, name
        assert type_.architecture in said["ProcessorInfo"]["SupportedArchitectures"], name
        assert type_.hypervisor == said["Hypervisor"], name
        assert type_.boot_modes == tuple(said["SupportedBootModes"]), name
