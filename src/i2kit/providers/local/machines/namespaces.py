"""Namespaces of our own, as the command line of unshare(1): the same as root and as anybody else.

The pid namespace is the point: when its first process dies, the kernel ends every other one in it.
"""

from collections.abc import Sequence

from i2kit.process import ProgramError, run


def isolated(words: Sequence[str], *, network_too: bool) -> list[str]:
    """The command in user, mount and pid namespaces of its own (and net); it dies with its parent."""
    kinds = ["--user", "--map-root-user", "--pid", "--mount", "--ipc", "--uts"]
    if network_too:
        kinds.append("--net")
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", *kinds, "--fork", "--kill-child=KILL", "--mount-proc"),
        *words,
    ]


def can_isolate() -> bool:
    """Whether this user on this machine gets the namespaces (without a network)."""
    try:
        run(isolated(["true"], network_too=False), timeout_s=10)
    except ProgramError:
        return False
    return True
