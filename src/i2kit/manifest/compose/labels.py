"""What the labels for kompose say of a service: probes, an Ingress, scaling, times, what runs before it.

In: a service's labels. Out: values, as kompose and Kubernetes would have them; problems in the log. Pure.

Source: kompose, pkg/loader/compose/compose.go and pkg/transformer/kubernetes/.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from i2kit.errors import Position
from i2kit.manifest.compose.types import Duration, Entry
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.reading import Followed, FoundRoute, FoundScaler, Reading
from i2kit.manifest.source import ScalarNode
from i2kit.manifest.tables import compose_labels as table
from i2kit.manifest.tables import names
from i2kit.model import Container, Exec, HttpGet, Ingress, Job, Metric, Probe, Route, Scaling, TcpSocket

_SERVICE_TYPES = ("clusterip", "nodeport", "loadbalancer", "headless")
_VOLUME_TYPES = ("persistentvolumeclaim", "emptydir", "configmap")
_OVERLAPS = Literal["Allow", "Forbid", "Replace"]
Handler = HttpGet | TcpSocket | Exec


class Labels:
    """The labels of one service, by their names."""

    def __init__(self, entries: Sequence[Entry], log: Log) -> None:
        self._log = log
        self._known: dict[str, Entry] = {}
        for one in entries:
            if one.name in table.ACCEPTED:
                self._known[one.name] = one
            elif one.name in table.REFUSED:
                reason, hint = table.REFUSED[one.name]
                log.problem(one.position, one.path, f"`{one.name}` {reason}", hint)
            elif one.name.startswith(table.PREFIX) and one.name not in table.SILENT:
                hint = did_you_mean(one.name, list(table.ACCEPTED)) or "leave it out"
                log.problem(one.position, one.path, f"the label `{shown(one.name)}` is not known", hint)
        self.type = self._choice(table.TYPE, _SERVICE_TYPES)
        self.volume_type = self._choice(table.VOLUME_TYPE, _VOLUME_TYPES)
        self._choice(table.CONTROLLER, ("deployment",))

    def text(self, name: str) -> str | None:
        """The value of a label; None where it is absent or empty."""
        entry = self._known.get(name)
        return (entry.value or "").strip() or None if entry else None

    def place(self, name: str) -> tuple[Position, str]:
        entry = self._known[name]
        return entry.position, entry.path

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self._known)

    def whole(self, name: str, least: int, most: int) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        self._log.problem(*self.place(name), f"`{shown(text)}` is not a number from {least} to {most}")
        return None

    def _choice(self, name: str, words: Sequence[str]) -> str:
        text = (self.text(name) or "").lower()
        if text and text not in words:
            message = f"`{shown(text)}` is not supported"
            self._log.problem(*self.place(name), message, f"use {' or '.join(words)}")
        return text

    def _seconds(self, name: str) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        position, path = self.place(name)
        return Duration().read(ScalarNode(text, text, position), path, self._log)

    def _words(self, name: str) -> tuple[str, ...]:
        text = self.text(name)
        if text is None:
            return ()
        try:
            if text.startswith("["):
                found = json.loads(text)
                if isinstance(found, list) and all(isinstance(one, str) for one in found):
                    return tuple(found)
            else:
                return tuple(shlex.split(text))
        except (ValueError, RecursionError):
            pass
        self._log.problem(*self.place(name), f"`{shown(text)}` is not a command", 'such as ["sh", "-c", "…"]')
        return ()

    # --- probes ---

    def _handler(self, prefix: str) -> Handler | None:
        path, port = self.text(f"{prefix}http_get_path"), self.whole(f"{prefix}http_get_port", 1, 65535)
        if path and port:
            return HttpGet(port, path if path.startswith("/") else f"/{path}")
        if path or port:
            name = f"{prefix}http_get_{'path' if path else 'port'}"
            self._log.problem(*self.place(name), "is one half of a probe", "give it a path and a port")
        tcp = self.whole(f"{prefix}tcp_port", 1, 65535)
        return TcpSocket(tcp) if tcp else None

    def liveness(self) -> Handler | None:
        """What is asked in place of the healthcheck's test."""
        return self._handler(table.LIVENESS)

    def readiness(self, usual: Probe | None) -> Probe | None:
        """What decides whether the machine gets requests, in place of the `usual` one."""
        prefix = table.READINESS
        if (self.text(f"{prefix}disable") or "").lower() in ("true", "1"):
            return None
        command = self._words(f"{prefix}test")
        if command[:1] == ("NONE",):
            return None
        if command[:1] in (("CMD",), ("CMD-SHELL",)):
            command = command[1:] if command[0] == "CMD" else ("/bin/sh", "-c", " ".join(command[1:]))
        handler = Exec(command) if command else self._handler(prefix)
        if handler is None:
            return usual
        probe = Probe(handler)
        return replace(
            probe,
            initial_delay_s=self._seconds(f"{prefix}start_period") or 0,
            period_s=self._seconds(f"{prefix}interval") or probe.period_s,
            timeout_s=self._seconds(f"{prefix}timeout") or probe.timeout_s,
            failure_threshold=self.whole(f"{prefix}retries", 0, 10**6) or probe.failure_threshold,
        )

    # --- what else there is of it ---

    def job(self, usual: Job | None) -> Job | None:
        """That it runs at certain times."""
        name = f"{table.CRON}schedule"
        schedule = self.text(name)
        if schedule is None:
            if self.has(table.CRON):
                one = next(each for each in self._known if each.startswith(table.CRON))
                self._log.problem(*self.place(one), f"is without `{name}`", 'such as "0 3 * * *"')
            return usual
        if complaint := names.schedule(schedule):
            self._log.problem(*self.place(name), *complaint)
        policy = (self.text(f"{table.CRON}concurrency_policy") or "Allow").capitalize()
        overlap = next((word for word in get_args(_OVERLAPS) if word == policy), None)
        if overlap is None:
            place = self.place(f"{table.CRON}concurrency_policy")
            self._log.problem(*place, f"`{shown(policy)}` is not known", "use Allow, Forbid or Replace")
        most = self.whole(f"{table.CRON}backoff_limit", 0, 10**6)
        return Job(
            most_failures=6 if most is None else most,
            retry=usual is None or usual.retry,
            schedule=schedule,
            overlap=overlap or "Allow",
        )

    def before(self) -> tuple[Container, ...]:
        """What runs to its end before the service."""
        if not self.has(table.INIT):
            return ()
        image, name = self.text(f"{table.INIT}image"), self.text(f"{table.INIT}name") or "init"
        command = self._words(f"{table.INIT}command")
        holder = next(each for each in self._known if each.startswith(table.INIT))
        complaint = names.image(image) if image else ("has no image", f"write {table.INIT}image")
        if complaint := complaint or names.dns_label(name):
            self._log.problem(*self.place(holder), *complaint)
            return ()
        words = tuple(one.replace("$", "$$") for one in command)
        position, _ = self.place(f"{table.INIT}image")
        return (Container(name, image or "", command=words or None, position=position),)

    def scale(self, workload: str, reading: Reading) -> None:
        """What kompose makes a HorizontalPodAutoscaler of."""
        if not self.has(table.HPA):
            return
        holder = next(each for each in self._known if each.startswith(table.HPA))
        place = self.place(holder)
        least = self.whole(f"{table.HPA}replicas.min", 1, 250) or 1
        most = max(self.whole(f"{table.HPA}replicas.max", 1, 250) or 3, least)
        followed = []
        for resource, default in (("cpu", 50), ("memory", 70)):
            name = f"{table.HPA}{resource}"
            share = self.whole(name, 1, 100) or default
            if name in self._known or resource == "cpu":
                metric = Metric("cpu" if resource == "cpu" else "memory", percent=share)
                followed.append(Followed(metric, *(self.place(name) if name in self._known else place)))
        scaling = Scaling(least, most, tuple(one.metric for one in followed))
        reading.scalers.append(FoundScaler(f"default/{workload}", scaling, *place, tuple(followed)))

    def expose(self, workload: str, service: str | None, port: int, reading: Reading) -> None:
        """What kompose makes an Ingress of, in front of the Service that has the port."""
        text = self.text(table.EXPOSE)
        if text is None:
            if self.text(table.EXPOSE_TLS):
                message = f"is without `{table.EXPOSE}`"
                self._log.problem(*self.place(table.EXPOSE_TLS), message, "name the host there")
            return
        place = self.place(table.EXPOSE)
        if service is None:
            self._log.problem(*place, "has no port that it could lead to", "publish one with ports")
            return
        rules: dict[str, tuple[Route, ...]] = {}
        for one in filter(None, re.split(r"[ ,]+", text)):
            host, slash, path = one.removeprefix("http://").removeprefix("https://").partition("/")
            host = "" if host == "true" else host
            if host and (complaint := names.dns_name(host)):
                self._log.problem(*place, *complaint)
                continue
            route = Route(f"{slash}{path}" or "/", False, service, port)
            rules[host] = (*rules.get(host, ()), route)
            reading.routes.append(FoundRoute(f"default/{workload}", host, route, *place, *place))
        known_as = self.text(table.EXPOSE_TLS)
        hosts = tuple(host for host in rules if host)
        if known_as == "true":
            self._log.warn(*self.place(table.EXPOSE_TLS), "names no Secret: it is called by HTTP only")
            known_as = None
        tls = ((hosts, known_as),) if known_as else ()
        reading.ingresses.append(Ingress(workload, tuple(rules.items()), tls=tls, position=place[0]))
