"""LinuxKit's layout, from templates and images made here."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from i2kit.errors import InputError
from i2kit.image.assemble import Assembly, SourceImage, assemble
from i2kit.image.linuxkit import parse
from i2kit.image.linuxkit.text import as_text
from i2kit.image.tree import Content, Entry, Kind, Tree, archive, sort_key
from i2kit.model import ImageConfig
from tests import golden

CONFIG = ImageConfig(cmd=("/bin/app",), env=(("PATH", "/bin"),))


def tree(*entries: Entry) -> Tree:
    """The entries with the directories above them."""
    found = {"": Entry("", Kind.DIRECTORY, 0o755)}
    for entry in entries:
        parts = entry.path.split("/")
        for end in range(1, len(parts)):
            path = "/".join(parts[:end])
            found.setdefault(path, Entry(path, Kind.DIRECTORY, 0o700))
        found[entry.path] = entry
    return tuple(sorted(found.values(), key=lambda entry: sort_key(entry.path)))


def file(path: str, data: bytes = b"", link_group: int = 0) -> Entry:
    return Entry(path, Kind.FILE, 0o644, content=Content(len(data), data=data), link_group=link_group)


def modules_tar() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo("lib/modules/6.1/erofs.ko")
        member.size = 6
        archive.addfile(member, io.BytesIO(b"module"))
    return raw.getvalue()


IMAGES = {
    "kernel": SourceImage(
        tree(file("kernel", b"vmlinux"), file("kernel.tar", modules_tar()), file("kernel-dev.tar")),
        ImageConfig(),
    ),
    "base": SourceImage(
        tree(
            file("init", b"#!"),
            file("etc/motd", b"base"),
            file("bin/a", b"linked", 1),
            file("bin/b", b"linked", 1),
        ),
        CONFIG,
    ),
    "over": SourceImage(tree(file("etc/motd", b"over"), file("bin/a", b"own")), CONFIG),
    "app": SourceImage(
        tree(
            file("bin/app", b"app"),
            file("bin/one", b"x", 1),
            file("bin/two", b"x", 1),
            file("etc/hosts", b"the builder's"),
            file("etc/hostname", b"builder"),
            file("dev/pts/0"),
            file(".dockerenv"),
            file("Dockerfile"),
        ),
        CONFIG,
    ),
}

POD = """\
kernel: {image: kernel, cmdline: quiet}
init: [base, over]
onboot:
  - {name: first, image: app, readonly: true}
services:
  - {name: web, image: app, command: [web], env: [A=b], capabilities: [CAP_KILL, CAP_CHOWN]}
