"""Starts the programs that stay running (QEMU, HAProxy, dnsmasq): with as little as each needs.

In: an argument list and the descriptors it inherits. Out: the process, which ends when we do.
"""

import contextlib
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from i2kit.process import require, run
from i2kit.providers.local import vm


@cache
def can_drop_privileges() -> bool:
    """Whether capabilities can be given up: outside of a user namespace an ordinary user has none."""
    return run(vm.confined(["true"], in_namespace=False, privileged=True), check=False).status == 0


def spawn(
    words: Sequence[str],
    fds: Sequence[int] = (),
    *,
    own_network: bool = False,
    keep_privileges: bool = False,
    stderr: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program. `own_network` puts it into an empty network namespace (its taps are open files).

    Raises ProgramError when it is not installed, OSError when it cannot be started.
    """
    require(words[0])
    if keep_privileges:
        command = ["setpriv", "--pdeathsig", "KILL", *words]
    else:
        command = [*vm.confined(words, in_namespace=own_network, privileged=can_drop_privileges())]
    with stderr.open("ab") if stderr else contextlib.nullcontext() as said:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=fds,
            cwd="/",
        )
