"""The rules of an Ingress, as an application load balancer has them, with their order and numbers. Pure.

Sources: Elastic Load Balancing, "Listener rules for your Application Load Balancer" (conditions, wildcards);
Kubernetes, "Ingress" (path types; the host counts before the path).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2kit.model import Ingress, Route
from i2kit.providers.aws.design.parts import Data

MAX_PRIORITY = 50_000
STEP = 400
"""Between the priorities of new rules: room for others between them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`path` None: all of the host. Without a route it is what no rule is for."""

    host: str
    path: str | None
    exact: bool
    route: Route | None

    @property
    def order(self) -> tuple[Any, ...]:
        """The nearest host first, then the longest path. Two rules always stand in the same order."""
        breadth = 2 if not self.host else 1 if self.host.startswith("*") else 0
        path = self.path or ""
        return breadth, -len(self.host), self.host, self.path is None, not self.exact, -len(path), path

    @property
    def id(self) -> str:
        return short(self.host, self.path or "", str(self.exact), str(self.path is None))

    @property
    def conditions(self) -> list[Data]:
        """AWS's `*` is for any characters. A prefix is whole elements of a path, as in Kubernetes."""
        made: list[Data] = []
        if self.host:
            made.append({"Field": "host-header", "HostHeaderConfig": {"Values": [self.host]}})
        paths = ["/*"]
        if self.path is not None and self.exact:
            paths = [self.path]
        elif self.path is not None and (prefix := self.path.rstrip("/")):
            paths = [prefix, f"{prefix}/*"]
        if paths != ["/*"] or not made:
            made.append({"Field": "path-pattern", "PathPatternConfig": {"Values": paths}})
        return made


def rules(ingress: Ingress) -> tuple[Rule, ...]:
    """In the order in which they count. Who names a host of a rule is in no rule of a broader one."""
    made: dict[str, Rule] = {}
    hosts = [host for host, _ in ingress.rules]
    for host, routes in ingress.rules:
        for route in routes:
            one = Rule(host, route.path, route.exact, route)
            made.setdefault(one.id, one)
        whole = any(not route.exact and route.path.rstrip("/") == "" for route in routes)
        if not whole and any(_is_broader(other, host) for other in hosts):
            one = Rule(host, None, False, ingress.default)
            made.setdefault(one.id, one)
    return tuple(sorted(made.values(), key=lambda one: one.order))


def _is_broader(other: str, host: str) -> bool:
    return other != host and (not other or (other.startswith("*") and host.endswith(other[1:])))


def priorities(ids: Sequence[str], before: Mapping[str, int]) -> dict[str, int]:
    """A number for each rule, in their order. Those that have one keep it: AWS can't swap two numbers.

    Where there is no room for new ones between, all get numbers that none of them had.
    """
    made: dict[str, int] = {}
    kept = {id_: before[id_] for id_ in ids if id_ in before}
    taken = set(before.values())
    start = 0
    while start < len(ids):
        if ids[start] in kept:
            made[ids[start]] = kept[ids[start]]
            start += 1
            continue
        end = next((at for at in range(start, len(ids)) if ids[at] in kept), len(ids))
        count = end - start
        low = made[ids[start - 1]] if start else 0
        # The last ones have room behind them.
        high = kept[ids[end]] if end < len(ids) else min(MAX_PRIORITY + 1, low + STEP * (count + 1))
        free = [number for number in range(low + 1, high) if number not in taken]
        if len(free) < count:
            unused = [number for number in range(STEP, MAX_PRIORITY, STEP) if number not in taken]
            return dict(zip(ids, unused, strict=False))
        for at in range(count):
            made[ids[start + at]] = free[(at + 1) * len(free) // (count + 1)]
        start = end
    return made


def short(*words: str) -> str:
    """A part of a logical id that these words alone have."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:10]
