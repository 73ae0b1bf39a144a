"""The command line's side of provider `local`, against supervisors that are not as it expects, or none."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import OperationError
from i2kit.events import Event, Note, ignore
from i2kit.model import NetworkPolicy, Selector
from i2kit.providers import Plan
from i2kit.providers.local import LocalProvider, client, control
from i2kit.providers.local.design.desired import Desired, admit, order_of, to_json
from i2kit.settings import Settings

from .releases import release

OLD_SUPERVISOR = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    if connection.recv(1000):
        connection.sendall(b'{"deployments": [{"name": "in words of long ago"}]}')
    connection.close()
"""


@pytest.fixture
def settings() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="i2kit-") as folder:
        root = Path(folder)
        yield Settings(root / "state", root, root / "store", root / "i2kit.lock")


def test_a_supervisor_of_another_version_is_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keeper would start the one that is installed now; here there is none, and that is said."""
    monkeypatch.setattr(client, "START_S", 0.5)
    ours = client.Client(settings)
    words = [sys.executable, "-c", OLD_SUPERVISOR, str(ours.layout.control)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as old:
        assert old.stdout
        old.stdout.readline()
        events: list[Event] = []
        with pytest.raises(OperationError, match="did not start anew"):
            ours.deployments(events.append)
        assert old.wait(10) == -signal.SIGKILL
    assert [event for event in events if isinstance(event, Note) and "another version" in event.message]


def test_nothing_is_brought_back_where_its_policies_would_not_hold(settings: Settings) -> None:
    ours = client.Client(replace(settings, network="user", accelerator="tcg"))
    policy = NetworkPolicy("closed", Selector(), ingress=())
    state = admit(Desired(), order_of(replace(release(), policies=(policy,))))
    ours.layout.desired.parent.mkdir()
    ours.layout.desired.write_text(to_json(state))
    with pytest.raises(OperationError, match="NetworkPolicy default/closed would not hold"):
        ours.deployments(ignore)
    assert not ours.layout.keeper_lock.exists()


def test_machines_here_are_amd64_whatever_is_built_for_others(settings: Settings) -> None:
    provider = LocalProvider(replace(settings, architecture="arm64"))
    assert provider.architecture(release().workload) == "amd64"


def test_what_goes_together_has_its_grace_period_at_the_same_time(settings: Settings) -> None:
    provider = LocalProvider(settings)
    provider.together = ("default/a", "default/b")
    running = ["a", "b"]
    asked: list[object] = []

    def supervise() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                asked.append(request := json.loads(lines.readline()))
                if request["do"] == "remove":
                    running.remove(request["key"].removeprefix("default/"))
                # The first ends only after the second was asked to.
                answer = {
                    "protocol": control.PROTOCOL,
                    "deployments": [{"namespace": "default", "name": one} for one in running],
                    "leaving": ["default/a"] if running == ["b"] and len(asked) < 20 else [],
                }
                connection.sendall(json.dumps(answer).encode())

    settings.run_dir.mkdir(exist_ok=True)
    with control.listen(provider._client.layout.control) as listener:
        supervisor = threading.Thread(target=supervise)
        supervisor.start()
        try:
            for key in provider.together:
                assert provider.apply(Plan(key, None, None, (), prepared=()), ignore) is None
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            supervisor.join()
    words = [one["do"] for one in asked if isinstance(one, dict)]
    assert (words.count("remove"), words[:3]) == (2, ["status", "remove", "remove"])
