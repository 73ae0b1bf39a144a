"""The keeper: the one process of ours in the host's network, as small as can be. A daemon.

It holds the lock that says "running", puts the supervisor into namespaces of its own, opens the
published ports on the host's loopback address for it, and runs the way out (slirp4netns or pasta).
When it dies, the kernel ends everything below it, and the watcher (watcher.sh) starts another.
Started by `client` from the command line:
python -m i2kit.providers.local.keeper STATE_DIR RUN_DIR NETWORK ACCELERATOR EGRESS
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from i2kit.process import SEARCH_PATH
from i2kit.providers.local.layout import ALREADY_RUNS, Layout
from i2kit.providers.local.machines import processes
from i2kit.providers.local.machines.namespaces import can_isolate, isolated
from i2kit.providers.local.reach import certificates, network

RESTART_S = 1.0
WATCHER = Path(__file__).with_name("watcher.sh")


def egress_command(kind: str, pid: int) -> list[str]:
    """The program that lets the namespace of process `pid` reach the outside, as its ordinary user."""
    if kind == "pasta":
        words = ["pasta", "-f", "-q", "-4", "--config-net", "--ns-ifname", network.OUTSIDE]
        words += ["-a", "10.76.0.2", "-n", "24", "-g", "10.76.0.1", "--no-map-gw", "-m", "1500"]
        words += ["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--dns-forward", "10.76.0.3"]
        words += ["--runas", "0:0"] if os.geteuid() == 0 else []
        words += [str(pid)]
    else:
        words = ["slirp4netns", "-c", "-m", "1500", "--cidr=10.76.0.0/24", "--disable-host-loopback"]
        words += ["--enable-sandbox", "--enable-seccomp", str(pid), network.OUTSIDE]
    return ["setpriv", "--pdeathsig", "KILL", *words]


class Keeper:
    """Runs until the supervisor says that nothing is left to run."""

    def __init__(self, layout: Layout, lock: int, network_mode: str, accelerator: str, egress: str) -> None:
        self._layout = layout
        self._lock = lock
        self._mode = network_mode
        self._accelerator = accelerator
        self._egress_kind = egress
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._egress: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._watcher_end: int | None = None
        """Readable once the watcher ended: another is there before anybody can end us, too."""
        self._stopped: set[int] = set()

    def run(self) -> None:
        """Keep a supervisor running; start it again when it dies for another reason than being done."""
        while True:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours:
                self._supervisor = self._start_supervisor(theirs)
                theirs.close()
                self._serve(ours, self._supervisor)
            status = self._supervisor.wait()
            self._stop(self._egress)
            self._egress = None
            if status == 0:
                return
            _log(f"the supervisor ended with status {status}; starting it again")
            time.sleep(RESTART_S)

    def _start_supervisor(self, link: socket.socket) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-P", "-m", "i2kit.providers.local.supervisor"]
        words += [str(self._layout.state_dir), str(self._layout.run_dir), self._mode, self._accelerator]
        words += [str(link.fileno())]
        if self._mode == "namespace":
            words = isolated(words, network_too=True)
        elif can_isolate():
            words = isolated(words, network_too=False)
        else:
            words = ["setpriv", "--pdeathsig", "KILL", *words]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=[link.fileno()])

    def _serve(self, link: socket.socket, supervisor: subprocess.Popen[bytes]) -> None:
        """Answer the supervisor's requests until it closes the link by ending."""
        while True:
            self._be_watched()
            self._go_on(supervisor)
            waiting: list[socket.socket | int] = [link]
            waiting += [self._watcher_end] if self._watcher_end is not None else []
            readable, _, _ = select.select(waiting, [], [], 1.0)
            if not self._is_found():
                # No command can reach us any more; our watcher starts another keeper, or the next command.
                sys.exit(1)
            if self._egress is not None and self._egress.poll() is not None:
                _log(f"{self._egress_kind} ended with status {self._egress.returncode}; starting it again")
                self._start_egress(supervisor)
            if link not in readable:
                continue
            try:
                words = link.recv(4096).decode().split()
            except ConnectionError:
                return
            match words:
                case ["listen" | "bind" as kind, port]:
                    self._open(link, network.listen if kind == "listen" else network.bind, int(port))
                case ["up"]:
                    self._start_egress(supervisor)
                    link.send(b"ok")
                case _:
                    return

    def _be_watched(self) -> None:
        """Start a watcher where there is none, as after its death."""
        if self._watcher is not None and self._watcher.poll() is None:
            return
        if self._watcher_end is not None:
            os.close(self._watcher_end)
            self._watcher_end = None
        with contextlib.suppress(OSError):
            lock = os.open(self._layout.watcher_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                os.close(lock)
            words = ["sh", str(WATCHER), sys.executable, *sys.argv[1:]]
            self._watcher = subprocess.Popen(words, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)
            self._watcher_end = os.pidfd_open(self._watcher.pid)

    def _go_on(self, supervisor: subprocess.Popen[bytes]) -> None:
        """Have what was stopped go on; the way out is started anew where that does not help."""
        inside = _first_child(supervisor.pid)
        if inside is not None and processes.is_stopped(inside, below=False):
            os.kill(inside, signal.SIGCONT)
        if self._watcher is not None and processes.is_stopped(self._watcher.pid):
            os.killpg(self._watcher.pid, signal.SIGCONT)
        if self._egress is not None and processes.is_stopped(self._egress.pid):
            again = self._egress.pid in self._stopped
            os.kill(self._egress.pid, signal.SIGKILL if again else signal.SIGCONT)
            self._stopped = {self._egress.pid}
        else:
            self._stopped = set()

    def _is_found(self) -> bool:
        """Whether the lock is still the file of this name: a logout, for one, removes the folder it is in."""
        try:
            return os.path.samestat(os.fstat(self._lock), self._layout.keeper_lock.stat())
        except OSError:
            return False

    def _open(self, link: socket.socket, kind: Callable[[str, int], socket.socket], port: int) -> None:
        try:
            with kind("127.0.0.1", port) as listener:
                socket.send_fds(link, [b"ok"], [listener.fileno()])
        except OSError as error:
            link.send(f"error {error.errno}".encode())

    def _start_egress(self, supervisor: subprocess.Popen[bytes]) -> None:
        if self._egress_kind == "none":
            return
        inside = _first_child(supervisor.pid)
        if inside is not None:
            words = egress_command(self._egress_kind, inside)
            self._egress = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def _stop(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            process.kill()
            process.wait()


def _first_child(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return None


def _log(text: str) -> None:
    sys.stderr.write(f"keeper: {text}\n")
    sys.stderr.flush()


def main() -> None:
    """Become the keeper, or end at once if there is one."""
    state_dir, run_dir, mode, accelerator, egress = sys.argv[1:]
    layout = Layout(Path(state_dir), Path(run_dir))
    os.environ["PATH"] = SEARCH_PATH
    os.umask(0o077)
    layout.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(layout.keeper_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(ALREADY_RUNS)
    if os.fork():  # the lock goes on with the child; whoever started us needs not wait any longer
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Keeper(layout, lock, mode, accelerator, egress).run()
    for path in layout.left_by_keeper():
        path.unlink(missing_ok=True)
    certificates.remove(layout.certificates)
    with contextlib.suppress(OSError):
        layout.run_dir.rmdir()


if __name__ == "__main__":
    main()
