"""HAProxy as a process, the real one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from i2kit.providers.local import haproxy
from i2kit.providers.local.balancer import Balancer


def spawn(words: Sequence[str], fds: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, pass_fds=fds)


@pytest.fixture
def balancer(tmp_path: Path) -> Iterator[Balancer]:
    made = Balancer(tmp_path / "haproxy.cfg", tmp_path / "haproxy.sock", spawn)
    yield made
    made.stop()


def leaving(balancer: Balancer) -> bool:
    return balancer.is_leaving


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_one_before_is_leaving_until_it_ended_whoever_else_starts_programs(balancer: Balancer) -> None:
    text = haproxy.render((), stats_fd=balancer.stats_fd, check=False)
    balancer.configure(text, "first", ())
    first = balancer.pid
    assert first
    balancer.configure(text, "second", ())
    assert leaving(balancer)
    # Starting a program is when subprocess takes the exit status of the forgotten.
    subprocess.run(["true"], check=True)

    def reaped() -> bool:
        pid, _ = os.waitpid(first, os.WNOHANG)
        return pid == first

    until(reaped)
    assert not balancer.ended(first)
    assert not leaving(balancer)
    serving = balancer.pid
    assert serving and f"Pid: {serving}\n" in balancer.command("show info")


def test_one_that_died_is_started_by_the_next_configuration(balancer: Balancer) -> None:
    text = haproxy.render((), stats_fd=balancer.stats_fd, check=False)
    balancer.configure(text, "first", ())
    first = balancer.pid
    assert first
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert balancer.ended(first)
    balancer.configure(text, "first", ())
    assert balancer.pid != first and balancer.command("show info")


def test_what_could_not_be_written_is_configured_by_the_next_try(balancer: Balancer, tmp_path: Path) -> None:
    text = haproxy.render((), stats_fd=balancer.stats_fd, check=False)
    balancer.configure(text, "first", ())
    first = balancer.pid
    in_the_way = tmp_path / "haproxy.new"
    in_the_way.mkdir()
    with pytest.raises(OSError):
        balancer.configure(text, "second", ())
    assert balancer.pid == first and not leaving(balancer)
    in_the_way.rmdir()
    balancer.configure(text, "second", ())
    assert first and balancer.pid != first
    os.waitpid(first, 0)
    balancer.ended(first)
