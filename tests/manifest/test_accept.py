"""Refusals that the user accepts: warnings, but never for what is needed or wrong."""

from pathlib import Path

import pytest

from i2kit.errors import InputError
from i2kit.manifest import check, read
from i2kit.model import Manifest
from tests.manifest.reading import POD, SERVICE

DEVICES = POD + "        volumeDevices: [{name: a, devicePath: /dev/a}]\n"
DEVICES_AT = "spec.template.spec.containers.volumeDevices"


def accepted(text: str, *accept: str) -> Manifest:
    return read(["-"], text.encode(), accept=accept)


@pytest.mark.parametrize("path", [DEVICES_AT, DEVICES_AT.replace("containers", "containers[0]")])
def test_a_refused_field_is_ignored(path: str) -> None:
    found = accepted(DEVICES, path)
    assert found.workloads == accepted(POD).workloads
    assert len(found.warnings) == 1
    assert found.warnings[0].endswith(": ignored, since --accept says so")


def test_a_refused_kind_is_ignored() -> None:
    daemons = POD.replace("Deployment", "DaemonSet").replace("name: web}\ns", "name: agent}\ns")
    custom = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n"
    found = accepted(f"{POD}---\n{daemons}---\n{custom}", "DaemonSet", "Thing")
    assert [one.name for one in found.workloads] == ["web"]
    assert [one.split(": ")[2].split(" ")[0] for one in found.warnings] == ["DaemonSet", "`Thing`"]


def test_a_refused_word_is_ignored() -> None:
    assert accepted(POD + "      restartPolicy: Never\n", "spec.template.spec.restartPolicy").workloads


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        (POD, "spec.replicas", "nothing is refused"),
        (DEVICES, DEVICES_AT + "s", f"did you mean `{DEVICES_AT}`?"),
        (POD + "  replicas: -1\n", "spec.replicas", "nothing is refused"),
        (POD + "  replicsa: 1\n", "spec.replicsa", "nothing is refused"),
        (SERVICE, "spec.ports", "nothing is refused"),
    ],
)
def test_what_is_about_no_refusal_is_a_problem(text: str, path: str, hint: str) -> None:
    with pytest.raises(InputError) as raised:
        accepted(text, path)
    message = f"--accept {path} is about nothing that is refused here"
    assert (message, hint) in [(one.message, one.hint) for one in raised.value.problems]


def test_what_is_needed_cannot_be_left_out() -> None:
    text = (
        POD.replace("apps/v1", "batch/v1")
        .replace("Deployment", "Job")
        .replace("  selector: {matchLabels: {app: web}}\n", "")
    )
    with pytest.raises(InputError, match="a job's pod is meant to end"):
        accepted(text + "      restartPolicy: Always\n", "spec.template.spec.restartPolicy")


def test_check_accepts_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(DEVICES)
    assert [one.verdict for one in check([str(tmp_path)], accept=[DEVICES_AT])] == ["warns"]
    assert [one.verdict for one in check([str(tmp_path)], accept=["DaemonSet"])] == ["refused", "refused"]
