"""On EC2 all that a machine says is in CloudWatch Logs, whatever happens on the way, up to its last word."""

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit import image
from i2kit.image import linuxkit, sources
from i2kit.image.base import components
from i2kit.image.base.components import AWS, AWS_FOLDER, File
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Container, MachineImage, Workload
from i2kit.settings import Settings
from tests.vm.cloudwatch import Logs, failure, serving
from tests.vm.machine import ENDPOINT, Machine, booted, busybox_image, container
from tests.vm.pki import Authority

pytestmark = pytest.mark.vm

GROUP = "/i2kit/default/web"
INSTANCE = "i-0123456789abcdef0"
REGION = "eu-west-1"
ROLE = "i2kit-web"
FIRST_KEY = ("ASIAFIRST", "first/secret+key", "first token//==")
SECOND_KEY = ("ASIASECOND", "second/secret+key", "second token//==")
USER_DATA = (
    f"hostname=web\nregion={REGION}\nlog_group={GROUP}\nready_port=80\n"
    f"hosts={ENDPOINT} logs.{REGION}.amazonaws.com\n"
)
EC2 = ("-smbios", "type=1,manufacturer=Amazon EC2,product=t3.small")
TALKS = (
    "hostname; echo 'quotes \" \\ é 😀'; echo; head -c 20000 /dev/zero | tr '\\0' x; echo; "
    "trap 'echo bye; exit 0' TERM; httpd -p 80 -h /www; "
    "number=0; while :; do echo tick $number; number=$((number + 1)); usleep 100000; done"
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: it holds Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="i2kit-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def build(
    store: Store, the_base: Base, build_settings: Settings, authority: Authority
) -> Callable[[Container], MachineImage]:
    """Make machine images that trust the test's authority instead of Amazon's: by their files, as nothing
    that a machine is told can change whom it trusts."""

    def build(one: Container) -> MachineImage:
        pod = (replace(one, image=busybox_image(store, the_base, one.image).pinned),)
        text = image.render(Workload("test", pod), settings=build_settings)
        reference = next(name for name in the_base.init if f"/{AWS}@" in name)
        resolved = sources.resolve(reference, store=store)
        (below,) = sources.pull(resolved, store=store)
        with store.scratch() as scratch:
            roots = scratch / "roots.tar"
            roots.write_bytes(components.tar({f"{AWS_FOLDER}/roots.der": File(authority.root)}))
            other = sources.add_local_image(store, [below, roots], {}, "test-aws")
        template = linuxkit.parse("test.yml", text.replace(reference, other.pinned))
        made, _ = image.output(template, "kernel+root", settings=build_settings)
        assert made
        return made

    return build


def tell(folder: Path, key: tuple[str, str, str]) -> None:
    """What the metadata service says from now on."""
    key_id, secret, token = key
    credentials = {"Code": "Success", "AccessKeyId": key_id, "SecretAccessKey": secret, "Token": token}
    known = {
        "instance-id": INSTANCE,
        "services/domain": "amazonaws.com",
        "iam/security-credentials/": ROLE,
        f"iam/security-credentials/{ROLE}": json.dumps(credentials, indent=2),
    }
    aside = folder / "aside"
    aside.write_text(json.dumps(known))
    aside.rename(folder / "user-data.json")


def wait_for(machine: Machine, accept: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not accept():
        assert time.monotonic() < end, machine.evidence()
        assert machine.process.poll() is None, machine.evidence()
        time.sleep(0.05)


def press_power_button(monitor: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as lines:
        connection.connect(str(monitor))
        for command in ("qmp_capabilities", "system_powerdown"):
            lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
            while "return" not in json.loads(lines.readline()):
                pass


def test_every_line_arrives(
    build: Callable[[Container], MachineImage], authority: Authority, folder: Path
) -> None:
    """Through an outage, throttling and the renewal of credentials, once each and in order."""
    logs = Logs(
        GROUP, FIRST_KEY, [failure("ServiceUnavailableException", 503), failure("ThrottlingException")]
    )
    tell(folder, FIRST_KEY)
    monitor = folder / "monitor"
    words = [*EC2, "-qmp", f"unix:{monitor},server=on,wait=off"]
    context = authority.server(folder, [f"logs.{REGION}.amazonaws.com"])
    built = build(container("web", TALKS))
    stream, own = f"{INSTANCE}/web", f"{INSTANCE}/machine"
    with (
        serving(logs, folder / "logs", context),
        booted(
            built, folder, USER_DATA, channels=False, source="metadata", endpoint=folder / "logs", words=words
        ) as machine,
    ):
        assert machine.get() == b"hello\n"
        wait_for(machine, lambda: len(logs.streams.get(stream, [])) > 30)
        logs.key = SECOND_KEY
        wait_for(machine, lambda: logs.expired > 0)
        tell(folder, SECOND_KEY)
        count = len(logs.streams[stream])
        wait_for(machine, lambda: len(logs.streams[stream]) > count + 30)
        press_power_button(monitor)
        assert machine.process.wait(30) == 0
        said = machine.console.read_text(errors="replace")
    assert logs.complaints == []
    lines = logs.streams[stream]
    assert lines[:4] == ["web-9abcdef0", 'quotes " \\ é 😀', " ", "x" * 20000]
    assert lines[-1] == "bye", "what it says as it goes off arrives too"
    assert lines[4:-1] == [f"tick {number}" for number in range(len(lines) - 5)]
    assert min(b - a for a, b in zip(logs.put_at[stream], logs.put_at[stream][1:-1], strict=False)) > 1
    told = [line for line in logs.streams[own] if not line.startswith("kernel: ")]
    assert told[:3] == ["booted", "address 169.254.169.15", "started web"]
    assert {"ready", "stopping"} <= set(told)
    assert "web tick 3" in said, "get-console-output shows it too"
    assert "lines do not reach CloudWatch Logs yet: 503 ServiceUnavailableException" in said


def test_nobody_answers(build: Callable[[Container], MachineImage], folder: Path) -> None:
    """A pod that says much serves on, and goes off in time, though nothing can be sent at all."""
    logs = Logs(GROUP, FIRST_KEY)
    tell(folder, FIRST_KEY)
    monitor = folder / "monitor"
    words = [*EC2, "-qmp", f"unix:{monitor},server=on,wait=off"]
    # An endpoint of another authority: nothing is said to it.
    context = Authority().server(folder, [f"logs.{REGION}.amazonaws.com"])
    talks = (
        "trap 'exit 0' TERM; httpd -p 80 -h /www; "
        "head -c 6000000 /dev/zero | tr '\\0' x | fold -w 1000 >&2; "
        "echo yes >/www/part; mv /www/part /www/written; "
        "while :; do sleep 0.1; done"
    )
    built = build(container("web", talks))
    with (
        serving(logs, folder / "logs", context),
        booted(
            built, folder, USER_DATA, channels=False, source="metadata", endpoint=folder / "logs", words=words
        ) as machine,
    ):
        machine.wait_for("console", lambda line: "from nobody who is trusted" in line)
        assert machine.get("/written") == b"yes\n", "neither the network nor the console holds it up"
        press_power_button(monitor)
        assert machine.process.wait(30) == 0
    assert (logs.streams, logs.complaints) == ({}, [])
