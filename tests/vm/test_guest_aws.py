"""What the guest brings to call AWS, run outside of a machine: signatures, TLS, HTTP, batches of lines."""

import hashlib
import hmac
import json
import random
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from i2kit.image.base.components import AWS_FOLDER
from tests.vm.lua import Lua
from tests.vm.pki import Authority, Kind

pytestmark = pytest.mark.vm

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SUITE_KEY = "AKIDEXAMPLE"
SUITE_TIME = "20150830T123600Z"
KEPT_BYTES = 4 << 20


def test_hmac(lua: Lua) -> None:
    """Of binary keys shorter, as long and longer than a block, as Python has it."""
    chance = random.Random(1)
    pairs = [
        (chance.randbytes(key), chance.randbytes(text))
        for key in (0, 1, 32, 63, 64, 65, 200)
        for text in (0, 1, 55, 56, 64, 1000)
    ]
    script = """
        local bearssl = require("bearssl")
        for key, text in io.read("*a"):gmatch("(%x*) (%x*)\\n") do
            print(hex(bearssl.sha256(unhex(text))) .. " " .. hex(bearssl.hmac(unhex(key), unhex(text))))
        end"""
    given = "".join(f"{key.hex()} {text.hex()}\n" for key, text in pairs).encode()
    assert lua.run(script, given=given).decode().splitlines() == [
        f"{hashlib.sha256(text).hexdigest()} {hmac.new(key, text, 'sha256').hexdigest()}"
        for key, text in pairs
    ]


def authorization(lua: Lua, headers: Mapping[str, str], body: bytes, service: str, region: str) -> str:
    script = """
        local function line() return unhex(io.read("*l")) end
        local service, region, key_id, secret, headers = line(), line(), line(), line(), {}
        for _ = 1, tonumber(line()) do local name = line() headers[name] = line() end
        io.write(require("sigv4").authorization(headers, line(), service, region, key_id, secret))"""
    words = [service, region, SUITE_KEY, SECRET, str(len(headers))]
    words += [word for pair in headers.items() for word in pair]
    given = "".join(f"{word.encode().hex()}\n" for word in words) + body.hex() + "\n"
    return lua.run(script, given=given.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "body", "signed", "signature"),
    [
        ({}, "", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            {"my-header1": "VALUE1"},
            "",
            "host;my-header1;x-amz-date",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            {"content-type": "application/x-www-form-urlencoded"},
            "Param1=value1",
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["post-vanilla", "post-header-value-case", "post-x-www-form-urlencoded"],
)
def test_published_signatures(
    lua: Lua, headers: Mapping[str, str], body: str, signed: str, signature: str
) -> None:
    """AWS's Signature Version 4 test suite."""
    both = {"host": "example.amazonaws.com", "x-amz-date": SUITE_TIME, **headers}
    assert authorization(lua, both, body.encode(), "service", "us-east-1") == (
        f"AWS4-HMAC-SHA256 Credential={SUITE_KEY}/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={signed}, Signature={signature}"
    )


@pytest.mark.parametrize(
    ("service", "region", "body"),
    [
        ("logs", "eu-west-1", b'{"logGroupName":"/i2kit/default/web"}'),
        ("ssm", "cn-north-1", "ünïcode \u2028 \0".encode()),
        ("ec2", "us-gov-west-1", b"Action=AttachVolume&Device=%2Fdev%2Fsdf" + bytes(range(256)) * 500),
    ],
)
def test_signatures_like_botocore(lua: Lua, service: str, region: str, body: bytes) -> None:
    host = f"{service}.{region}.amazonaws.com"
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": host,
        "x-amz-date": now,
        "x-amz-security-token": "IQoJ/+=" * 100,
        "x-amz-target": "Logs_20140328.PutLogEvents",
        "content-type": "application/x-amz-json-1.1",
        "x-spaces": "  a   b  ",
    }
    found = authorization(lua, headers, body, service, region)
    assert found == botocore_authorization(headers, body, service, region)


