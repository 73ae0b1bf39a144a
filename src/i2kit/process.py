"""The one place that runs other programs and waits for them.

In: an argument list, never a shell line. Out: what the program printed, or a `ProgramError` that
says which command failed, how, what it wrote last, and which package holds it when it is missing.
(Programs that stay running belong to the supervisor of provider `local`, which starts them itself.)
"""

import os
import shlex
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from i2kit.errors import OperationError

PACKAGES: Mapping[str, str] = {
    "apt-get": "apt",
    "bridge": "iproute2",
    "busybox": "busybox-static",
    "bwrap": "bubblewrap",
    "dnsmasq": "dnsmasq-base",
    "dpkg-deb": "dpkg",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "lz4": "lz4",
    "nft": "nftables",
    "nsenter": "util-linux",
    "pasta": "passt",
    "prlimit": "util-linux",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "slirp4netns": "slirp4netns",
    "ss": "iproute2",
    "unshare": "util-linux",
    "zstd": "zstd",
}
"""Program → the Debian and Ubuntu package that holds it."""

SEARCH_PATH = os.pathsep.join(
    # Debian keeps haproxy and dnsmasq in sbin, which ordinary users do not have on their PATH.
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)

LAST_LINES = 12
"""How much of a failed program's stderr an error shows."""


class ProgramError(OperationError):
    """A program failed or is missing. `status` is its exit status, negative for a signal, None if missing."""

    def __init__(self, message: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program left behind: exit status 0 unless `check` was off."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def which(program: str) -> Path | None:
    """Where a program is, or None. Looks into the sbin directories too."""
    found = shutil.which(program, path=SEARCH_PATH)
    return Path(found) if found else None


def require(program: str) -> Path:
    """Where a program is; raises ProgramError naming its package when it is missing."""
    found = which(program)
    if found is None:
        package = PACKAGES.get(program)
        raise ProgramError(
            f"the program `{program}` is not installed",
            hint=f"install the package `{package}`, for example: sudo apt-get install {package}"
            if package
            else f"install `{program}` and make sure that it is on the PATH",
        )
    return found


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end. `env` is added to the environment; `stdout` takes its output instead.

    Raises ProgramError when it is missing, exits with another status than 0 (unless `check` is
    off) or is not done after `timeout_s`.
    """
    words = [str(require(str(argv[0]))), *(os.fspath(word) for word in argv[1:])]
    text: bytes | None = None
    source: int | IO[bytes] | None = subprocess.DEVNULL
    if isinstance(stdin, bytes):
        text, source = stdin, None
    elif stdin is not None:
        source = stdin
    sink: int | IO[bytes] = subprocess.PIPE if stdout is None else stdout
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            words,
            input=text,
            stdin=source,
            stdout=sink,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", **(env or {})},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"not done after {timeout_s:g} s: {command_line(words)}") from error
    except OSError as error:
        raise ProgramError(f"cannot run {command_line(words)}: {error.strerror}") from error
    if check and done.returncode != 0:
        raise ProgramError(explain(words, done.returncode, done.stderr), status=done.returncode)
    return Completed(done.returncode, done.stdout or b"", done.stderr or b"")


def follow(
    argv: Sequence[str | Path],
    on_line: Callable[[str], None],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end and hand over each line that it writes, stdout and stderr as one.

    It is in a process group of its own, with all that it starts; whatever interrupts this function,
    such as Ctrl-C, ends them all at once. `env` is added to the environment. Raises ProgramError as
    `run` does.
    """
    words = [str(require(str(argv[0]))), *(os.fspath(word) for word in argv[1:])]
    last: deque[bytes] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", **(env or {})},
        start_new_session=True,
    ) as program:
        assert program.stdout
        try:
            for line in program.stdout:
                last.append(line)
                on_line(line.decode(errors="replace").rstrip("\n"))
            status = program.wait()
        except BaseException:
            os.killpg(program.pid, signal.SIGKILL)
            raise
    if status != 0:
        raise ProgramError(explain(words, status, b"".join(last)), status=status)


def command_line(argv: Sequence[str]) -> str:
    """The command as one could paste it into a shell."""
    return shlex.join(argv)


def explain(argv: Sequence[str], status: int, stderr: bytes) -> str:
    """A failed command in words: how it ended, what it was, what it said last."""
    if status < 0:
        try:
            how = f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            how = f"was ended by signal {-status}"
    else:
        how = f"failed with exit status {status}"
    said = stderr.decode(errors="replace").strip().splitlines()[-LAST_LINES:]
    lines = "".join(f"\n    {line}" for line in said)
    return f"`{Path(argv[0]).name}` {how}\n  command: {command_line(argv)}{lines}"
