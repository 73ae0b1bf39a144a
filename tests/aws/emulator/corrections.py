"""All corrections, by service."""

from types import ModuleType

from tests.aws.emulator import (
    autoscaling,
    cloudformation,
    ec2,
    elbv2,
    images,
    logs,
    places,
    route53,
    ssm,
    watched,
)

MODULES: tuple[ModuleType, ...] = (
    *(autoscaling, cloudformation, ec2, elbv2),
    *(images, logs, places, route53, ssm, watched),
)


def install() -> None:
    for module in MODULES:
        module.install()


def reset() -> None:
    """Forget what corrections keep beside moto's own state."""
    for module in MODULES:
        if hasattr(module, "reset"):
            module.reset()
