"""Whether a rollout comes further or has failed, and what is told of a failure. Pure.

In: what is wanted and the VMs as they are, with a time. Out: the best that was reached, and when; why it
failed. The rules for progress are Kubernetes' (deployment/util, DeploymentProgressing).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from i2kit.providers.local.design.desired import Wanted
from i2kit.providers.local.design.plan import Running

MOST_FAILURES = 3
"""Containers of one new VM that ended this often, or so many new VMs that died: it will not become ready."""

MOST_REASON = 300
"""How many characters of the reason for a failure are noted for lists."""

MOST_STORY = 4000
"""How many characters are noted of all that is known of a failure."""

UNKNOWN = "nothing says what it waited for: it may take longer to boot"


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a rollout came at best; `at_s` is when it last came further."""

    at_s: float
    new: int = 0
    gone: int = 0
    """How many old VMs fewer there were than at the beginning."""
    ready: int = 0
    available: int = 0


def reached(best: Reached, old: int, wanted: Wanted, running: Sequence[Running], now: float) -> Reached:
    """The best with what is there now; `old` is how many VMs of other machines there were at first."""
    new = [one for one in running if one.machine == wanted.machine.fingerprint and one.state != "draining"]
    counts = (
        max(best.new, len(new)),
        max(best.gone, old - sum(one.machine != wanted.machine.fingerprint for one in running)),
        max(best.ready, sum(one.state == "ready" for one in new)),
        max(best.available, sum(one.available for one in new)),
    )
    further = counts != (best.new, best.gone, best.ready, best.available)
    return Reached(now if further else best.at_s, *counts)


def story(what: str, said: Sequence[str]) -> str:
    """All that is known of a failure: what happened, and the last lines that were said before."""
    lines = "".join(f"\n    {line}" for line in said)
    return f"  {what}{lines}"[:MOST_STORY]


def in_short(text: str) -> str:
    """A story in one line: what happened, and the very last words."""
    first, *said = [line.strip() for line in text.splitlines()] or [""]
    return ": ".join((first, *said[-1:]))[:MOST_REASON]