def botocore_authorization(headers: Mapping[str, str], body: bytes, service: str, region: str) -> str:
    request = AWSRequest("POST", f"https://{headers['host']}/", dict(headers), body)
    signer = SigV4Auth(Credentials(SUITE_KEY, SECRET), service, region)
    request.context["timestamp"] = headers["x-amz-date"]
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    signed = signer.signed_headers(signer.headers_to_sign(request))
    return (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={signed}, Signature={signature}"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"200 hello"),
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", b"400 "),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"200 to the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\nB;x=y\r\n\r\n0\r\n world\r\n0\r\n\r\n",
            b"200 hello\r\n0\r\n world",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", b"the answer is cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-", b"the answer is cut off"),
        (b"", b"the answer is cut off"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_answers(lua: Lua, answer: bytes, expected: bytes, piece: int) -> None:
    """However they are split on their way."""
    script = f"""
        local done, status, body = pcall(require("client").answer, function() return io.read({piece}) end)
        io.write(done and status .. " " .. body or status)"""
    assert lua.run(script, given=answer) == expected


Served = Callable[[ssl.SSLContext], int]


@pytest.fixture
def served() -> Any:
    """A server that answers one connection with what it was told, twice; its port."""
    listeners = []

    def serve(context: ssl.SSLContext) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            try:
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    connection.settimeout(20)
                    said = b""
                    while not said.endswith(b"\n"):
                        said += connection.recv(1 << 16)
                    connection.sendall(said + said)
                    connection.unwrap()
            except OSError:
                pass

        threading.Thread(target=answer, daemon=True).start()
        return cast(int, listener.getsockname()[1])

    yield serve
    for listener in listeners:
        listener.close()


TALK = """
    local bearssl = require("bearssl")
    local done, why = pcall(function()
        local connection = bearssl.connect(arg[1], arg[2], arg[3], 20)
        bearssl.write(connection, io.read("*a"))
        while true do
            local said = bearssl.read(connection)
            if not said then break end
            io.write(said)
        end
    end)
    if not done then io.write("failed: " .. why) end"""


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_tls(lua: Lua, tmp_path: Path, served: Served, kind: Kind) -> None:
    """Much can be said both ways; the root is found among Amazon's."""
    authority = Authority(kind)
    roots = tmp_path / "roots.der"
    roots.write_bytes((lua.root / AWS_FOLDER / "roots.der").read_bytes() + authority.root)
    port = served(authority.server(tmp_path, ["localhost"]))
    text = random.Random(1).randbytes(300_000).replace(b"\n", b"") + b"\n"
    assert lua.run(TALK, "localhost", str(port), str(roots), given=text) == text * 2


@pytest.mark.parametrize(
    ("host", "trusted", "expired", "why"),
    [
        ("127.0.0.1", True, False, b"127.0.0.1: its certificate is for another name"),
        ("localhost", False, False, b"localhost: its certificate is from nobody who is trusted"),
        ("localhost", True, True, b"localhost: its certificate is not valid at this machine's time"),
    ],
)
def test_who_is_not_trusted(
    lua: Lua, tmp_path: Path, served: Served, host: str, trusted: bool, expired: bool, why: bytes
) -> None:
    authority = Authority()
    roots = lua.root / AWS_FOLDER / "roots.der"
    if trusted:
        roots = tmp_path / "roots.der"
        roots.write_bytes(authority.root)
    port = served(authority.server(tmp_path, ["localhost"], expired=expired))
    assert lua.run(TALK, host, str(port), str(roots), given=b"secret\n") == b"failed: " + why


def test_old_versions_of_tls_are_refused(lua: Lua, tmp_path: Path, served: Served) -> None:
    authority = Authority()
    roots = tmp_path / "roots.der"
    roots.write_bytes(authority.root)
    context = authority.server(tmp_path, ["localhost"])
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    said = lua.run(TALK, "localhost", str(served(context)), str(roots), given=b"secret\n")
    assert said.startswith(b"failed: localhost")


def sent(lua: Lua, lines: Sequence[tuple[str, int, bytes]], *, rounds: int) -> list[list[Any]]:
    """What the rounds of batches are that lines make: each a list of PutLogEvents' parameters."""
    script = """
        local batches = require("batches")
        local waiting = batches.new()
        for name, time, text in io.read("*a"):gmatch("(%S+) (%d+) (%x*)\\n") do
            batches.add(waiting, name, tonumber(time), unhex(text))
        end
        for _ = 1, tonumber(arg[1]) do
            local bodies = {}
            for number, one in ipairs(batches.next(waiting, "/i2kit/default/web", "i-1/")) do
                assert(one.body:sub(2, #one.place + 1) == one.place)
                bodies[number] = one.body
            end
            print("[" .. table.concat(bodies, ",") .. "]")
        end
        assert(waiting.bytes == 0)"""
    given = "".join(f"{name} {time} {text.hex()}\n" for name, time, text in lines).encode()
    return [json.loads(line) for line in lua.run(script, str(rounds), given=given).splitlines()]


def test_batches(lua: Lua) -> None:
    """Lines keep their order and their text, whatever it is, and batches the API's limits."""
    chance = random.Random(2)
    letters = ["a", '"', "\\", "\t", "\0", "\x7f", "é", "€", "😀"]
    lines = []
    for number in range(25_000):
        text = "".join(chance.choices(letters, k=chance.randrange(20)))
        lines.append((chance.choice(["web", "db"]), 1_700_000_000_000 + number + chance.randrange(5), text))
    rounds = sent(lua, [(name, time, text.encode()) for name, time, text in lines], rounds=20)
    for name in ("web", "db"):
        bodies = [body for one in rounds for body in one if body["logStreamName"] == f"i-1/{name}"]
        assert {body["logGroupName"] for body in bodies} == {"/i2kit/default/web"}
        assert max(len(body["logEvents"]) for body in bodies) == 10_000
        events = [event for body in bodies for event in body["logEvents"]]
        assert [event["message"] for event in events] == [
            text or " " for who, _, text in lines if who == name
        ]
        for body in bodies:
            times = [event["timestamp"] for event in body["logEvents"]]
            assert times == sorted(times)
            assert 0 <= times[0] - 1_700_000_000_000 < 26_000


def test_long_lines_and_large_batches(lua: Lua) -> None:
    lines = [("web", 1000 + number, ("é" * 200_000).encode()) for number in range(9)]
    rounds = sent(lua, lines, rounds=5)
    sizes = [
        sum(len(event["message"].encode()) + 26 for body in one for event in body["logEvents"])
        for one in rounds
    ]
    messages = [event["message"] for one in rounds for body in one for event in body["logEvents"]]
    assert max(sizes) <= 1_048_576
    assert len(messages) == 9
    for message in messages:
        assert len(message.encode()) <= 262_144 - 26
        assert message.endswith(" … (cut)")
        assert set(message.removesuffix(" … (cut)")) == {"é"}


def test_what_is_not_utf8(lua: Lua) -> None:
    """A batch with other bytes would be refused as a whole."""
    chance = random.Random(3)
    texts = [chance.randbytes(30) for _ in range(500)]
    texts += [b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x82", b"ok \xff ok"]
    ((body,),) = sent(lua, [("web", 1, text) for text in texts], rounds=1)
    for event, text in zip(body["logEvents"], texts, strict=True):
        plain = event["message"].replace("\ufffd", "")
        assert plain == text.decode(errors="ignore") or not plain
    assert body["logEvents"][-1]["message"] == "ok \ufffd ok"


def test_the_oldest_lines_are_dropped(lua: Lua) -> None:
    """What nobody takes stays within its bound, and the lines say how many are missing."""
    lines = [("quiet", 1, b"first"), *(("loud", number, b"x" * 1000) for number in range(2, 6002))]
    rounds = sent(lua, lines, rounds=10)
    found: dict[str, list[str]] = {}
    for one in rounds:
        for body in one:
            messages = [event["message"] for event in body["logEvents"]]
            found.setdefault(body["logStreamName"], []).extend(messages)
    loud = found["i-1/loud"]
    kept = [message for message in loud if message.startswith("x")]
    assert sum(map(len, kept)) < KEPT_BYTES
    assert len(kept) > 3500
    assert loud[0] == f"({6000 - len(kept)} lines before this were dropped: they could not be sent in time)"
    assert found["i-1/quiet"] == ["(1 lines before this were dropped: they could not be sent in time)"]


def test_streams_take_turns(lua: Lua) -> None:
    """One that says more than can be sent does not keep the others' lines."""
    lines = [("loud", number, b"x" * 1000) for number in range(3000)] + [("quiet", 9999, b"here")]
    rounds = sent(lua, lines, rounds=5)
    assert [body["logStreamName"] for one in rounds[:2] for body in one][:2] == ["i-1/loud", "i-1/quiet"]


def test_lines_of_long_ago(lua: Lua) -> None:
    """A batch spans a day at most."""
    hours = [0, 20, 30, 60]
    lines = [("web", hour * 3_600_000, str(hour).encode()) for hour in hours]
    rounds = sent(lua, lines, rounds=3)
    assert [[event["message"] for event in one[0]["logEvents"]] for one in rounds] == [
        ["0", "20"],
        ["30"],
        ["60"],
    ]
