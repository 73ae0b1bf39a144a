"""What this machine has and lacks for building and running virtual machines.

In: the settings. Out: one Check per thing looked at, and those as text or data. Only looks: it
installs and changes nothing.
"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2kit import process
from i2kit.errors import I2kitError, InputError, OperationError
from i2kit.settings import Settings

PACKAGES_FILE = Path(__file__).with_name("packages.txt")

ROOMY_BYTES = 2_000_000_000
"""What a few images take with their layers, packages and kernel; below it the store is tight."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `missing` is needed; `limited` works, but not as well as it could.

    `package` is what to install, where that mends it.
    """

    name: str
    state: Literal["ok", "limited", "missing"]
    detail: str
    hint: str | None = None
    package: str | None = None


def examine(settings: Settings) -> tuple[Check, ...]:
    """Look at everything, in the order in which one would mend it."""
    return (
        Check("python", "ok", f"{platform.python_version()} in {sys.executable}"),
        *programs(packages(PACKAGES_FILE.read_text(), "run"), process.PACKAGES),
        distribution(),
        room(settings.store_dir),
        kernel(settings.store_dir),
        *local(settings),
        aws(settings),
    )


def packages(text: str, purpose: str) -> tuple[str, ...]:
    """The packages of one purpose in the text of packages.txt. Pure."""
    rows = (line.split("#")[0].split() for line in text.splitlines())
    return tuple(row[0] for row in rows if purpose in row[1:])


def programs(needed: Sequence[str], holds: Mapping[str, str]) -> Iterator[Check]:
    """Whether each program of the needed packages is there."""
    for program, package in sorted(holds.items()):
        if package not in needed:
            continue
        if found := process.which(program):
            yield Check(program, "ok", str(found))
        else:
            yield Check(program, "missing", f"in the package {package}", package=package)


def distribution() -> Check:
    """Whether apt knows the packages of kernel and guest: the first build downloads them."""
    name = "distribution packages"
    try:
        policy = process.run(["apt-cache", "policy", "linux-image-cloud-amd64"], timeout_s=30).text
    except process.ProgramError as error:
        return Check(name, "missing", error.message.splitlines()[0], "i2kit needs Debian or Ubuntu")
    for line in policy.splitlines():
        field, _, value = line.strip().partition(":")
        if field == "Candidate" and value.strip() != "(none)":
            return Check(name, "ok", f"apt offers linux-image-cloud-amd64 {value.strip()}")
    hint = "update apt's lists, for example: sudo apt-get update"
    return Check(name, "limited", "apt does not know linux-image-cloud-amd64", hint)


def room(folder: Path) -> Check:
    """Whether images can be kept where they should, and how much space is left there."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not os.access(there, os.W_OK | os.X_OK):
        hint = "set I2KIT_STORE_DIR to a folder that you can write to"
        return Check("disk", "missing", f"the store {folder} cannot be written", hint)
    free = shutil.disk_usage(there).free
    detail = f"{free / 1e9:.1f} GB free for the store in {folder}"
    if free >= ROOMY_BYTES:
        return Check("disk", "ok", detail)
    hint = "see what `i2kit images prune` would free, or set I2KIT_STORE_DIR to a roomier place"
    return Check("disk", "limited", detail, hint)


def kernel(folder: Path) -> Check:
    """Which kernel machines get where no lock file says it, and what it takes to make a smaller one."""
    from i2kit.image.base import kernel_build, own_kernel
    from i2kit.image.store import Store

    own = None
    if os.path.lexists(folder / "kernels"):
        with suppress(OperationError):  # of a store that cannot be used, which is told of the disk
            own = own_kernel.latest(Store(folder))
    if own:
        what = f"our own, of {own.source.name} {own.source.version}"
        if own_kernel.is_current(own):
            return Check("kernel", "ok", what)
        return Check("kernel", "limited", what, f"it was made with {own_kernel.OUTDATED}")
    hint = "a smaller one boots in half the time; `i2kit kernel build` compiles it in some minutes"
    if missing := kernel_build.missing_packages():
        hint += f", and for that has to be installed: {' '.join(missing)}"
    return Check("kernel", "limited", "the distribution's", hint)


def local(settings: Settings) -> Iterator[Check]:
    """What the provider `local` gets on this machine, and why."""
    from i2kit.providers.local.machines import capabilities

    try:
        found = capabilities.inspect(settings)
    except I2kitError as error:
        yield Check("provider local", "missing", error.message, error.hint)
        return
    kvm, namespace = found.accelerator == "kvm", found.network == "namespace"
    yield Check("accelerator", "ok" if kvm else "limited", f"{found.accelerator}: {found.accelerator_reason}")
    yield Check("network", "ok" if namespace else "limited", f"{found.network}: {found.network_reason}")
    if found.egress == "none":
        hint = "install slirp4netns"
        yield Check("way out", "limited", "none: virtual machines reach only each other", hint)
    else:
        yield Check("way out", "ok", found.egress)


def aws(settings: Settings) -> Check:
    """Whether provider `aws` has what it takes. Asks nothing of AWS; only who wants it needs it."""
    name = "provider aws"
    try:
        from i2kit.providers.aws.access import session

        found = session.connect(settings.aws)
    except InputError as error:
        reasons = "; ".join(problem.message for problem in error.problems)
        return Check(name, "limited", reasons, error.problems[0].hint)
    except I2kitError as error:
        return Check(name, "limited", error.message.removeprefix(f"{name} "), error.hint)
    return Check(name, "ok", f"credentials, and region {found.region}")


def mend(checks: Sequence[Check], *, root: bool) -> str | None:
    """The one line that installs every missing package, if any is."""
    missing = sorted({check.package for check in checks if check.package and check.state == "missing"})
    if not missing:
        return None
    return f"{'' if root else 'sudo '}apt-get install --no-install-recommends {' '.join(missing)}"
