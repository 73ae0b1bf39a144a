"""A process that relays datagrams: HAProxy knows nothing of UDP.

In, on a socket that it inherits: which bound sockets there are and which machines are behind each. Out: each
caller's datagrams at one of the machines, the answers at the caller. A caller keeps its machine for as long
as both send and it is ready. Started by the supervisor: python -m i2kit.providers.local.reach.udp LINK_FD
"""

import contextlib
import hashlib
import json
import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

Address = tuple[str, int]
Spawn = Callable[[Sequence[str], Sequence[int]], subprocess.Popen[bytes]]

IDLE_S = 120.0
"""A caller that is silent for so long may get another machine: as long as Linux remembers UDP streams."""

MOST_SESSIONS = 4096
"""Callers at a time; for one more, who has been silent longest goes."""

AT_ONCE = 64
"""Datagrams that are taken from one socket before another's turn."""

LARGEST = 65536


@dataclass(slots=True)
class Session:
    """A caller and the machine that it talks with."""

    port: "Port"
    caller: Address
    machine: Address
    socket: socket.socket
    last_s: float


@dataclass(slots=True)
class Port:
    """A bound socket, and the machines behind it."""

    socket: socket.socket
    machines: tuple[Address, ...] = ()
    sticky: bool = False
    turn: int = 0
    sessions: dict[Address, Session] = field(default_factory=dict)

    def choose(self, caller: Address) -> Address | None:
        """The machine for a new caller: in turn, or always the same for an address as long as it is there."""
        if not self.machines:
            return None
        if self.sticky:
            return max(self.machines, key=lambda one: hashlib.sha256(f"{caller[0]} {one}".encode()).digest())
        self.turn += 1
        return self.machines[self.turn % len(self.machines)]


class Relay:
    """All ports and sessions; one thread."""

    def __init__(self, link: socket.socket, most_sessions: int = MOST_SESSIONS) -> None:
        self._link = link
        self._most = most_sessions
        self._selector = selectors.DefaultSelector()
        self._ports: dict[str, Port] = {}
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        """By descriptor, who has been silent longest first."""
        self._ended = False
        self._selector.register(link, selectors.EVENT_READ, self._order)

    def run(self) -> None:
        """Until the other end of the link is closed."""
        while not self._ended:
            for key, _ in self._selector.select(1.0):
                cast(Callable[[], None], key.data)()
            self._forget_silent()
        for session in list(self._sessions.values()):
            self._end(session)
        for port in self._ports.values():
            port.socket.close()
        self._selector.close()

    def _order(self) -> None:
        text, fds, _, _ = socket.recv_fds(self._link, 1 << 18, 1)
        if not text:
            self._ended = True
            return
        order = json.loads(text)
        name = order["port"]
        if fds:
            port = self._ports[name] = Port(socket.socket(fileno=fds[0]))
            port.socket.setblocking(False)
            self._selector.register(port.socket, selectors.EVENT_READ, lambda: self._from_callers(port))
        if order["machines"] is None:
            gone = self._ports.pop(name)
            for session in list(gone.sessions.values()):
                self._end(session)
            self._selector.unregister(gone.socket)
            gone.socket.close()
            return
        here = self._ports[name]
        here.machines = tuple((address, number) for address, number in order["machines"])
        here.sticky = order["sticky"]
        for session in list(here.sessions.values()):
            if session.machine not in here.machines:
                # What it was sent before may yet be answered; what comes now goes to another.
                del here.sessions[session.caller]

    def _from_callers(self, port: Port) -> None:
        for _ in range(AT_ONCE if port.socket.fileno() >= 0 else 0):
            try:
                data, caller = port.socket.recvfrom(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                continue
            # One that refused what was sent before tells so now: the next one may not.
            for _ in range(2):
                session = port.sessions.get(caller) or self._begin(port, caller)
                if session is None:
                    break
                try:
                    session.socket.send(data)
                except BlockingIOError:
                    break
                except OSError:
                    self._end(session)
                    continue
                self._touch(session)
                break

    def _begin(self, port: Port, caller: Address) -> Session | None:
        machine = port.choose(caller)
        if machine is None:
            return None
        while len(self._sessions) >= self._most:
            self._end(next(iter(self._sessions.values())))
        try:
            there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        except OSError:
            return None
        try:
            there.setblocking(False)
            there.connect(machine)
        except OSError:
            there.close()
            return None
        session = Session(port, caller, machine, there, time.monotonic())
        port.sessions[caller] = session
        self._sessions[there.fileno()] = session
        self._selector.register(there, selectors.EVENT_READ, lambda: self._from_machine(session))
        return session

    def _from_machine(self, session: Session) -> None:
        for _ in range(AT_ONCE if session.socket.fileno() >= 0 else 0):
            try:
                data = session.socket.recv(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                self._end(session)
                return
            with contextlib.suppress(OSError):
                session.port.socket.sendto(data, session.caller)
            self._touch(session)

    def _touch(self, session: Session) -> None:
        session.last_s = time.monotonic()
        self._sessions.move_to_end(session.socket.fileno())

    def _end(self, session: Session) -> None:
        if session.port.sessions.get(session.caller) is session:
            del session.port.sessions[session.caller]
        del self._sessions[session.socket.fileno()]
        self._selector.unregister(session.socket)
        session.socket.close()

    def _forget_silent(self) -> None:
        now = time.monotonic()
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if now - oldest.last_s < IDLE_S:
                return
            self._end(oldest)


@dataclass(frozen=True, slots=True)
class Led:
    """Where the datagrams of a bound socket go."""

    fd: int
    machines: tuple[Address, ...]
    sticky: bool = False


class Datagrams:
    """The relay as the supervisor sees it: started when there is something to relay, told what changes."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._told: dict[str, Led] = {}

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def lead(self, ports: Mapping[str, Led]) -> None:
        """Relay for these from now on."""
        if self._process is None:
            if not ports:
                return
            self._start()
        for name in [
            name for name, one in self._told.items() if name not in ports or ports[name].fd != one.fd
        ]:
            self._tell({"port": name, "machines": None})
            del self._told[name]
        for name, led in ports.items():
            before = self._told.get(name)
            if led != before:
                order = {"port": name, "machines": led.machines, "sticky": led.sticky}
                self._tell(order, [] if before else [led.fd])
                self._told[name] = led

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-P", "-m", "i2kit.providers.local.reach.udp", str(theirs.fileno())]
            self._process = self._spawn(words, (theirs.fileno(),))
        ours.settimeout(2)
        self._link, self._told = ours, {}

    def _tell(self, order: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        # One that ended, or hangs, is started anew by who looks after it, and told all.
        with contextlib.suppress(OSError):
            assert self._link
            socket.send_fds(self._link, [json.dumps(order).encode()], fds)

    def ended(self, pid: int) -> bool:
        """A process ended: whether it was the relay. The next `lead` starts another."""
        if self._process is None or self._process.pid != pid:
            return False
        self._process.returncode = 0  # it has been waited for
        self._process = None
        assert self._link
        self._link.close()
        return True

    def stop(self) -> None:
        """End it now."""
        if self._process and self._link:
            self._link.close()
            self._process.kill()
            self._process.wait()
            self._process = None


def main() -> None:
    """Become the relay."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    link = socket.socket(fileno=int(sys.argv[1]))
    os.umask(0o077)
    Relay(link, min(MOST_SESSIONS, limit // 2)).run()


if __name__ == "__main__":
    main()