"""


def assembled(text: str, folder: Path) -> tuple[Assembly, dict[str, Entry]]:
    assembly = assemble(parse("pod.yml", text), IMAGES.__getitem__, folder)
    paths = [entry.path for entry in assembly.tree]
    assert paths == sorted(paths, key=sort_key)
    assert all(path.rpartition("/")[0] in paths for path in paths)
    return assembly, {entry.path: entry for entry in assembly.tree}


def data(entry: Entry) -> bytes:
    assert entry.content is not None
    return entry.content.read()


def document(entry: Entry) -> Any:
    return json.loads(data(entry))


def test_the_kernel_image(tmp_path: Path) -> None:
    assembly, found = assembled(POD, tmp_path)
    assert assembly.kernel.read() == b"vmlinux"
    assert assembly.cmdline == "quiet"
    assert data(found["lib/modules/6.1/erofs.ko"]) == b"module"
    assert not {"kernel", "kernel.tar", "kernel-dev.tar", "boot"} & found.keys()


def test_files_may_replace_what_lies_in_boot(tmp_path: Path) -> None:
    assembly, _ = assembled(f"{POD}files: [{{path: boot/cmdline, contents: other}}]\n", tmp_path)
    found = {entry.path: entry for entry in archive.whole(assembly)}
    assert data(found["boot/cmdline"]) == b"other"
    assert data(found["boot/kernel"]) == b"vmlinux"


def test_init_images_lie_over_each_other(tmp_path: Path) -> None:
    _, found = assembled(POD, tmp_path)
    assert data(found["init"]) == b"#!"
    assert data(found["etc/motd"]) == b"over"
    assert data(found["bin/a"]) == b"own"
    assert data(found["bin/b"]) == b"linked"
    assert found["etc/resolv.conf"].target == "/run/resolvconf/resolv.conf"
    assert found["etc/mtab"].target == "/proc/mounts"
    assert {found[path].kind for path in ("dev", "dev/pts", "dev/shm", "proc", "sys")} == {Kind.DIRECTORY}
    assert found["etc"].mode == 0o755


def test_each_image_with_its_own_etc_mtab_or_linuxkits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Entry("etc/mtab", Kind.SYMLINK, 0o777, target="../proc/self/mounts")
    monkeypatch.setitem(IMAGES, "own", SourceImage(tree(own), CONFIG))
    for init, target in (("own, base", "/proc/mounts"), ("base, own", own.target)):
        _, found = assembled(f"init: [{init}]\n", tmp_path)
        assert found["etc/mtab"].target == target


def test_containers_in_linuxkits_layout(tmp_path: Path) -> None:
    _, found = assembled(POD, tmp_path)
    first = {path for path in found if path.startswith("containers/onboot/000-first/")}
    assert {path.split("/")[3] for path in first} == {"rootfs", "config.json", "runtime.json"}
    web = sorted(path for path in found if path.startswith("containers/services/web/"))
    # The image is where its first user has it.
    assert [path.split("/", 3)[3] for path in web] == ["config.json", "rootfs", "runtime.json", "tmp"]
    root = "containers/onboot/000-first/rootfs"
    assert data(found[f"{root}/bin/app"]) == b"app"
    assert data(found[f"{root}/etc/hosts"]).startswith(b"127.0.0.1")
    assert data(found[f"{root}/etc/resolv.conf"]) == b"\n# no resolv.conf configured\n"
    gone = ("etc/hostname", ".dockerenv", "Dockerfile")
    assert not {f"{root}/{path}" for path in gone} & found.keys()
    assert f"{root}/dev/pts/0" in found, "only the folder itself is the builder's"


@pytest.mark.parametrize("target", ["usr/etc", "/usr/etc"])
def test_an_etc_that_is_a_link_is_followed(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Entry("etc", Kind.SYMLINK, 0o777, target=target)
    monkeypatch.setitem(IMAGES, "app", SourceImage(tree(link, file("usr/etc/passwd", b"root")), CONFIG))
    _, found = assembled(POD, tmp_path)
    root = "containers/onboot/000-first/rootfs"
    assert found[f"{root}/etc"].target == target
    assert data(found[f"{root}/usr/etc/passwd"]) == b"root"
    assert data(found[f"{root}/usr/etc/hosts"]).startswith(b"127.0.0.1")


@pytest.mark.parametrize("target", ["nowhere", "bin/app", "etc"])
def test_an_etc_that_leads_nowhere_becomes_a_folder(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Entry("etc", Kind.SYMLINK, 0o777, target=target)
    monkeypatch.setitem(IMAGES, "app", SourceImage(tree(link, file("bin/app", b"app")), CONFIG))
    _, found = assembled(POD, tmp_path)
    root = "containers/onboot/000-first/rootfs"
    assert found[f"{root}/etc"].kind is Kind.DIRECTORY
    assert data(found[f"{root}/bin/app"]) == b"app"


def test_hardlinks_of_different_images_stay_apart(tmp_path: Path) -> None:
    _, found = assembled(POD, tmp_path)
    root = "containers/onboot/000-first/rootfs"
    one, two = found[f"{root}/bin/one"], found[f"{root}/bin/two"]
    assert one.link_group == two.link_group != 0
    assert one.link_group != found["bin/b"].link_group != 0


def test_the_containers_files(tmp_path: Path) -> None:
    _, found = assembled(POD, tmp_path)
    assert document(found["containers/services/web/config.json"]) == {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["web"],
            "env": ["A=b"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_KILL", "CAP_CHOWN"],
                "inheritable": ["CAP_CHOWN", "CAP_KILL"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"],
            },
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {
                "destination": "/proc",
                "type": "proc",
                "source": "proc",
                "options": ["nosuid", "nodev", "noexec", "relatime"],
            },
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            },
        ],
        "linux": {"resources": {}, "namespaces": [{"type": "pid"}, {"type": "mount"}]},
    }
    runtime = document(found["containers/services/web/runtime.json"])
    assert runtime["mounts"] == [
        {"destination": "/containers/services/web/tmp", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/containers/services/web/tmp", "options": ["remount", "private"]},
        {
            "destination": "/containers/services/web/rootfs",
            "type": "overlay",
            "source": "overlay",
            "options": [
                "lowerdir=/containers/onboot/000-first/rootfs",
                "upperdir=/containers/services/web/tmp/upper",
                "workdir=/containers/services/web/tmp/work",
            ],
        },
    ]
    readonly = document(found["containers/onboot/000-first/config.json"])
    assert readonly["process"]["args"] == ["/bin/app"]
    assert readonly["process"]["env"] == ["PATH=/bin"]
    assert readonly["root"] == {"path": "rootfs", "readonly": True}
    assert [mount["destination"] for mount in readonly["mounts"] if "ro" in mount["options"]] == [
        "/dev",
        "/sys",
        "/sys/fs/cgroup",
    ]
    bound = "/containers/onboot/000-first/rootfs"
    assert document(found["containers/onboot/000-first/runtime.json"])["mounts"] == [
        {"destination": bound, "source": bound, "options": ["bind"]}
    ]


def test_what_an_entry_can_say(tmp_path: Path) -> None:
    service = """\
  - name: all
    image: app
    binds: ["/a:/b", "/etc/hosts:/etc/hosts:ro"]
    mounts:
      - {type: sysfs, options: [ro]}
      - {type: mqueue}
      - {type: tmpfs, destination: /b}
    maskedPaths: [/proc/kcore]
    readonlyPaths: [/proc/sys]
    additionalGids: [4]
    noNewPrivileges: true
    annotations: {a: b}
    resources: {memory: {limit: 5}}
