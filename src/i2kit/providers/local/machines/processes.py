"""What the kernel tells of a process and those below it: whether it is stopped, how much CPU it used. Also
what this machine has for all of them.

In: process ids. Out: plain values from /proc (proc(5)); a process that is gone is not stopped and used none.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from i2kit.providers.local.design.room import Host

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def is_stopped(pid: int, *, below: bool = True) -> bool:
    """Whether it, or one below it, was stopped by a signal and does nothing until another lets it go on."""
    return any(words[0] == "T" for words in (_stats(pid) if below else islice(_stats(pid), 1)))


def cpu_s(pid: int) -> float:
    """The CPU time that it and those below it have used so far."""
    return sum(int(words[11]) + int(words[12]) for words in _stats(pid)) / TICKS_PER_S


def host() -> Host:
    """What this machine has now."""
    told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(told[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    return Host(total, free, os.cpu_count() or 1)


def _stats(pid: int) -> Iterator[list[str]]:
    """Of each process, the words of its `stat` after its name, from the state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return
    yield text.rpartition(")")[2].split()
    for child in below.split():
        yield from _stats(int(child))
