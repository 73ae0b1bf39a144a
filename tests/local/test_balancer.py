"""HAProxy as a process, the real one."""

import http.server
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from i2kit.providers.local.reach import haproxy, network
from i2kit.providers.local.reach.balancer import Balancer


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


class Named(http.server.BaseHTTPRequestHandler):
    """Answers with its port."""

    def do_GET(self) -> None:
        assert isinstance(self.server, http.server.HTTPServer)
        body = str(self.server.server_port).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[list[int]]:
    made = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Named) for _ in range(4)]
    for one in made:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    yield [one.server_port for one in made]
    for one in made:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize("requests", [True, False])
def test_a_caller_keeps_its_slot_over_a_reload_and_leaves_one_that_drains(
    balancer: Balancer, servers: list[int], requests: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        slots = tuple(haproxy.Server(f"s{port}", "127.0.0.1", port, on=True) for port in servers)
        front = haproxy.Frontend("web", requests, (listener.fileno(),), slots, sticky_s=600)
        memory = network.unused_port()
        text = haproxy.render((front,), stats_fd=balancer.stats_fd, check=False, memory_port=memory)

        def ask() -> str:
            host, port = listener.getsockname()
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=10) as answer:
                told: str = answer.read().decode()
            return told

        balancer.configure(text, "first", [listener.fileno()])
        first = ask()
        assert {ask() for _ in range(12)} == {first}
        for shape in ("second", "third"):
            before = balancer.pid
            balancer.configure(text, shape, [listener.fileno()])
            assert before
            os.waitpid(before, 0)
            balancer.ended(before)
            assert {ask() for _ in range(6)} == {first}
        balancer.drain("web", f"s{first}")
        balancer.forget("web", f"s{first}")
        second = ask()
        assert second != first and {ask() for _ in range(12)} == {second}
