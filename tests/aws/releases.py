"""Releases and places for the tests of what decides on AWS."""

from pathlib import Path
from typing import Any

from i2kit.model import (
    Container,
    MachineImage,
    Pairs,
    Port,
    Release,
    Resources,
    Service,
    ServicePort,
    Workload,
)
from i2kit.providers.aws.values import Ami, Network, Options, Subnet, Zone

NOTHING_ASKED = Resources()
AMI = Ami("ami-0123456789abcdef0", "a" * 64, 180 << 20)
SUBNETS = (Subnet("subnet-0000000000000000a", "us-east-1a"), Subnet("subnet-0000000000000000b", "us-east-1b"))
PRIVATE_SUBNETS = (
    Subnet("subnet-0000000000000000c", "us-east-1a", public=False),
    Subnet("subnet-0000000000000000d", "us-east-1b", public=False),
)
NETWORK = Network("vpc-00000000000000001", ("10.78.0.0/16",), SUBNETS)
PRIVATE_ZONE = Zone("Z00000000000000000PRI", "i2kit.internal", private=True)
PUBLIC_ZONE = Zone("Z00000000000000000PUB", "example.com", private=False)
OPTIONS = Options("us-east-1")
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"


def image() -> MachineImage:
    folder = Path("/store/machines/aaaaaaaaaaaa")
    return MachineImage(
        id="a" * 64,
        kernel=folder / "kernel",
        vmlinuz=folder / "vmlinuz",
        initrd=folder / "initrd",
        root=folder / "root.erofs",
        cmdline="console=hvc0 quiet",
        memory_floor_bytes=96 << 20,
        containers=(("nginx", "docker.io/library/nginx@sha256:" + "b" * 64),),
    )


def release(
    name: str = "web",
    *,
    replicas: int = 3,
    ports: tuple[Port, ...] = (Port(80),),
    services: tuple[Service, ...] | None = None,
    neighbours: tuple[Service, ...] = (),
    resources: Resources = NOTHING_ASKED,
    namespace: str = "default",
    labels: Pairs | None = None,
    **workload_has: Any,
) -> Release:
    """A deployment, with the service that each has unless `services` says otherwise."""
    container = Container(name="nginx", image="nginx", ports=ports, resources=resources)
    given = (("app", name),) if labels is None else labels
    workload = Workload(
        name=name,
        containers=(container,),
        replicas=replicas,
        namespace=namespace,
        labels=given,
        **workload_has,
    )
    if services is None:
        services = (service(name, *((p.number, p.number, p.name) for p in ports), namespace=namespace),)
    return Release(workload, image(), services if ports else (), neighbours)


def service(
    name: str,
    *ports: tuple[int, int | str, str | None] | ServicePort,
    public: bool = False,
    namespace: str = "default",
    **has: Any,
) -> Service:
    numbers = tuple(one if isinstance(one, ServicePort) else ServicePort(*one) for one in ports)
    return Service(name, (("app", "web"),), numbers, namespace, public, **has)


def udp(number: int, target: int | str, name: str | None = None) -> ServicePort:
    return ServicePort(number, target, name, "UDP")
