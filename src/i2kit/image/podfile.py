"""What the guest has to know of its pod, as the text of /etc/i2kit/pod. Pure.

In: a Workload. Out: lines that the guest's shell and its Lua read, the same for equal pods:

    grace_s=30                      how long containers have to end
    health_port=10256               where the machine answers /ready
    hosts=192.0.2.1 db db.example   a line of /etc/hosts
    sysctl=net/core/somaxconn 1024  a setting of the kernel, below /proc/sys
    probe=web liveness http port=80 path=/ok header=Host:example.com … period_s=10 …

A probe is words: container, kind, handler, then `key=value`. In values each byte but letters, digits and
`-_./` is `%XX`, so a value is always one word, and a header's name ends at its only colon. What is said twice
(`arg`, `header`) has an order. What has the default is left out, except for times and thresholds.
"""

from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import quote

from i2kit.image.expansion import expand
from i2kit.model import FIELD, Container, Exec, Grpc, HttpGet, Pairs, Probe, TcpSocket, Workload

PATH = "etc/i2kit/pod"
SAFE = "-_./"

Kind = Literal["startup", "liveness", "readiness"]
KINDS: tuple[Kind, ...] = ("startup", "liveness", "readiness")


def render(workload: Workload) -> str:
    """The file's text."""
    lines = [f"grace_s={workload.grace_s}", f"health_port={workload.health_port}"]
    lines += [f"hosts={address} {names}" for address, names in workload.hosts]
    lines += [f"sysctl={name} {value}" for name, value in workload.sysctls]
    for container in workload.containers:
        probes = (container.startup, container.liveness, container.readiness)
        for kind, probe in zip(KINDS, probes, strict=True):
            if probe:
                lines.append(f"probe={' '.join((container.name, kind, *words(probe, container)))}")
    return "".join(f"{line}\n" for line in lines)


def words(probe: Probe, container: Container) -> Iterator[str]:
    """The handler's name, then all that is said of the container's probe."""
    # A field of the pod is no static variable: in a probe's command it is empty.
    static = {name: "" if value.startswith(FIELD) else value for name, value in container.env}
    handler, pairs = told(probe.handler, static)
    yield handler
    for key, value in pairs:
        yield f"{key}={value}"
    yield f"initial_delay_s={probe.initial_delay_s}"
    yield f"period_s={probe.period_s}"
    yield f"timeout_s={probe.timeout_s}"
    yield f"success_threshold={probe.success_threshold}"
    yield f"failure_threshold={probe.failure_threshold}"
    if isinstance(probe.handler, Exec) and container.security.no_new_privileges:
        yield "no_new_privileges=1"
    if probe.grace_s is not None:
        yield f"grace_s={probe.grace_s}"


def told(handler: HttpGet | TcpSocket | Exec | Grpc, variables: Mapping[str, str]) -> tuple[str, Pairs]:
    """A handler's name and what it has to know, escaped.

    A command's `$(NAME)` are expanded with the variables as written, not as expanded themselves (kubelet,
    ExpandContainerCommandOnlyStatic).
    """
    match handler:
        case HttpGet(port, path, scheme, headers, host):
            pairs = [("port", str(port)), ("path", escaped(path))]
            if scheme == "HTTPS":
                pairs.append(("scheme", "HTTPS"))
            pairs += [("header", f"{escaped(name)}:{escaped(value)}") for name, value in headers]
            return "http", (*pairs, *named("host", host))
        case TcpSocket(port, host):
            return "tcp", (("port", str(port)), *named("host", host))
        case Exec(command):
            return "exec", tuple(("arg", escaped(expand(word, variables))) for word in command)
        case Grpc(port, service):
            return "grpc", (("port", str(port)), *named("service", service))


def named(key: str, value: str | None) -> Pairs:
    return ((key, escaped(value)),) if value else ()


def escaped(text: str) -> str:
    """Any text as one word."""
    return quote(text, safe=SAFE)
