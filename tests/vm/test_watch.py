"""What the guest brings to ask probes, run outside of a machine: the pod's file, schedules, HTTP, HPACK."""

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from i2kit.image import podfile
from i2kit.model import Container, Exec, HttpGet, Probe, Workload
from tests.vm.lua import Lua
from tests.vm.pki import Authority

pytestmark = pytest.mark.vm


def test_the_pods_file_is_read_as_it_was_meant(lua: Lua) -> None:
    chance = random.Random(4)
    letters = [chr(code) for code in range(1, 300) if code != ord("$")] + ["€", "😀"]
    texts = ["", " ", "=", "%41", "a:b", *("".join(chance.choices(letters, k=20)) for _ in range(200))]
    probes = [
        Probe(Exec(tuple(texts)), initial_delay_s=1, period_s=2, timeout_s=3, failure_threshold=4, grace_s=0),
        Probe(
            HttpGet(80, "/ü ?", "HTTPS", tuple((text, text) for text in texts), "::1"), success_threshold=5
        ),
    ]
    written = podfile.render(
        Workload("w", (Container("a-1", "i", liveness=probes[0], readiness=probes[1]),), grace_s=9)
    )
    script = """
        local pod = require("podfile").parse(io.read("*a"))
        print(pod.grace_s, pod.health_port, #pod.probes)
        local one, other = pod.probes[1], pod.probes[2]
        print(one.name, one.kind, one.handler, one.initial_delay_s, one.period_s, one.timeout_s,
            one.failure_threshold, one.grace_s)
        print(other.kind, other.handler, other.port, other.path, other.scheme, other.host,
            other.success_threshold, other.grace_s)
        for number, header in ipairs(other.headers) do
            print(hex(one.args[number]) .. ":" .. hex(header[1]) .. ":" .. hex(header[2]))
        end"""
    said = lua.run(script, given=written.encode()).decode().splitlines()
    assert said[:3] == [
        "9\t10256\t2",
        "a-1\tliveness\texec\t1\t2\t3\t4\t0",
        "readiness\thttp\t80\t/ü ?\tHTTPS\t::1\t5\tnil",
    ]
    assert said[3:] == [":".join([text.encode().hex()] * 3) for text in texts]


def test_schedules(lua: Lua) -> None:
    """Kubernetes' rules: what gates what, which answer in a row counts, and what a new start forgets."""
    script = """
        local schedule, podfile = require("schedule"), require("podfile")
        local states = {}
        for number, probe in ipairs(podfile.parse(io.read("*a")).probes) do
            states[number] = schedule.new(probe)
        end
        local startup, liveness, readiness = unpack(states)
        local now = 1000
        local function due(state) return state.due_ms == math.huge and "never" or state.due_ms end
        local function say(what)
            print(what, due(startup), due(liveness), due(readiness), schedule.ready(states))
        end
        local function answer(state, ...)
            for _, ok in ipairs { ... } do
                schedule.began(state, now)
                if schedule.answered(states, state, ok, now) then print("restart") end
            end
        end
        say("new") schedule.started(states, now) say("started")
        now = 3000 answer(startup, false, false) say("startup fails")
        now = 7000 answer(startup, true) say("startup")
        now = 8000 answer(readiness, true) say("once") answer(readiness, false, true, true) say("twice")
        answer(readiness, false, false) say("fails twice") answer(readiness, false) say("fails")
        answer(liveness, false, true, false) say("once more") answer(liveness, false) say("dead")
        schedule.ended(states) say("ended")
        now = 20000 schedule.started(states, now) say("anew")
        answer(startup, false, false, false) say("never up")"""
    lines = [
        "probe=a startup tcp port=1 initial_delay_s=2 period_s=1 success_threshold=1 failure_threshold=3",
        "probe=a liveness tcp port=1 initial_delay_s=10 period_s=5 success_threshold=1 failure_threshold=2",
        "probe=a readiness tcp port=1 initial_delay_s=0 period_s=3 success_threshold=2 failure_threshold=3",
    ]
    assert lua.run(script, given="".join(f"{line}\n" for line in lines).encode()).decode().splitlines() == [
        "new\tnever\tnever\tnever\tfalse",
        "started\t3000\tnever\tnever\tfalse",
        "startup fails\t4000\tnever\tnever\tfalse",
        "startup\tnever\t11000\t7000\tfalse",
        "once\tnever\t11000\t11000\tfalse",
        "twice\tnever\t11000\t11000\ttrue",
        "fails twice\tnever\t11000\t11000\ttrue",
        "fails\tnever\t11000\t11000\tfalse",
        "once more\tnever\t13000\t11000\tfalse",
        "restart",
        "dead\tnever\tnever\tnever\tfalse",
        "ended\tnever\tnever\tnever\tfalse",
        "anew\t22000\tnever\tnever\tfalse",
        "restart",
        "never up\tnever\tnever\tnever\tfalse",
    ]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b?c", "http 10.0.0.1 8080 /b?c"),
        ("b/../c/./d", "http 10.0.0.1 8080 /x/c/d"),
        ("?q", "http 10.0.0.1 8080 /x/y?q"),
        ("", "http 10.0.0.1 8080 /x/y"),
        ("https://10.0.0.1/z#part", "https 10.0.0.1 443 /z"),
        ("//user@10.0.0.1:81", "http 10.0.0.1 81 /"),
        ("http://example.com/z", "nil"),
        ("http://[::1]:80/", "nil"),
        ("http://10.0.0.1.evil/", "nil"),
    ],
)
def test_where_redirects_lead(lua: Lua, location: str, expected: str) -> None:
    script = """
        local place = { scheme = "http", host = "10.0.0.1", port = 8080, path = "/x/y" }
        local found = require("http").follow(place, arg[1])
        local words = found and { found.scheme, found.host, found.port, found.path }
        io.write(words and table.concat(words, " ") or "nil")"""
    assert lua.run(script, location).decode() == expected


