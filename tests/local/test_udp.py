"""The relay of datagrams, as a process and with real sockets."""

import itertools
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from i2kit.providers.local.reach.udp import Datagrams, Led, Relay

from .test_balancer import spawn, until


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(0.2)
    return made


class Machines:
    """Servers that answer each datagram with their number and what it said."""

    def __init__(self, count: int) -> None:
        self.sockets = [bound() for _ in range(count)]
        self.addresses: list[tuple[str, int]] = [one.getsockname() for one in self.sockets]
        for number, one in enumerate(self.sockets):
            threading.Thread(target=self._serve, args=(number, one), daemon=True).start()

    def _serve(self, number: int, one: socket.socket) -> None:
        while one.fileno() >= 0:
            try:
                data, caller = one.recvfrom(65536)
                one.sendto(str(number).encode() + data, caller)
            except TimeoutError:
                continue
            except OSError:
                return

    def close(self) -> None:
        for one in self.sockets:
            one.close()


@pytest.fixture
def machines() -> Iterator[Machines]:
    made = Machines(3)
    yield made
    made.close()


@pytest.fixture
def relay() -> Iterator[Datagrams]:
    made = Datagrams(spawn)
    yield made
    made.stop()


@pytest.fixture
def front() -> Iterator[socket.socket]:
    with bound() as made:
        yield made


@pytest.fixture
def callers() -> Iterator[list[socket.socket]]:
    made = [bound() for _ in range(8)]
    yield made
    for one in made:
        one.close()


numbers = itertools.count()


def ask(caller: socket.socket, front: socket.socket, more: bytes = b"") -> bytes:
    """Who answers; asked again while nobody does, as callers of UDP do."""
    text = b"%d %s" % (next(numbers), more)
    for _ in range(50):
        caller.sendto(text, front.getsockname())
        try:
            while True:
                answer = caller.recvfrom(65536)[0]
                if answer[1:] == text:  # not one to what was asked twice
                    return answer[:1]
        except TimeoutError:
            continue
    raise AssertionError("no answer")


def test_each_caller_has_a_machine_and_keeps_it(
    relay: Datagrams, machines: Machines, front: socket.socket, callers: list[socket.socket]
) -> None:
    relay.lead({"dns": Led(front.fileno(), tuple(machines.addresses))})
    first = [ask(one, front) for one in callers]
    assert set(first) == {b"0", b"1", b"2"}
    assert [ask(one, front) for one in callers] == first
    assert ask(callers[0], front, b"x" * 9000) == first[0]


def test_only_machines_that_are_ready_are_asked(
    relay: Datagrams, machines: Machines, front: socket.socket, callers: list[socket.socket]
) -> None:
    relay.lead({"dns": Led(front.fileno(), ())})
    callers[0].sendto(b"", front.getsockname())
    relay.lead({"dns": Led(front.fileno(), (machines.addresses[1],))})
    until(lambda: {ask(one, front) for one in callers} == {b"1"})
    relay.lead({"dns": Led(front.fileno(), (machines.addresses[2],))})
    until(lambda: {ask(one, front) for one in callers} == {b"2"})


def test_one_that_refuses_does_not_keep_its_callers(
    relay: Datagrams, machines: Machines, front: socket.socket, callers: list[socket.socket]
) -> None:
    with bound() as gone:
        nobody = gone.getsockname()
    relay.lead({"dns": Led(front.fileno(), (nobody, machines.addresses[0]))})
    assert {ask(one, front) for one in callers} == {b"0"}


def test_sticky_callers_are_told_apart_by_their_address(
    relay: Datagrams, machines: Machines, front: socket.socket, callers: list[socket.socket]
) -> None:
    relay.lead({"dns": Led(front.fileno(), tuple(machines.addresses), sticky=True)})
    assert len({ask(one, front) for one in callers}) == 1


def test_another_relay_takes_over_from_one_that_died(
    relay: Datagrams, machines: Machines, front: socket.socket, callers: list[socket.socket]
) -> None:
    ports = {"dns": Led(front.fileno(), (machines.addresses[0],))}
    relay.lead(ports)
    assert ask(callers[0], front) == b"0"
    first = relay.pid
    assert first
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert relay.ended(first)
    relay.lead(ports)
    assert relay.pid != first
    assert ask(callers[0], front) == b"0"


def test_a_port_that_goes_is_no_longer_listened_on(
    relay: Datagrams, machines: Machines, callers: list[socket.socket]
) -> None:
    with bound() as front, bound() as other:
        led = Led(front.fileno(), (machines.addresses[0],))
        relay.lead({"a": led, "b": Led(other.fileno(), (machines.addresses[1],))})
        assert ask(callers[0], front) == b"0"
        relay.lead({"b": Led(other.fileno(), (machines.addresses[1],))})
        where = front.getsockname()
        assert ask(callers[0], other) == b"1"

    def is_free() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            try:
                again.bind(where)
            except OSError:
                return False
            return True

    until(is_free)


def test_who_is_silent_longest_makes_room(machines: Machines, callers: list[socket.socket]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    relay = Relay(theirs, most_sessions=2)
    thread = threading.Thread(target=relay.run)
    thread.start()
    with bound() as front, ours, theirs:
        order = b'{"port": "p", "machines": [["127.0.0.1", %d]], "sticky": false}' % machines.addresses[0][1]
        socket.send_fds(ours, [order], [front.fileno()])
        for one in callers:
            assert ask(one, front) == b"0"
        assert len(relay._sessions) == 2
        ours.close()
        thread.join()
