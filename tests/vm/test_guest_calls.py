"""The tasks that a machine has AWS do, against the emulated AWS: the guest's own Lua, with signed requests.

In the place of TLS and of the metadata service there are a plain connection and fixed credentials.
"""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tests.aws import emulator
from tests.aws.conftest import REGION, environment
from tests.aws.emulator import Emulator
from tests.vm.lua import Lua

pytestmark = pytest.mark.vm

Run = Callable[..., str]

SCRIPT = """
    local bearssl, client, posix = require("bearssl"), require("client"), require("posix")
    function bearssl.connect(host)
        return { fd = posix.connect("127.0.0.1", tonumber(arg[1]), 10), host = host }
    end
    function bearssl.write(connection, text) posix.write_all(connection.fd, text) end
    function bearssl.read(connection)
        local said = posix.read(connection.fd)
        return said ~= "" and said or nil
    end
    local identity = { domain = "amazonaws.com", region = arg[2], key_id = "key", secret = "s", token = "t" }
    identity.instance = arg[3] ~= "" and arg[3] or nil
    local done, said = pcall(function() return require(arg[4])(identity, unpack(arg, 5)) end)
    io.write(done and said or done and "" or "failed: " .. said)"""


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with emulator.running() as server:
        yield server


@pytest.fixture
def session(emulated: Emulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    emulated.reset()
    for name, value in environment(emulated).items():
        monkeypatch.setenv(name, value)
    return boto3.Session("key", "secret", region_name=REGION)


@pytest.fixture
def run(lua: Lua, emulated: Emulator) -> Run:
    """What a task prints, or `failed: ` and why."""

    def made(task: str, *words: str, instance: str = "") -> str:
        port = emulated.url.rpartition(":")[2]
        return lua.run(SCRIPT, port, REGION, instance, task, *words).decode()

    return made


def test_secrets_of_many_parts_and_pages(session: Any, run: Run) -> None:
    """All that is below the path, and nothing of what is beside it."""
    ssm = session.client("ssm")
    folder = "/i2kit/shop/web/0123456789abcdef-25"
    value = "a%20b" * 3000

    def put(path: str, text: str) -> None:
        ssm.put_parameter(Name=path, Value=text, Type="SecureString", Tier="Standard")

    parts = [("=" + value)[start : start + 4096] for start in range(0, len(value) + 1, 4096)]
    for number, part in enumerate(parts, 1):
        put(f"{folder}/tls/tls.key/{number}", part)
    for number in range(25 - len(parts)):
        put(f"{folder}/db/key-{number:02}/1", f"=value{number}")
    put("/i2kit/shop/web/0123456789abcdef-2/db/other/1", "=other")
    assert run("secrets", folder).splitlines() == [
        *(f"secret/db/key-{number:02}=value{number}" for number in range(25 - len(parts))),
        f"secret/tls/tls.key={value}",
    ]


def test_secrets_that_are_not_all_there(session: Any, run: Run) -> None:
    folder = "/i2kit/default/web/0123456789abcdef-2"
    words = {"Type": "SecureString", "Tier": "Standard"}
    session.client("ssm").put_parameter(Name=f"{folder}/db/password/1", Value="=x", **words)
    said = run("secrets", folder)
    assert said == f"failed: Parameter Store has 1 of 2 parameters below {folder}"


def test_a_refused_call_is_told(emulated: Emulator, session: Any, run: Run) -> None:
    words = {"message": "not authorized to perform: ssm:GetParametersByPath"}
    emulated.control("fault", code="AccessDeniedException", action="GetParametersByPath", **words)
    assert run("secrets", "/i2kit/default/web/0-1") == (
        "failed: AmazonSSM.GetParametersByPath: 400 AccessDeniedException "
        "not authorized to perform: ssm:GetParametersByPath"
    )