def test_hpack(lua: Lua) -> None:
    """RFC 7541, C.6: answers on one connection, with Huffman's code and a table of what was said before."""
    blocks = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
    ]
    script = """
        local entries = {}
        for _, block in ipairs(arg) do
            local found = require("grpc").headers(unhex(block), entries)
            print(found[":status"], found.location or "", #entries)
        end"""
    assert lua.run(script, *blocks).decode().splitlines() == ["302\t\t4", "307\t\t5"]
    huffman = 'io.write(require("grpc").huffman(unhex(arg[1])))'
    assert lua.run(huffman, "f1e3c2e5f23a6ba0ab90f4ff") == b"www.example.com"
    assert lua.run(huffman, "9d29ad171863c78f0b97c8e9ae82ae43d3") == b"https://www.example.com"


ASK = """
    local posix, loop, connection = require("posix"), require("loop"), require("connection")
    local probe, over = require("podfile").parse("probe=w liveness " .. arg[1] .. "\\n").probes[1], false
    local function open(place)
        return (place.scheme == "https" and connection.open_tls or connection.open)(place.host, place.port)
    end
    local function done(ok, text) io.write(tostring(ok), " ", text) over = true end
    local function ask()
        if probe.handler == "http" then return require("http").ask(probe, "127.0.0.1", open) end
        return require("grpc").ask(probe, "a:1", open({ host = "127.0.0.1", port = probe.port }))
    end
    loop.start(ask, posix.ticks() + probe.timeout_s * 1000, done)
    while not over do loop.turn(math.huge) end"""


@contextmanager
def serving(answer: Callable[[bytes], bytes], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answers each connection's request, and leaves it open for as long as the other side does; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk(connection: socket.socket) -> None:
            try:
                with context.wrap_socket(connection, server_side=True) if context else connection as talked:
                    talked.sendall(answer(talked.recv(1 << 16)))
                    while talked.recv(1 << 16):
                        pass
            except OSError:
                pass

        def accept() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "true HTTP 200: ok"),
        (b"HTTP/1.1 399 ?\r\nContent-Length: 0\r\n\r\n", "true HTTP 399"),
        (b"HTTP/1.1 400 ?\r\nContent-Length: 0\r\n\r\n", "false HTTP 400"),
        (b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 None\r\n\r\n", "true HTTP 204"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n", "true HTTP 200: ok"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n",
            "true HTTP 302",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "false HTTP 302: more than 10"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "false timeout"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20000, "true HTTP 200: xxx"),
        (b"SSH-2.0-x\r\n", "false the answer is not HTTP: SSH-2.0-x"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000, "false the answer has headers without end"),
        (b"HTTP/1.1 200 OK" + b"x" * 20000, "false the answer has a line without end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "false the answer's body has no size",
        ),
    ],
)
def test_http_answers(lua: Lua, answer: bytes, expected: str) -> None:
    with serving(lambda _: answer) as port:
        assert lua.run(ASK, f"http port={port} path=/ timeout_s=2").decode().startswith(expected)