"""
    _, found = assembled(POD + service, tmp_path)
    config = document(found["containers/services/all/config.json"])
    mounts = {mount.pop("destination"): mount for mount in config["mounts"]}
    assert mounts["/sys"] == {"type": "sysfs", "source": "sysfs", "options": ["ro"]}
    assert mounts["/dev/mqueue"] == {"type": "mqueue", "source": "mqueue"}
    assert mounts["/b"] == {"type": "tmpfs", "source": "tmpfs"}, "mounts come after binds"
    assert mounts["/etc/hosts"] == {"type": "bind", "source": "/etc/hosts", "options": ["ro", "rbind"]}
    assert list(mounts) == sorted(mounts)
    assert config["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": [4]}
    assert config["process"]["capabilities"] == {}
    assert config["process"]["noNewPrivileges"] is True
    assert config["annotations"] == {"a": "b"}
    assert config["linux"]["resources"] == {"memory": {"limit": 5}}
    assert (config["linux"]["maskedPaths"], config["linux"]["readonlyPaths"]) == (
        ["/proc/kcore"],
        ["/proc/sys"],
    )


def test_files_come_last_and_leave_folders_as_they_are(tmp_path: Path) -> None:
    files = """\
files:
  - {path: etc/motd, contents: file}
  - {path: new/deep/file, contents: "", mode: "0640", uid: 7, gid: 8}
  - {path: lib, symlink: usr/lib}
  - {path: private, directory: true}
  - {path: suid/run, contents: "", mode: "4710"}
