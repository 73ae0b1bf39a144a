"""Releases for the tests of provider `local`: an nginx like the paper's, and variations of it."""

from pathlib import Path

from i2kit.model import Container, MachineImage, Port, Release, Resources, Service, ServicePort, Workload

NOTHING_ASKED = Resources()


def image(identity: str = "a" * 64) -> MachineImage:
    folder = Path("/store/machines") / identity[:12]
    return MachineImage(
        id=identity,
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
    resources: Resources = NOTHING_ASKED,
    machine: MachineImage | None = None,
    namespace: str = "default",
) -> Release:
    container = Container(name="nginx", image="nginx", ports=ports, resources=resources)
    workload = Workload(
        name=name, containers=(container,), replicas=replicas, namespace=namespace, labels=(("app", name),)
    )
    if services is None:
        numbers = tuple(ServicePort(port.number, port.number, port.name) for port in ports)
        services = (Service(name, (("app", name),), numbers, namespace),) if ports else ()
    return Release(workload, machine or image(), services)
