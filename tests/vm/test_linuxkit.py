"""A LinuxKit template on our own kernel and init: what each of its sections does in a real machine."""

import tarfile
from pathlib import Path

import pytest

import i2kit.image
from i2kit.image import sources
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.settings import Settings
from tests.image.tars import entry, hardlink, write_tar
from tests.vm.machine import as_volume, booted, booted_disk

pytestmark = pytest.mark.vm

TEMPLATE = """\
kernel: {{ image: "{kernel}", cmdline: "{cmdline}" }}
init: [{init}]
onboot:
  - name: fill
    image: {image}
    command: [sh, -c, "echo from onboot >/data/index.html; ls /made; grep /made/ /proc/mounts; cat /etc/motd"]
    binds: ["data:/data", "/etc/motd:/etc/motd", "/run/made:/made"]
    runtime:
      mkdir: ["/run/made/it's a folder"]
      mounts:
        - {{type: tmpfs, source: scratch, destination: /run/made/scratch, options: [nosuid, size=1m]}}
        - {{type: bind, source: data, destination: /run/made/data, options: [ro]}}
      cgroups: [made]
  - name: odd
    image: {odd}
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


NAMES = {
    "n" * 255: "longest",
    "caf\udce9": "bytes",
    "new\nline": "lines",
    "-rf *": "words",
    "\x1b[2J": "steers",
}
CHECK = """
cd /odd
cat nnn* "$(printf 'caf\\351')" "$(printf 'new\\nline')" './-rf *' "$(printf '\\033[2J')"
readlink long | wc -c
cat through/f
stat -c '%F %a %u %t:%T %h' su link null pipe
"""
FOUND = [
    *NAMES.values(),
    "4096",
    "deep",
    "regular file 6755 4000000000 0:0 2",
    "regular file 6755 4000000000 0:0 2",
    "character special file 600 0 1:3 1",
    "fifo 644 0 0:0 1",
]


def odd_image(store: Store, image: str, folder: Path) -> str:
    """What images seldom hold, and a script that looks at it."""
    deep = "odd/" + "d/" * 1900
    layer = write_tar(
        folder / "odd.tar",
        *(entry(f"odd/{name}", f"{said}\n".encode()) for name, said in NAMES.items()),
        entry("odd/long", link="/t" * 2047 + "t"),
        entry(deep + "f", b"deep\n"),
        entry("odd/through", link="/" + deep + "."),
        entry("odd/su", b"x", mode=0o6755, uid=4_000_000_000),
        hardlink("odd/link", "odd/su"),
        entry("odd/null", type=tarfile.CHRTYPE, device=(1, 3), mode=0o600),
        entry("odd/pipe", type=tarfile.FIFOTYPE),
        entry("check", CHECK.encode()),
    )
    below = [store.blob(one.diff_id) for one in sources.resolve(image, store=store).layers]
    config = {"Env": ["PATH=/bin"], "Cmd": ["sh", "/check"]}
    return sources.add_local_image(store, [*filter(None, below), layer], config, "test-odd").pinned


@pytest.mark.parametrize("form", ["kernel+root", "kernel+initrd"])
def test_every_section(
    form: str, the_base: Base, store: Store, image: str, build_settings: Settings, tmp_path: Path
) -> None:
    """A volume carries a file from onboot to a service; read-only services share a root; the end is told.
    Linux finds in an image what was put there, however odd."""
    text = written(the_base, image, odd_image(store, image, tmp_path))
    template = i2kit.image.parse_linuxkit([("all.yml", text)])
    made, output = i2kit.image.output(template, form, settings=build_settings)
    assert made
    files = {one.name: one.path for one in output.files}
    with booted(made, tmp_path, "ready_port=80\n", initrd=files.get("initrd.img"), memory_mb=160) as machine:
        assert machine.get() == b"from onboot\n"
        machine.wait_for("control", "ready")
        machine.wait_for("log", "000-fill a file of the template")  # the last that it says
        said = [line.split(" ", 1)[1] for line in machine.lines("log") if line.startswith("000-fill ")]
        assert {"it's a folder", "scratch", "data"} <= set(said), "what runtime.json asks for"
        mounts = {line.split()[1]: line.split()[2:4] for line in said if " /made/" in line}
        assert mounts["/made/scratch"][0] == "tmpfs" and "size=1024k" in mounts["/made/scratch"][1]
        assert mounts["/made/data"][1].startswith("ro,")
        machine.wait_for("log", f"001-odd {FOUND[-1]}")
        odd = [line.split(" ", 1)[1] for line in machine.lines("log") if line.startswith("001-odd ")]
        assert odd == FOUND
        machine.wait_for("log", "web touch: /written: Read-only")
        machine.wait_for("log", lambda _: machine.lines("log").count("reads hello") == 2)
        machine.say("stop 5")
        assert machine.wait_for_end(30) == 0
        machine.wait_for("log", "onshutdown-000-fill from onboot")
        machine.wait_for("log", "onshutdown-000-fill last words")


def test_volumes_from_a_disk(the_base: Base, image: str, build_settings: Settings, tmp_path: Path) -> None:
    """The same as it is sent to a cloud: the disk's blocks, UEFI, NVMe."""
    template = i2kit.image.parse_linuxkit([("all.yml", written(the_base, image, image))])
    _, output = i2kit.image.output(template, "raw", settings=build_settings)
    volume = as_volume(output.files[0].path, tmp_path / "volume.raw")
    with booted_disk([volume], tmp_path, "hostname=in-ec2\n", firmware="uefi", bus="nvme") as machine:
        assert machine.get() == b"from onboot\n"
        for told in ("000-fill a file of the template", "web touch: /written: Read-only", "reads hello"):
            machine.wait_for("console", lambda line, told=told: told in line)  # type: ignore[misc]


def written(the_base: Base, image: str, odd: str) -> str:
    """The template with images that this test has."""
    init = ", ".join(the_base.init)
    return TEMPLATE.format(kernel=the_base.kernel, init=init, cmdline=the_base.cmdline, image=image, odd=odd)
