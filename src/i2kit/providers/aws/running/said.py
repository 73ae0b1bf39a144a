"""What a machine says of its own pod becomes words for people, and a judgement. Pure.

In: the lines of its own log stream, `machine`: those that the guest tells a host where there is one
(guest/supervisor/usr/lib/i2kit/pod). Out: what is wrong, and how often containers ended unasked.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST_CRASHES = 3
"""A new machine whose containers have ended so often will not become ready."""

MOST_CHARACTERS = 300

_EXITED = re.compile(r"exited (?P<name>\S+) (?P<status>\S+) (?P<delay>\d+)(?: (?P<reason>.*))?")
_PROBE = re.compile(r"probe (?P<name>\S+) (?P<kind>\S+) (?P<outcome>failed|ok)(?: (?P<text>.*))?")


@dataclass(frozen=True, slots=True)
class Said:
    """`detail` is the last thing that went wrong, empty where nothing did or all is well again."""

    detail: str = ""
    crashes: int = 0
    broken: bool = False

    @property
    def hopeless(self) -> bool:
        return self.broken or self.crashes >= MOST_CRASHES


def said(lines: Iterable[str]) -> Said:
    """Of lines in the order of time, without what could steer a terminal."""
    detail, crashes, broken = "", 0, False
    for line in lines:
        found = _EXITED.fullmatch(line)
        if found and (found["status"], found["delay"], found["reason"] or "") == ("0", "0", ""):
            # It was tried again, has done its work, and is not started any more.
            if detail.startswith(f"container {found['name']} ended "):
                detail = ""
        elif found:
            crashes += 1
            why = f" ({found['reason']})" if found["reason"] else ""
            again = f", starts again in {found['delay']} s" if int(found["delay"]) else ""
            detail = f"container {found['name']} ended with exit status {found['status']}{why}{again}"
        elif found := _PROBE.fullmatch(line):
            words = f"container {found['name']}: {found['kind']} probe failed"
            if found["outcome"] == "failed":
                detail = f"{words}: {found['text'] or 'no answer'}"
            elif detail.startswith(f"{words}:"):
                detail = ""
        elif line.startswith("broken "):
            detail, broken = line.removeprefix("broken "), True
        elif line == "ready":
            detail, crashes = "", 0
    return Said(detail[:MOST_CHARACTERS], crashes, broken)