def frame(kind: int, flags: int, payload: str, stream: int = 1) -> bytes:
    data = bytes.fromhex(payload)
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


START = frame(4, 0, "", 0) + frame(6, 0, "00" * 8, 0) + frame(1, 4, "88")
STATUS = "000b" + b"grpc-status".hex()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (START + frame(0, 0, "00000000020801") + frame(1, 5, STATUS + "0130"), "true gRPC: SERVING"),
        (
            START + frame(0, 8, "020000000002080200ff") + frame(1, 5, STATUS + "0130"),
            "false gRPC: NOT_SERVING",
        ),
        (START + frame(0, 0, "0000000000") + frame(1, 5, STATUS + "0130"), "false gRPC: UNKNOWN"),
        (
            frame(4, 0, "", 0) + frame(1, 1, "88") + frame(9, 4, STATUS + "023132"),
            "false gRPC: the server has no grpc.health.v1.Health",
        ),
        (START + frame(1, 5, STATUS + "0135"), "false gRPC status 5: "),
        (START + frame(3, 0, "00000002"), "false the server broke the call off"),
        (START + frame(6, 0, "00" * 8, 0) * 2000, "false the answer has frames without end"),
        (START + frame(1, 5, "ff" * 9), "false the answer's headers are no HPACK"),
        (START + frame(0, 0, "00" * 5000), "false the answer is no HealthCheckResponse"),
        (START, "false timeout"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "false the answer is not HTTP/2"),
    ],
)
def test_grpc_answers(lua: Lua, answer: bytes, expected: str) -> None:
    with serving(lambda _: answer) as port:
        assert lua.run(ASK, f"grpc port={port} service=a timeout_s=2").decode().startswith(expected)


def test_http_requests(lua: Lua) -> None:
    """Headers as the probe has them; ten redirects are followed, with the host that was named."""

    def answer(request: bytes) -> bytes:
        head = request.decode()
        number = int(head.split("/", 1)[1].split(" ")[0])
        assert "\r\nHost: other.example\r\n" in head
        if number < 10:
            return f"HTTP/1.1 307 T\r\nLocation: {number + 1}\r\nContent-Length: 0\r\n\r\n".encode()
        return b"HTTP/1.1 500 E\r\nContent-Length: %d\r\n\r\n%s" % (len(request), request)

    words = "header=hOst:other.example header=User-Agent: header=X-A:1%20%3D%202 header=X-A:3 timeout_s=5"
    with serving(answer) as port:
        said = lua.run(ASK, f"http port={port} path=0%20 {words}".replace("%20 ", " ")).decode()
    assert said.splitlines() == [
        *("false HTTP 500: GET /10 HTTP/1.1", "Host: other.example"),
        *("Accept: */*", "X-A: 1 = 2", "X-A: 3", "Connection: close"),
        "",
    ]


@pytest.mark.parametrize("expired", [False, True])
def test_https_asks_whoever_is_there(lua: Lua, tmp_path: Path, expired: bool) -> None:
    """Nobody vouches for a pod's own certificate, which may be of any name and time."""
    context = Authority("ec" if expired else "rsa").server(tmp_path, ["elsewhere"], expired=expired)
    with serving(lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", context) as port:
        assert lua.run(ASK, f"http port={port} path=/ scheme=HTTPS timeout_s=9") == b"true HTTP 200: ok"
    with serving(lambda request: b"HTTP/1.1 400 plain\r\n\r\n") as port:
        assert lua.run(ASK, f"http port={port} path=/ scheme=HTTPS timeout_s=3").startswith(
            b"false 127.0.0.1: "
        )