"""
    _, found = assembled(POD + files, tmp_path)
    assert found["suid"].mode == 0o4710
    assert data(found["etc/motd"]) == b"file"
    assert found["etc/motd"].mode == 0o600
    assert found["etc"].mode == 0o755
    assert found["private"].mode == 0o700
    deep, above = found["new/deep/file"], found["new/deep"]
    assert (deep.mode, deep.uid, deep.gid) == (0o640, 7, 8)
    assert (above.mode, above.uid, above.gid) == (0o750, 7, 8), "whom it is for can get there"
    # What lay in the folder is gone with it.
    assert found["lib"].kind is Kind.SYMLINK
    assert not any(path.startswith("lib/") for path in found)


def test_an_image_that_is_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pod.yml:1:17: the image `app` is no kernel image: .* `kernel`"):
        assembled("kernel: {image: app}\n", tmp_path)


def test_an_image_that_cannot_be_unpacked_is_told_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Content(1 << 30, Path(os.devnull))
    huge = tree(Entry("lib/apk/db/installed", Kind.FILE, 0o644, content=database))
    monkeypatch.setitem(IMAGES, "h", SourceImage(huge, ImageConfig()))
    said = "pod.yml:1:8: the image `h`: /lib/apk/db/installed of the image has 1,073,741,824 bytes"
    with pytest.raises(InputError, match=said):
        assembled("init: [h]\n", tmp_path)


def test_a_kernel_that_is_too_large_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = Entry("kernel", Kind.FILE, 0o644, content=Content(1 << 30, Path(os.devnull)))
    monkeypatch.setitem(IMAGES, "k", SourceImage(tree(huge, file("kernel.tar")), ImageConfig()))
    said = r"pod.yml:1:17: the file `kernel` of the kernel image `k` has 1,073,741,824 bytes"
    with pytest.raises(InputError, match=said):
        assembled("kernel: {image: k}\n", tmp_path)


def test_hostile_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/cron.d/x"))
    for name, data, said in (
        ("kernel.tar", packed.getvalue(), r"kernel.tar, entry `../../etc/cron.d/x`: .* leads upwards"),
        ("lib/mods.tar", b"x" * 1024, r"mods.tar cannot be read: no tar header"),
    ):
        kernel = tree(file("kernel"), file(name, data))
        monkeypatch.setitem(IMAGES, "k", SourceImage(kernel, ImageConfig()))
        with pytest.raises(InputError, match=f"pod.yml:1:17: the image `k`: {said}"):
            assembled(f"kernel: {{image: k, tar: {name}}}\n", tmp_path)


def whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Assembly:
    """A template with every key, of images that have something of everything."""
    monkeypatch.setenv("HOME", str(folder))
    (folder / "from.txt").write_bytes(b"\0\xff")
    label = {"capabilities": ["all"], "binds": ["/run:/run"], "tmpfs": ["/tmp"], "uid": "last"}
    app = ImageConfig(
        entrypoint=("/bin/app",),
        env=(("PATH", "/bin"),),
        labels=(("org.mobyproject.config", json.dumps(label)),),
    )
    images = {
        "kernel": SourceImage(
            tree(file("bzImage", b"linux"), file("modules.tar", modules_tar()), file("ucode.cpio", b"u")),
            ImageConfig(),
        ),
        "base": SourceImage(
            tree(file("etc/motd", b"base"), Entry("dev/null", Kind.CHARACTER_DEVICE, 0o666, device=(1, 3))),
            CONFIG,
        ),
        "app": SourceImage(tree(file("bin/app", b"app"), file("etc/hosts", b"own")), app),
    }

    def layout(reference: str, platforms: tuple[str, ...]) -> Tree:
        return tree(file("oci-layout", f"{reference} {platforms}".encode()))

    text = (golden.FOLDER / "linuxkit/whole.yml").read_text()
    template = parse(str(folder / "pod.yml"), text)
    return assemble(template, images.__getitem__, folder, fetch_layout=layout)


def test_a_template_with_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assembly = whole(tmp_path, monkeypatch)
    lines = []
    for entry in archive.whole(assembly):
        size = entry.content.size_bytes if entry.content else 0
        more = f" -> {entry.target}" if entry.target else f" {entry.device}" if any(entry.device) else ""
        owner = f"{entry.uid:3} {entry.gid:3}"
        lines.append(f"{entry.kind.value:16} {entry.mode:04o} {owner} {size:5} /{entry.path}{more}\n")
    golden.check("linuxkit/whole.tree.txt", "".join(lines))
    found = {entry.path: entry for entry in assembly.tree}
    for path, name in (
        ("containers/services/everything/config.json", "everything.config.json"),
        ("containers/services/everything/runtime.json", "everything.runtime.json"),
        ("containers/onboot/000-first/config.json", "labelled.config.json"),
        ("etc/linuxkit.yml", "whole.merged.yml"),
    ):
        golden.check(f"linuxkit/{name}", data(found[path]).decode())
    assert data(found["etc/from"]) == b"\0\xff"
    assert data(found["containers/volumes/kept/lower/oci-layout"]).startswith(b"app ('linux/amd64'")
    assert assembly.kernel.read() == b"linux"
    assert assembly.ucode
    assert assembly.ucode.read() == b"u"
    assert [warning.message.partition(":")[0] for warning in assembly.warnings] == ["trust"]


def test_a_template_may_lack_a_kernel_and_its_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assembly, found = assembled("init: [base]\n", tmp_path)
    assert "boot" not in found
    with pytest.raises(InputError, match="the template has no kernel"):
        _ = assembly.kernel
    monkeypatch.setitem(IMAGES, "bare", SourceImage(tree(file("kernel", b"linux")), ImageConfig()))
    assembly, found = assembled("kernel: {image: bare, tar: none, ucode: u.cpio}", tmp_path)
    assert assembly.kernel.read() == b"linux"
    assert set(found) == {""}
    (warning,) = assembly.warnings
    assert str(warning) == "pod.yml:1:17: the kernel image `bare` has no file `u.cpio`"
    with pytest.raises(
        InputError, match=r"pod.yml:1:17: the image `bare` is no kernel image: .* `kernel.tar`"
    ):
        assembled("kernel: {image: bare}", tmp_path)


def test_each_init_images_packages_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        image = SourceImage(tree(file("lib/apk/db/installed", f"P:{name}\n".encode())), CONFIG)
        monkeypatch.setitem(IMAGES, name, image)
    _, found = assembled("init: [one]\n", tmp_path)
    assert data(found["lib/apk/db/installed"]) == b"P:one\n"
    _, found = assembled("init: [one, base, two]\n", tmp_path)
    assert data(found["lib/apk/db/installed"]) == b"P:one\n\n\nP:two\n\n\n"


def test_the_same_image_by_two_names_is_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docker.io/library/app", "localhost/app"):
        monkeypatch.setitem(IMAGES, name, IMAGES["app"])
    names = ("app", "docker.io/library/app", "localhost/app")
    entries = [f"  - {{name: n{number}, image: {name}}}\n" for number, name in enumerate(names)]
    _, found = assembled("services:\n" + "".join(entries), tmp_path)
    lower = [path for path in found if path.endswith("/lower")]
    assert lower == ["containers/services/n0/lower", "containers/services/n2/lower"]


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    text = """\
files:
  - {path: a, source: missing}
  - {path: b, source: folder}
  - {path: c, source: missing, optional: true}
  - {path: d, source: /dev/zero}
  - {path: e, source: pipe}
