"""Reading LinuxKit templates: what is understood, and every problem with its place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from i2kit.errors import InputError, Position
from i2kit.image.linuxkit import parse, parse_all, together
from i2kit.image.linuxkit.spec import oci_config
from i2kit.image.linuxkit.text import as_text
from i2kit.image.linuxkit.values import (
    ContainerEntry,
    Device,
    FileEntry,
    IdMapping,
    Interface,
    Mount,
    Runtime,
    Settings,
    Template,
    Volume,
)
from i2kit.model import ImageConfig

WHOLE = (Path(__file__).parent.parent / "golden/linuxkit/whole.yml").read_text()


def test_every_key_of_an_entry() -> None:
    template = parse("pod.yml", WHOLE)
    everything = template.services[0]
    assert everything.settings == Settings(
        capabilities=("CAP_NET_ADMIN",),
        capabilities_add=("CAP_KILL",),
        ambient=("CAP_NET_RAW",),
        mounts=(
            Mount(
                "tmpfs", "scratch", "/scratch", ("nosuid",), (IdMapping(1000, 0, 5),), (IdMapping(2, 1, 1),)
            ),
            Mount("bind", "shared", "/shared", ("ro",)),
            Mount(source="mqueue"),
            Mount(destination="/dev"),
        ),
        binds=("/etc/hosts:/etc/hosts:ro",),
        binds_add=("shared:/also:ro",),
        devices=(Device("/dev/kmsg", "c", 1, 11, "0660"), Device("all", "b")),
        tmpfs=("/tmp", "/run:size=1m,mode=755"),
        command=("/bin/all", "--yes"),
        env=("A=b",),
        cwd="/srv",
        net="new",
        pid="/run/pid",
        ipc="new",
        uts="new",
        userns="new",
        hostname="no",
        readonly=True,
        masked_paths=("/proc/kcore",),
        readonly_paths=("/proc/sys",),
        uid="first",
        gid=7,
        additional_gids=(8, "everything"),
        no_new_privileges=True,
        oom_score_adj=-999,
        rootfs_propagation="shared",
        cgroups_path="/everything",
        resources={
            "devices": (
                {"allow": False, "access": "m"},
                {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
            ),
            "memory": {
                "limit": 1,
                "reservation": 2,
                "swap": -1,
                "kernel": 4,
                "kernelTCP": 5,
                "swappiness": 6,
                "disableOOMKiller": True,
            },
            "cpu": {
                "shares": 1,
                "quota": -1,
                "period": 3,
                "realtimeRuntime": 4,
                "realtimePeriod": 5,
                "cpus": "0-1",
                "mems": "0",
            },
            "pids": {"limit": 64},
            "blockio": {
                "weight": 10,
                "leafWeight": 11,
                "weightDevice": ({"major": 8, "minor": 0, "weight": 12, "leafWeight": 13},),
                "throttleReadBpsDevice": ({"major": 8, "minor": 0, "rate": 600},),
                "throttleWriteBpsDevice": ({"major": 8, "minor": 1, "rate": 601},),
                "throttleReadIOPSDevice": ({"major": 8, "minor": 2, "rate": 602},),
                "throttleWriteIOPSDevice": ({"major": 8, "minor": 3, "rate": 603},),
            },
            "hugepageLimits": ({"pageSize": 2097152, "limit": 4194304},),
            "network": {"classID": 1048577, "priorities": ({"name": "eth0", "priority": 5},)},
        },
        sysctl=(("net.ipv4.ip_forward", "1"),),
        rlimits=("nofile,1024,unlimited", " RLIMIT_CORE , 0 , 0"),
        uid_mappings=(IdMapping(1000, 0, 65536),),
        gid_mappings=(IdMapping(2000, 0, 65536),),
        annotations=(("org.example.a", "yes"),),
        runtime=Runtime(
            cgroups=("systemd",),
            mounts=(Mount("bind", "/run/a", "/run/b", ("bind",)),),
            mkdir=("/run/made",),
            interfaces=(
                Interface("wg0", "wireguard", create_in_root=True),
                Interface("veth0", "veth", "veth1"),
            ),
            bind_ns={"net": "/run/netns/wg", "cgroup": "/run/cg"},
            namespace="other",
        ),
    )


def test_every_other_section() -> None:
    template = parse("dir/pod.yml", WHOLE)
    assert template.name == "pod"
    assert (template.kernel, template.cmdline) == ("kernel", "console=ttyS0")
    assert (template.binary, template.kernel_tar, template.ucode) == ("bzImage", "modules.tar", "ucode.cpio")
    assert template.init == ("base",)
    assert [entry.name for entry in template.onboot] == ["first", "first"]
    assert [entry.name for entry in template.onshutdown] == ["last"]
    assert [entry.name for entry in template.services] == ["everything", "nothing"]
    assert template.services[1].settings == Settings()
    assert template.ids() == {"first": 101, "last": 102, "everything": 103, "nothing": 104}
    place = {volume.name: volume.position for volume in template.volumes}
    assert template.volumes == (
        Volume("shared", place["shared"], readonly=True),
        Volume("filled", place["filled"], image="app"),
        Volume("kept", place["kept"], image="app", format="oci", platforms=("linux/amd64", "linux/arm/v7")),
    )
    files = {file.place: file for file in template.files}
    owned = files["etc/motd"]
    assert owned == FileEntry(
        "/etc/motd",
        owned.position,
        folder=Path("dir"),
        contents="hello",
        mode="0644",
        uid="everything",
        gid=5,
    )
    assert files["srv"].directory
    assert files["etc/link"].symlink == "/run/link"
    assert files["etc/from"].source == "from.txt"
    assert (files["etc/there"].source, files["etc/there"].optional) == ("~/missing", True)
    assert files["etc/linuxkit.yml"].metadata == "yaml"
    assert files["etc/empty"].contents == ""
    assert set(template.positions) == {"kernel", "base", "app"}
    (warning,) = template.warnings
    assert str(warning).startswith("dir/pod.yml:4:8: trust: has no effect")


def test_a_template_as_text_is_the_same_template() -> None:
    template = parse("pod.yml", WHOLE)
    images = {name: name for name in template.positions}
    for kind in ("yaml", "json"):
        again = parse("again.yml", as_text(template, kind, images))
        assert as_text(again, "yaml", images) == as_text(template, "yaml", images)
        assert again.services[0].settings == template.services[0].settings
        assert again.volumes == tuple(
            Volume(
                one.name, again.volumes[index].position, one.image, one.readonly, one.format, one.platforms
            )
            for index, one in enumerate(template.volumes)
        )


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as raised:
        parse("pod.yml", text)
    return [str(problem).replace("\n  hint: ", " | ") for problem in raised.value.problems]


def entry(text: str) -> str:
    return f"services:\n  - name: a\n    image: i\n    {text}\n"


NO_VALUE = " | remove the key, or give it a value"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "pod.yml:1:1: the LinuxKit template is empty | give one template"),
        ("[]", "pod.yml:1:1: the LinuxKit template must be a mapping and is a list"),
        (
            "init: []\n---\ninit: []\n",
            "pod.yml:3:1: the LinuxKit template is only one of several documents"
            " | give each document in a file of its own",
        ),
        ("service: []", "pod.yml:1:1: service: is not a key of LinuxKit | did you mean `services`?"),
        (
            "version: 3",
            "pod.yml:1:1: version: is not a key of LinuxKit"
            " | known here: kernel, init, onboot, onshutdown, services, volumes, files, trust",
        ),
        ("services:", "pod.yml:1:10: services: must be a list and is empty" + NO_VALUE),
        ("init: [a, a: b]", "pod.yml:1:11: init[1]: must be text and is a mapping"),
        ('init: [""]', "pod.yml:1:8: init[0]: must not be empty"),
        (
            "services:\n  - image: i\n    name: 5\n",
            'pod.yml:3:11: services[0].name: must be text and is the number 5 | put it in quotes: "5"',
        ),
        ("services:\n  - name: a\n", "pod.yml:2:5: services[0]: must have `image`"),
        (
            "services:\n  - {name: ../a, image: i}\n",
            "pod.yml:2:12: services[0].name: must be a name and is the text `../a`"
            " | use letters, digits, - _ and .",
        ),
        (
            "services:\n  - {name: a, image: i}\n  - {name: a, image: j}\n",
            "pod.yml:3:12: services: has two entries with the name `a` | the first is at pod.yml:2:12",
        ),
        (
            "volumes:\n  - {name: a}\n  - {name: a}\n",
            "pod.yml:3:12: volumes: has two entries with the name `a` | the first is at pod.yml:2:12",
        ),
        (
            "volumes: [{name: A}]",
            "pod.yml:1:18: volumes[0].name: `A` is not a volume's name | use lower-case"
            " letters, digits, - and _",
        ),
        (
            "volumes: [{name: a, format: raw}]",
            "pod.yml:1:29: volumes[0].format: `raw` is not a format | oci or filesystem",
        ),
        (
            entry("restart: always"),
            "pod.yml:4:5: services[0].restart: is not a key of LinuxKit",
        ),
        (
            entry("additionalGroups: [1]"),
            "pod.yml:4:5: services[0].additionalGroups: is not a key of LinuxKit"
            " | did you mean `additionalGids`?",
        ),
        (
            entry("runtime: {interface: []}"),
            "pod.yml:4:15: services[0].runtime.interface: is not a key of LinuxKit"
            " | did you mean `interfaces`?",
        ),
        (
            entry("capabilities: [NET_ADMIN]"),
            "pod.yml:4:20: services[0].capabilities[0]: `NET_ADMIN` is not a capability"
            " | did you mean CAP_NET_ADMIN?",
        ),
        (
            entry("readonly: yes"),
            "pod.yml:4:15: services[0].readonly: must be true or false and is the text `yes`"
            " | write true or false without quotes",
        ),
        (
            entry('readonly: "true"'),
            "pod.yml:4:15: services[0].readonly: must be true or false and is the text `true`"
            " | write true or false without quotes",
        ),
        (entry("binds:"), "pod.yml:4:11: services[0].binds: must be a list and is empty" + NO_VALUE),
        (
            entry("binds: [/blank]"),
            "pod.yml:4:13: services[0].binds[0]: `/blank` is not a bind mount"
            " | write it like /var/log:/var/log or /etc/hosts:/etc/hosts:ro",
        ),
        (
            entry("binds: [blank:/blank]"),
            "pod.yml:4:13: services[0].binds[0]: there is no volume `blank`"
            " | add it to `volumes`; folders of the machine begin with /",
        ),
        (
            entry("mounts: [{type: bind, source: blank, destination: /b}]"),
            "pod.yml:4:14: services[0].mounts[0]: there is no volume `blank`"
            " | add it to `volumes`; folders of the machine begin with /",
        ),
        (
            entry("binds: [v:/v:rshared]\nvolumes: [{name: v, readonly: true}]"),
            "pod.yml:4:13: services[0].binds[0]: the volume `v` is read-only | mount it with the option ro",
        ),
        (entry("mounts: [{destination: /a}]"), "pod.yml:4:14: services[0].mounts[0]: must have `type`"),
        (
            entry("mounts: [{type: bind, source: /a}]"),
            "pod.yml:4:14: services[0].mounts[0]: must have `destination`",
        ),
        (
            entry("tmpfs: [/run:a:b]"),
            "pod.yml:4:13: services[0].tmpfs[0]: `/run:a:b` is not a tmpfs mount"
            " | write it like /tmp or /run:size=1m,mode=755",
        ),
        (
            entry("devices: [{path: /dev/a, type: c, major: 1, minor: 2}]"),
            "pod.yml:4:15: services[0].devices[0].mode: `` is not a mode"
            ' | write it in octal and quotes, like mode: "0666"',
        ),
        (
            entry("devices: [{path: console, type: c, mode: '0666'}]"),
            "pod.yml:4:22: services[0].devices[0].path: `console` is not a device's path"
            " | a path such as /dev/console, or all",
        ),
        (
            entry("devices: [{path: /dev/a, type: x, mode: '0666'}]"),
            "pod.yml:4:36: services[0].devices[0].type: `x` is not a type of devices | one of b, c, u, p",
        ),
        (
            entry("net: bridge"),
            "pod.yml:4:10: services[0].net: `bridge` is not a namespace"
            " | host, root, none, new, or a path such as /run/netns/wg",
        ),
        (
            entry("uid: -1"),
            "pod.yml:4:10: services[0].uid: must be a whole number, 0 or more, and is the number -1",
        ),
        (
            entry('uid: "1000"'),
            "pod.yml:4:10: services[0].uid: there is no entry `1000` whose number this could be"
            " | write a number without quotes",
        ),
        (
            entry("gid: www-data"),
            "pod.yml:4:10: services[0].gid: there is no entry `www-data` whose number this could be"
            " | write a number",
        ),
        (
            entry("resources: {memory: {limit: 5m}}"),
            "pod.yml:4:33: services[0].resources.memory.limit: must be a whole number and is the text `5m`",
        ),
        (
            entry("resources: {blockio: {weight: 65536}}"),
            "pod.yml:4:35: services[0].resources.blockio.weight: must be a whole number, 0 to 65535,"
            " and is the number 65536",
        ),
        (
            entry("resources: {hugepageLimits: [{pageSize: 3000}]}"),
            "pod.yml:4:45: services[0].resources.hugepageLimits[0].pageSize: 3000 is not the size of a page"
            " | in bytes, like 2097152",
        ),
        (
            entry("annotations: {a: 1}"),
            "pod.yml:4:22: services[0].annotations.a: must be text and is the number 1"
            ' | put it in quotes: "1"',
        ),
        (
            "files:\n  - {path: ../etc/passwd}\n",
            "pod.yml:2:12: files[0].path: must name a file inside the image",
        ),
        (
            'files: [{path: "a\\0", contents: b}]',
            "pod.yml:1:16: files[0].path: must be text without NUL characters and is the text `a\\x00`",
        ),
        (
            f"files: [{{path: a/{'b' * 256}, contents: b}}]",
            "pod.yml:1:16: files[0].path: is longer than Linux allows",
        ),
        (
            'files: [{path: a, symlink: "b\\0"}]',
            "pod.yml:1:28: files[0].symlink: must be text without NUL characters and is the text `b\\x00`",
        ),
        (
            "files:\n  - {path: a, mode: 0644, contents: b}\n",
            "pod.yml:2:21: files[0].mode: must be text and is the number 0644"
            ' | write it in quotes, like "0644"',
        ),
        (
            'files:\n  - {path: a, mode: "888", contents: b}\n',
            'pod.yml:2:21: files[0].mode: `888` is not a file mode | write it in quotes, like "0644"',
        ),
        (
            'files:\n  - {path: a, directory: true, contents: ""}\n',
            "pod.yml:2:5: files[0]: cannot have both `directory` and `contents`",
        ),
        (
            "files:\n  - {path: a, source: b, metadata: yaml}\n",
            "pod.yml:2:5: files[0]: cannot have both `source` and `metadata`",
        ),
        (
            "files:\n  - {path: a}\n",
            "pod.yml:2:5: files[0]: says nothing of what the file is | add `contents`"
            ' (contents: "" for an empty file), `source`, `symlink` or `directory`',
        ),
        ("files:\n  - {path: a, metadata: xml}\n", "pod.yml:2:25: files[0].metadata: must be yaml or json"),
    ],
)
def test_a_problem_and_its_place(text: str, expected: str) -> None:
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        entry("capabilities: [3]"),
        entry("binds: [3]"),
        entry("mounts: [3]"),
        entry("devices: [3]"),
        entry("devices: [{path: /dev/a, type: c, mode: 0666}]"),
        entry("rlimits: [3]"),
        entry('env: ["a=\\0"]'),
        "files: [{path: a, source: 3}]",
        "volumes: [{name: 3}]",
    ],
)
def test_one_mistake_is_told_once(text: str) -> None:
    (problem,) = problems(text)
    assert ": must be " in problem


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("capabilites", "capabilities"),
        ("environment", "env"),
        ("enviroment", "env"),
        ("entrypoint", "command"),
    ],
)
def test_the_nearest_key(key: str, known: str) -> None:
    assert problems(entry(f"{key}: []")) == [
        f"pod.yml:4:5: services[0].{key}: is not a key of LinuxKit | did you mean `{known}`?"
    ]


def test_the_same_entry_twice() -> None:
    text = "services:\n  - &web {name: web, image: i}\n"
    with pytest.raises(InputError) as raised:
        parse_all([("a.yml", text), ("a.yml", text)])
    assert "has two entries with the name `web`" in str(raised.value)
    (problem,) = problems(f"{text}  - *web\n")
    assert problem.startswith("pod.yml:2:17: services: has two entries with the name `web`")


def test_references_that_are_none_are_told_with_the_rest() -> None:
    text = "init: [UPPER/x, 'a b']\nservices: [{name: a, image: 'x:y:z', cmd: []}]\n"
    assert [problem.partition(" ")[0] for problem in problems(text)] == [
        "pod.yml:1:8:",
        "pod.yml:1:17:",
        "pod.yml:2:29:",
        "pod.yml:2:38:",
    ]


def test_a_command_line_that_linux_would_cut() -> None:
    def said(length: int) -> list[str]:
        template = parse("pod.yml", f"kernel: {{image: k, cmdline: {'x' * length}}}")
        return [warning.message for warning in template.warnings]

    assert said(2047) == []
    assert said(2048) == ["kernel.cmdline: is longer than 2047 bytes, of which Linux ignores the rest"]


@pytest.mark.parametrize("text", ["name: web\ncontainers: []\n", "apiVersion: v1\n---\nkind: Pod\n"])
def test_a_manifest_is_no_template(text: str) -> None:
    assert problems(text) == [
        "pod.yml:1:1: looks like a manifest, which is no LinuxKit template"
        " | to build its machine image: i2kit build -f pod.yml"
    ]


@pytest.mark.parametrize("limit", ["nofile,1", "nofile,1,x", "files,1,2", f"nofile,1,{2**64}", "nofile,1,-1"])
def test_limits_that_are_none(limit: str) -> None:
    (problem,) = problems(entry(f'rlimits: ["{limit}"]'))
    assert problem.startswith(f"pod.yml:4:15: services[0].rlimits[0]: `{limit}` is not a limit | write NAME")


def test_all_problems_at_once_in_order_of_place() -> None:
    text = "services: 5\nkernel: {image: [], cmd: x}\n"
    assert [line.split(" ")[0] for line in problems(text)] == [
        "pod.yml:1:11:",
        "pod.yml:2:17:",
        "pod.yml:2:21:",
    ]


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(InputError, match=r"pod.yml:2:10: is not UTF-8: the byte 0xff"):
        parse("pod.yml", b"kernel:\n  image: \xff\n")


def test_scalars_mean_what_they_mean_to_linuxkit() -> None:
    text = """\
