"""A LinuxKit template on our own kernel and init: what each of its sections does in a real machine."""

from pathlib import Path

import pytest

import i2kit.image
from i2kit.image.template import Base
from i2kit.settings import Settings
from tests.vm.machine import booted

pytestmark = pytest.mark.vm

TEMPLATE = """\
kernel: {{ image: "{kernel}", cmdline: "{cmdline}" }}
init: [{init}]
onboot:
  - name: fill
    image: {image}
    command: [sh, -c, "echo from onboot >/data/index.html; cat /etc/motd"]
    binds: ["data:/data", "/etc/motd:/etc/motd"]
services:
  - name: web
    image: {image}
    readonly: true
    command: [sh, -c, "touch /written; httpd -f -p 80 -h /www"]
    binds: ["data:/www"]
  - name: reads
    image: {image}
    readonly: true
    command: [sh, -c, "cat /www/index.html /tmp/www/index.html; sleep 1000"]
    binds: ["page:/tmp"]
onshutdown:
  - name: fill
    image: {image}
    command: [sh, -c, "cat /data/index.html; echo last words"]
    binds: ["data:/data"]
volumes:
  - name: data
  - name: page
    image: {image}
files:
  - {{ path: etc/motd, contents: "a file of the template", mode: "0644" }}
"""


@pytest.mark.parametrize("form", ["kernel+root", "kernel+initrd"])
def test_every_section(
    form: str, the_base: Base, image: str, build_settings: Settings, tmp_path: Path
) -> None:
    """A volume carries a file from onboot to a service; read-only services share a root; the end is told."""
    file = tmp_path / "all.yml"
    file.write_text(
        TEMPLATE.format(
            kernel=the_base.kernel, init=", ".join(the_base.init), cmdline=the_base.cmdline, image=image
        )
    )
    template = i2kit.image.parse_linuxkit([(str(file), file.read_text())])
    made, output = i2kit.image.output(template, form, settings=build_settings)
    assert made
    files = {one.name: one.path for one in output.files}
    with booted(made, tmp_path, "ready_port=80\n", initrd=files.get("initrd.img"), memory_mb=160) as machine:
        assert machine.get() == b"from onboot\n"
        machine.wait_for("control", "ready")
        assert "000-fill a file of the template" in machine.lines("log")
        assert any(line.startswith("web touch: /written: Read-only") for line in machine.lines("log"))
        assert machine.lines("log").count("reads hello") == 2
        machine.say("stop 5")
        assert machine.process.wait(30) == 0
        machine.wait_for("log", "onshutdown-000-fill from onboot")
        machine.wait_for("log", "onshutdown-000-fill last words")