"""
    os.mkfifo(tmp_path / "pipe")
    template = parse(str(tmp_path / "pod.yml"), text)
    with pytest.raises(InputError) as raised:
        assemble(template, IMAGES.__getitem__, tmp_path)
    first, second, endless, pipe = raised.value.problems
    assert str(first.position).endswith("pod.yml:2:5")
    assert first.message == f"cannot read {tmp_path / 'missing'}, the source of /a: No such file or directory"
    assert second.message == f"cannot read {tmp_path / 'folder'}, the source of /b: Is a directory"
    assert endless.message == "cannot read /dev/zero, the source of /d: it is not a regular file"
    assert pipe.message.endswith("the source of /e: it is not a regular file")


def test_metadata_tells_of_optional_files_that_are_not_there(tmp_path: Path) -> None:
    text = "files: [{path: a, source: missing, optional: true}, {path: m, metadata: yaml}]\n"
    _, found = assembled(text, tmp_path)
    assert "a" not in found
    assert data(found["m"]) == as_text(parse("pod.yml", text), "yaml").encode()


def test_warnings_about_what_cannot_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGES, "silent", SourceImage(tree(), ImageConfig()))
    text = """\
init: [base]
services:
  - {name: web, image: silent}
files:
  - {path: bin, symlink: nowhere}
"""
    assembly, _ = assembled(text, tmp_path)
    assert [str(warning).partition("\n")[0] for warning in assembly.warnings] == [
        "pod.yml:3:24: `web` has nothing to run: neither it nor its image says a command",
        "files are hidden by what a later image or `files` has in place of a folder: /bin/a, /bin/b",
    ]


def test_what_our_own_guest_does_not_do_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """\
init: [guest]
services:
  - name: a b
    image: app
    cgroupsPath: /x
    runtime: {interfaces: [{name: eth0}], bindNS: {net: /run/net}, mkdir: [/run/a], cgroups: [a]}
  - {name: plain, image: app, runtime: {mkdir: [/run/a]}}
"""
    monkeypatch.setitem(IMAGES, "guest", SourceImage(tree(file("init")), ImageConfig()))
    assert assembled(text, tmp_path)[0].warnings == (), "LinuxKit's does all"
    ours = tree(file("usr/lib/i2kit/initramfs.list"))
    monkeypatch.setitem(IMAGES, "guest", SourceImage(ours, ImageConfig()))
    (warning,) = assembled(text, tmp_path)[0].warnings
    assert warning.message == (
        "`a b`: has no effect with i2kit's own init: a name with other characters than letters, digits,"
        " - _ and ., cgroupsPath, runtime.interfaces, runtime.bindNS"
    )


def test_a_layout_needs_who_gives_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pod.yml:1:18: volumes: `v`: the format oci is not supported here"):
        assembled("volumes: [{name: v, image: app, format: oci}]", tmp_path)