x: &all {image: i, hostname: yes, uid: 0100, gid: 0o17, env: [on, A=no, 2001-01-01], cwd: 12:30:45}
services:
  - {<<: *all, name: no}
  - {name: y, uid: 0x10, <<: [{image: j, oomScoreAdj: -1}, *all]}
"""
    # An anchor has to stand somewhere; its own key is the only thing that is wrong.
    (problem,) = problems(text)
    assert problem.startswith("pod.yml:1:1: x: is not a key")
    first, second = parse(
        "pod.yml",
        text.replace("x: &all {", "services:\n  - &all {name: x, ").replace("services:\n  - {<<", "  - {<<"),
    ).services[1:]
    assert (first.name, first.image) == ("no", "i")
    assert first.settings == Settings(
        hostname="yes", uid=0o100, gid=0o17, env=("on", "A=no", "2001-01-01"), cwd="12:30:45"
    )
    assert (second.name, second.image) == ("y", "j")
    assert (second.settings.uid, second.settings.oom_score_adj) == (16, -1)


FIRST = """\
kernel: {image: old, cmdline: quiet, tar: none, ucode: u}
init: [a]
volumes: [{name: v}]
services: [{name: one, image: i}]
"""
SECOND = """\
kernel: {image: new, binary: vmlinuz, ucode: ""}
init: [b]
services: [{name: two, image: j, binds: ["v:/v"], uid: one}]
onboot: [{name: three, image: i}]
"""


def test_several_files_are_one_template() -> None:
    template = parse_all([("first.yml", FIRST), ("dir/second.yml", SECOND)])
    assert (template.kernel, template.cmdline, template.binary) == ("new", "quiet", "vmlinuz")
    assert (template.kernel_tar, template.ucode) == ("none", "")
    assert template.init == ("a", "b")
    assert [service.name for service in template.services] == ["one", "two"]
    assert [volume.name for volume in template.volumes] == ["v"]
    assert template.ids() == {"three": 100, "one": 101, "two": 102}
    assert str(template.positions["i"]) == "first.yml:4:31"
    assert "old" not in template.positions, "an image that nobody needs is not asked for"
    with pytest.raises(InputError) as raised:
        parse_all([("second.yml", SECOND), ("third.yml", "services: [{name: two, image: j, gid: no-one}]")])
    assert [str(problem).split(" ")[0] for problem in raised.value.problems] == [
        "second.yml:3:42:",
        "second.yml:3:56:",
        "third.yml:1:19:",
        "third.yml:1:39:",
    ]


PLACE = Position("pod.yml", 2, 3)


def merged(label: str, said: Settings) -> Settings:
    template = Template("pod", services=(ContainerEntry("web", "app", PLACE, said),))
    return together(template.services[0], label, template)


def test_an_entry_goes_before_the_label_of_its_image() -> None:
    label = """{
      "capabilities": ["CAP_KILL"], "binds": ["/a:/a"], "tmpfs": ["/tmp"], "net": "host", "pid": "new",
      "env": ["A=b"], "readonly": true, "uid": 5, "oomScoreAdj": -5, "hostname": "x",
      "runtime": {"mkdir": ["/a"], "cgroups": ["c"], "bindNS": {"net": "/n", "ipc": "/i"}}
    }"""
    said = Settings(
        capabilities_add=("CAP_CHOWN",),
        binds_add=("/b:/b",),
        tmpfs=(),
        net="new",
        pid="",
        readonly=False,
        uid=0,
        runtime=Runtime(mkdir=(), bind_ns={"net": "/m"}),
    )
    assert merged(label, said) == Settings(
        capabilities=("CAP_KILL", "CAP_CHOWN"),
        binds=("/a:/a", "/b:/b"),
        tmpfs=(),
        net="new",
        pid="new",
        env=("A=b",),
        readonly=False,
        uid=0,
        oom_score_adj=-5,
        hostname="x",
        runtime=Runtime(cgroups=("c",), mkdir=(), bind_ns={"net": "/m", "ipc": "/i"}),
    )


def test_what_is_empty_takes_away_what_the_label_says_or_says_nothing() -> None:
    label = (
        '{"uid": 5, "cgroupsPath": "/x", "cwd": "/srv", "resources": {"pids": {"limit": 1}}, "env": ["A=b"]}'
    )
    nothing = merged(label, Settings(uid="", cgroups_path="", cwd="", resources={}, env=()))
    assert nothing == Settings(uid="", cgroups_path="", cwd="/srv", resources={}, env=(), runtime=Runtime())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_stands_anywhere_is_read_or_explained(data: st.DataObject) -> None:
    document = yaml.safe_load(WHOLE)
    places = list(_places(document))
    for holder, key in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        holder[key] = data.draw(
            st.sampled_from(
                [None, 5, -1, 10**30, 1.5, True, "x", "", "all", "ü\n", "/a:/b", [], {}, ["/x"], [[]]]
            )
        )
    try:
        template = parse("pod.yml", yaml.safe_dump(document))
    except InputError as error:
        assert all(problem.position for problem in error.problems)
        return
    images = {name: name for name in template.positions}
    again = parse("pod.yml", as_text(template, "yaml", images))
    assert as_text(again, "yaml", images) == as_text(template, "yaml", images)
    for _, entries in template.sections:
        for one in entries:
            oci_config(together(one, "", template), ImageConfig(), ids=template.ids())


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(pairs):
        yield value, key
        yield from _places(child)


def test_what_linuxkit_drops_is_added() -> None:
    label = '{"capabilities": ["CAP_KILL"], "capabilities.add": ["CAP_CHOWN"], "binds.add": ["/a:/a"]}'
    both = Settings(capabilities=("CAP_MKNOD",), capabilities_add=("CAP_SYS_BOOT",))
    assert merged(label, both).capabilities == ("CAP_MKNOD", "CAP_SYS_BOOT")
    assert merged(label, both).binds == ("/a:/a",)
    assert merged(label, Settings()).capabilities == ("CAP_KILL", "CAP_CHOWN")
    everything = merged("capabilities: [all]", Settings(capabilities_add=("CAP_CHOWN",)))
    assert len(everything.capabilities or ()) == 42


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("[]", "must be a mapping"),
        ("{", "is not valid"),
        ('{"name": "x"}', "name: is not a key of LinuxKit"),
        ('{"capability": []}', "capability: is not a key of LinuxKit"),
        ('{"uid": "nobody"}', "uid: there is no entry `nobody`"),
        ('{"binds": ["v:/v"]}', "binds[0]: there is no volume `v`"),
    ],
)
def test_a_broken_label(label: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        merged(label, Settings())
    (problem,) = raised.value.problems
    assert problem.position == PLACE
    assert problem.message.startswith("`web`: the label org.mobyproject.config of the image `app`: ")
    assert said in problem.message
