"""Probes: what a container is asked, and when, by the rules of Kubernetes' API server.

In: a container's record of the tables in `fields`. Out: Probes with numbers for ports, and None with
a problem in the log for what is wrong. 0 means the default, as everywhere in Kubernetes. Pure.
"""

import re

from i2kit.expansion import MAX_WORD_BYTES, expand, size
from i2kit.manifest.log import Log
from i2kit.manifest.tables.shape import Record, named
from i2kit.model import Exec, Grpc, HttpGet, Probe, TcpSocket

_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")
_AUTHORITY = re.compile(r"([A-Za-z][-+.A-Za-z0-9]*:)?//[^/?#]*")
_UNSAFE = re.compile(r"%(?![0-9A-Fa-f]{2})|[^-!$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~]")


def probe(container: Record, name: str, log: Log) -> Probe | None:
    """The probe of this name, such as livenessProbe; None where there is none that can be used."""
    record = container.record(name)
    if record is None:
        return None
    handler = _handler(record, container, log)
    if handler is None:
        return None
    return Probe(
        handler=handler,
        initial_delay_s=record.whole("initialDelaySeconds") or 0,
        period_s=record.whole("periodSeconds") or 10,
        timeout_s=record.whole("timeoutSeconds") or 1,
        success_threshold=record.whole("successThreshold") or 1,
        failure_threshold=record.whole("failureThreshold") or 3,
        grace_s=record.whole("terminationGracePeriodSeconds"),
    )


def target(path: str) -> str:
    """What a GET asks for where this path is written: what the kubelet makes of it (probe/http, formatURL).

    It begins with a slash and has only characters that a request may hold; scheme and host have fields
    of their own and are dropped, as a fragment is.
    """
    path = _AUTHORITY.sub("", path.partition("#")[0], count=1) if _AUTHORITY.match(path) else path
    path = path.partition("#")[0]
    return _UNSAFE.sub(_encoded, path if path.startswith("/") else f"/{path}")


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode(errors="replace"))


def _handler(record: Record, container: Record, log: Log) -> HttpGet | TcpSocket | Exec | Grpc | None:
    given = [name for name in _HANDLERS if record.has(name)]
    if not given:
        hint = "give it one of httpGet, tcpSocket, exec and grpc"
        log.problem(record.position, record.path, "says how often to ask and not what", hint)
    elif len(given) > 1:
        message = f"asks in {len(given)} ways: {', '.join(given)}"
        log.problem(record.place(given[1]), record.path, message, "leave one of them")
    holder = record.record(given[0]) if len(given) == 1 else None
    if holder is None:
        return None
    if given == ["exec"]:
        known = _static(container)
        sizes = {name: len(value.encode(errors="replace")) for name, value in known.items()}
        words: tuple[str, ...] = holder.items("command")
        if (total := sum(size(word, sizes) for word in words)) > MAX_WORD_BYTES:
            message = f"has {total:,} bytes with its variables, and may have {MAX_WORD_BYTES:,}"
            log.problem(holder.place("command"), holder.at("command"), message, "put them into a file")
            return None
        command = tuple(expand(word, known) for word in words)
        return Exec(command) if command else None
    if given == ["httpGet"]:
        return http_get(holder, container, log)
    port = _port(holder, container, log)
    if port is None:
        return None
    if given == ["tcpSocket"]:
        return TcpSocket(port, holder.text("host") or None)
    return Grpc(port, holder.text("service") or "")


def _static(container: Record) -> dict[str, str]:
    """The variables of a probe's command: as written and not as expanded themselves, those of another
    source empty, and those of envFrom unknown (kubelet, ExpandContainerCommandOnlyStatic).
    """
    return {name: variable.text("value") or "" for name, variable in named(container, "env")}


def http_get(holder: Record, container: Record, log: Log) -> HttpGet | None:
    """What is asked of a container or another host; None where that is wrong."""
    port = _port(holder, container, log)
    if port is None:
        return None
    return HttpGet(
        port=port,
        path=target(holder.text("path") or "/"),
        scheme="HTTPS" if holder.text("scheme") == "HTTPS" else "HTTP",
        headers=tuple(
            (name, header.text("value") or "")
            for header in holder.items("httpHeaders")
            if (name := header.text("name")) is not None
        ),
        host=holder.text("host") or None,
    )


def _port(holder: Record, container: Record, log: Log) -> int | None:
    """The number of a port that may be named: by this container, and no other."""
    wanted = holder.values.get("port")
    if not isinstance(wanted, str):
        return holder.whole("port")
    ports: tuple[Record, ...] = container.items("ports")
    for port in ports:
        if port.text("name") == wanted:
            return port.whole("containerPort")
    if not (container.is_wrong("ports") or any(port.is_wrong("name") for port in ports)):
        names = [name for port in ports if (name := port.text("name"))]
        hint = f"its named ports: {', '.join(names)}" if names else "give the port's number"
        message = f"this container has no port named `{wanted}`"
        log.problem(holder.place("port"), holder.at("port"), message, hint)
    return None
