"""Which machine images of provider `local`'s revisions are there.

In: what is noted. Out: what of it has its files. Looks at files and opens none.
"""

from collections.abc import Iterator
from pathlib import Path

from i2kit.providers.local.design.desired import Machine, Wanted


def kept(now: Wanted | None) -> frozenset[int]:
    """The revisions of a deployment whose machine images are there."""
    revisions = (*now.past, now) if now else ()
    return frozenset(one.revision for one in revisions if not list(missing(one.machine)))


def missing(machine: Machine) -> Iterator[str]:
    """The files of a machine image that are gone."""
    for path in (machine.kernel, machine.initrd, machine.root):
        if path and not Path(path).is_file():
            yield path
