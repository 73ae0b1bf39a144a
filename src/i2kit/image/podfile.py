"""What the guest has to know of its pod, as the text of /etc/i2kit/pod. Pure.

In: a Workload. Out: lines that the guest's shell and its Lua read, the same for equal pods:

    hostname=web                    what containers see, where that is not the machine's own name
    grace_s=30                      how long containers have to end
    health_port=10256               where the machine answers /ready
    hosts=192.0.2.1 db db.example   a line of /etc/hosts
    sysctl=net/core/somaxconn 1024  a setting of the kernel, below /proc/sys
    nameserver=192.0.2.53           for resolv.conf, beside the machine's own
    search=db.example · dns_option=ndots:2
    dns=only                        … and without the machine's own
    shared_processes=1              all containers are in one PID namespace
    job=retry 6 600                 the pod ends: what failed is started anew (or `fail`), how often, and in
                                    which time (or -)
    init=migrate                    runs to its end before what follows; in order
    sidecar=proxy                   is started in its turn, and then runs on
    stop_signal=web QUIT            instead of TERM
    secret=NAME/KEY                 what the machine has to be told
    volume=data claim 2000 pgdata   a disk, the group of its files (or -), the claim's name
    volume=data claim - db 0:0 web srv/a b  … which, when new, has what the image of `web` has below /srv/a b
    volume=data claim - db 5:5      … which, when new, is this user's and group's
    volume=tmp memory - 1048576     a folder in memory with a limit (or -)
    volume=work scratch - -         a folder on the machine's own disk
    volume=conf files -             files that the guest makes, from those below etc/i2kit/volumes/conf and:
    file=conf secret 0600 tls.key NAME/KEY · file=conf text 0644 a.conf · file=conf base64 0644 a.bin
    mount=web 0 data sub/path       a part of a volume, for the container's mount of this number
    hook=web pre_stop exec arg=sync what is done after its start (post_start) or before its end (pre_stop)
    probe=web liveness http port=80 path=/ok header=Host:example.com … period_s=10 …

A probe is words: container, kind, handler, then `key=value`; so is a hook. In values, paths and names of keys
each byte but letters, digits and `-_./` is `%XX`, so a value is always one word, and a header's name ends at
its only colon. What is said twice (`arg`, `header`) has an order. What has the default is left out, except
for times and thresholds.
"""

import re
from collections.abc import Iterator, Mapping
from signal import Signals
from typing import Literal

from i2kit.image import volumes
from i2kit.image.volumes import escaped
from i2kit.model import (
    Container,
    Exec,
    Grpc,
    HttpGet,
    Pairs,
    Probe,
    Sleep,
    TcpSocket,
    Workload,
)

PATH = "etc/i2kit/pod"

Kind = Literal["startup", "liveness", "readiness"]
KINDS: tuple[Kind, ...] = ("startup", "liveness", "readiness")


def render(
    workload: Workload,
    stop_signals: Mapping[str, str] | None = None,
    fills: Mapping[str, volumes.Fill] | None = None,
) -> str:
    """The file's text. `stop_signals` are by the container's name, `fills` by the volume's."""
    lines = [f"grace_s={workload.grace_s}", f"health_port={workload.health_port}"]
    lines += [f"hostname={workload.hostname}"] if workload.hostname else []
    lines += [f"hosts={address} {names}" for address, names in workload.hosts]
    lines += [f"sysctl={name} {value}" for name, value in workload.sysctls]
    lines += dns(workload)
    if workload.shared_processes and not workload.host_processes:
        lines.append("shared_processes=1")
    if job := workload.job:
        lines.append(f"job={'retry' if job.retry else 'fail'} {job.most_failures} {job.deadline_s or '-'}")
    lines += [f"{'sidecar' if one.sidecar else 'init'}={one.name}" for one in workload.init]
    for name, said in sorted((stop_signals or {}).items()):
        if (signal := signal_of(said)) not in ("", "TERM", "15"):
            lines.append(f"stop_signal={name} {signal}")
    lines += [f"secret={escaped(one.secret)}/{escaped(one.key)}" for one in workload.secrets]
    lines += volumes.told(workload, fills or {})
    for container in (*workload.init, *workload.containers):
        for kind, hook in (("post_start", container.post_start), ("pre_stop", container.pre_stop)):
            if hook:
                lines.append(f"hook={' '.join((container.name, kind, *hook_words(hook, container)))}")
        probes = (container.startup, container.liveness, container.readiness)
        for probe_kind, probe in zip(KINDS, probes, strict=True):
            if probe:
                lines.append(f"probe={' '.join((container.name, probe_kind, *words(probe, container)))}")
    return "".join(f"{line}\n" for line in lines)


def signal_of(text: str) -> str:
    """A signal of an image, such as SIGQUIT, 3 or SIGRTMIN+3, as the guest's `kill` knows it.

    Empty for what is none: runtimes then send the usual one.
    """
    word = text.upper().removeprefix("SIG")
    if found := re.fullmatch(r"(RTMIN|RTMAX)([+-]\d{1,2})?", word):
        return str({"RTMIN": 34, "RTMAX": 64}[found[1]] + int(found[2] or 0))
    return word if re.fullmatch(r"[1-9]|[1-5]\d|6[0-4]", word) or f"SIG{word}" in Signals.__members__ else ""


def dns(workload: Workload) -> Iterator[str]:
    """What resolv.conf has beside or instead of the machine's own lines."""
    if workload.dns.only:
        yield "dns=only"
    yield from (f"nameserver={one}" for one in workload.dns.nameservers)
    yield from (f"search={one}" for one in workload.dns.searches)
    yield from (f"dns_option={one}" for one in workload.dns.options)


def hook_words(hook: HttpGet | TcpSocket | Exec | Sleep, container: Container) -> Iterator[str]:
    """The handler's name, then all that is said of it."""
    if isinstance(hook, Sleep):
        yield "sleep"
        yield f"seconds={hook.seconds}"
        return
    handler, pairs = told(hook)
    yield handler
    for key, value in pairs:
        yield f"{key}={value}"
    if isinstance(hook, Exec) and container.security.no_new_privileges:
        yield "no_new_privileges=1"


def words(probe: Probe, container: Container) -> Iterator[str]:
    """The handler's name, then all that is said of the container's probe."""
    handler, pairs = told(probe.handler)
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


def told(handler: HttpGet | TcpSocket | Exec | Grpc) -> tuple[str, Pairs]:
    """A handler's name and what it has to know, escaped."""
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
            return "exec", tuple(("arg", escaped(word)) for word in command)
        case Grpc(port, service):
            return "grpc", (("port", str(port)), *named("service", service))


def named(key: str, value: str | None) -> Pairs:
    return ((key, escaped(value)),) if value else ()
