"""LinuxKit's schema: nodes of YAML to values, with a place for everything that does not fit.

In: the nodes of one template or label. Out: values and problems. Pure. Nothing is skipped: a key
that LinuxKit does not know is refused where it stands, and so is what its own checks refuse only
when it builds, or what it would take and then drop.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from i2kit.errors import InputError, Position, Problem
from i2kit.image.linuxkit.spec import RLIMITS, ROOT, completed, rlimit
from i2kit.image.linuxkit.values import (
    ContainerEntry,
    Device,
    FileEntry,
    Id,
    IdMapping,
    Interface,
    Mount,
    Runtime,
    Settings,
    Volume,
)
from i2kit.image.sources.layouts import is_local
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, described, resolve
from i2kit.model import CAPABILITIES, Pairs
from i2kit.model.reference import parse as parse_reference

Read = Callable[[Node, str], Any]
Fields = Mapping[str, Read]

INT64 = range(-(2**63), 2**63)
UINT64 = range(2**64)
UINT32 = range(2**32)
UINT16 = range(2**16)

COMMAND_LINE_BYTES = 2048
"""With the NUL at its end; linux, arch/x86/include/asm/setup.h."""

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4095
"""As in Linux; names of entries leave room for a number before them."""

PACKAGE = "@pkg:"
"""Begins what names a package's folder in place of an image."""

_NAME = re.compile(r"[^/\x00-\x1f\x7f]+")
_WORDS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})


def resolve_core(text: str) -> str | int | float | bool | None:
    """What a scalar without quotes means to yaml.v3, which LinuxKit reads with: `yes` is text."""
    value = resolve(text)
    return text if isinstance(value, bool) and text not in _WORDS else value


_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")


def is_text(text: str) -> bool:
    """Whether a scalar without quotes is text to every version of YAML."""
    values = (resolve(text), resolve_core(text))
    return all(isinstance(value, str) for value in values) and not _BASE_60.fullmatch(text)


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """A mount of a volume, to be looked at when all volumes are known."""

    name: str
    writable: bool
    position: Position
    path: str


@dataclass(frozen=True, slots=True)
class IdUse:
    """A user or group by an entry's name, to be looked at when all entries are known."""

    name: str
    position: Position
    path: str


class Reader:
    """Nodes to values. Each method takes a node and its path, and notes what does not fit."""

    def __init__(self, folder: Path = Path()) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.positions: dict[str, Position] = {}
        self.volume_uses: list[VolumeUse] = []
        self.id_uses: list[IdUse] = []
        self.places: list[tuple[str, str, Position]] = []
        """Section, name and place of all entries and volumes."""
        self._unread: set[Position] = set()
        """Places of values of another type: nothing that follows from those is worth telling."""

    def template(self, node: Node) -> dict[str, Any]:
        """The sections of a template, those that it has."""
        found = self.table(
            node,
            "",
            {
                "kernel": self.kernel,
                "init": self.list_of(self.image),
                "onboot": self.list_of(self.container),
                "onshutdown": self.list_of(self.container),
                "services": self.list_of(self.container),
                "volumes": self.list_of(self.volume),
                "files": self.list_of(self.file),
                "trust": self.trust,
            },
        )
        return {
            key: tuple(item for item in value if item) if isinstance(value, tuple) else value
            for key, value in found.items()
        }

    def trust(self, node: Node, path: str) -> None:
        texts = self.list_of(self.text)
        self.table(node, path, {"image": texts, "org": texts})
        self.warn(
            node.position,
            path,
            "has no effect: LinuxKit no longer has content trust",
            "name images by digest, such as nginx@sha256:…",
        )

    def kernel(self, node: Node, path: str) -> dict[str, str]:
        fields: Fields = {
            "image": self.image,
            **dict.fromkeys(("cmdline", "binary", "tar", "ucode"), self.text),
        }
        found = self.table(node, path, fields)
        if _bytes(found.get("cmdline", "")) >= COMMAND_LINE_BYTES:
            message = f"is longer than {COMMAND_LINE_BYTES - 1} bytes, of which Linux ignores the rest"
            self.warn(_place(node, "cmdline"), f"{path}.cmdline", message)
        return found

    def container(self, node: Node, path: str) -> ContainerEntry | None:
        fields = {"name": self.name, "image": self.image, **self.settings_fields()}
        found = self.table(node, path, fields, required=("name", "image"))
        name, image = found.pop("name", None), found.pop("image", None)
        if not name or not image:
            return None
        assert isinstance(node, MappingNode)
        self.places.append((path.partition("[")[0], name, node.entries["name"][1].position))
        place = node.entries["image"][1].position
        return ContainerEntry(name, image, place, Settings(**_fields_of(found)))

    def label(self, node: Node) -> Settings:
        return Settings(**_fields_of(self.table(node, "", self.settings_fields())))

    def settings_fields(self) -> Fields:
        texts, ids = self.list_of(self.text), self.list_of(self.id)
        capabilities, mappings = self.list_of(self.capability), self.list_of(self.id_mapping)
        binds = self.list_of(self.bind)
        return {
            "capabilities": capabilities,
            "capabilities.add": capabilities,
            "ambient": capabilities,
            "mounts": self.list_of(self.mount),
            "binds": binds,
            "binds.add": binds,
            "devices": self.list_of(self.device),
            "tmpfs": self.list_of(self.tmpfs),
            "command": texts,
            "env": texts,
            "cwd": self.text,
            "net": self.namespace("host", "root", "none", "new"),
            "pid": self.namespace("host", "root", "new"),
            "ipc": self.namespace("host", "root", "new"),
            "uts": self.namespace("host", "root", "new"),
            "userns": self.namespace("host", "root", "new"),
            "hostname": self.text,
            "readonly": self.flag,
            "maskedPaths": texts,
            "readonlyPaths": texts,
            "uid": self.id,
            "gid": self.id,
            "additionalGids": ids,
            "noNewPrivileges": self.flag,
            "oomScoreAdj": self.integer(range(-1000, 1001)),
            "rootfsPropagation": self.text,
            "cgroupsPath": self.text,
            "resources": self.resources,
            "sysctl": self.pairs,
            "rlimits": self.list_of(self.rlimit),
            "uidMappings": mappings,
            "gidMappings": mappings,
            "annotations": self.pairs,
            "runtime": self.runtime,
        }

    # Parts of a container

    def mount(self, node: Node, path: str) -> Mount:
        mount = self.runtime_mount(node, path)
        if completed(mount).type == "":
            self.problem(node.position, path, "must have `type`")
        elif completed(mount).destination == "":
            self.problem(node.position, path, "must have `destination`")
        return mount

    def runtime_mount(self, node: Node, path: str) -> Mount:
        mappings = self.list_of(self.id_mapping)
        fields: Fields = {
            **dict.fromkeys(("type", "source", "destination"), self.text),
            "options": self.list_of(self.text),
            "uidmappings": mappings,
            "gidmappings": mappings,
        }
        found = self.table(node, path, fields)
        renamed = {key.replace("mappings", "_mappings"): value for key, value in found.items()}
        mount = Mount(**renamed)
        if mount.type == "bind" and mount.source and not mount.source.startswith("/"):
            writable = "ro" not in mount.options or "rw" in mount.options
            self.volume_uses.append(VolumeUse(mount.source, writable, node.position, path))
        return mount

    def bind(self, node: Node, path: str) -> str:
        bind = self.text(node, path)
        parts = bind.split(":")
        if len(parts) not in (2, 3) or not parts[0] or not parts[1].startswith("/"):
            hint = "write it like /var/log:/var/log or /etc/hosts:/etc/hosts:ro"
            self.problem(node.position, path, f"`{bind}` is not a bind mount", hint)
        elif not parts[0].startswith("/"):
            options = parts[2].split(",") if len(parts) == 3 else []
            writable = "ro" not in options or "rw" in options
            self.volume_uses.append(VolumeUse(parts[0], writable, node.position, path))
        return bind

    def tmpfs(self, node: Node, path: str) -> str:
        tmpfs = self.text(node, path)
        if not re.fullmatch(r"/[^:]*(:[^:]*)?", tmpfs):
            hint = "write it like /tmp or /run:size=1m,mode=755"
            self.problem(node.position, path, f"`{tmpfs}` is not a tmpfs mount", hint)
        return tmpfs

    def device(self, node: Node, path: str) -> Device:
        texts = dict.fromkeys(("path", "type", "mode"), self.text)
        numbers = dict.fromkeys(("major", "minor"), self.integer(INT64))
        found = self.table(node, path, {**texts, **numbers}, required=("path", "type"))
        device = Device(**{"path": "", "type": "", **found})
        known = "abc" if device.path == "all" else "bcup"
        if device.type and device.type not in known:
            hint = f"one of {', '.join(known)}"
            message = f"`{device.type}` is not a type of devices"
            self.problem(_place(node, "type"), f"{path}.type", message, hint)
        if "path" in found and device.path != "all" and not device.path.startswith("/"):
            hint = "a path such as /dev/console, or all"
            self.problem(
                _place(node, "path"), f"{path}.path", f"`{device.path}` is not a device's path", hint
            )
        elif device.path != "all" and not re.fullmatch("0*[0-7]{1,4}", device.mode):
            hint = 'write it in octal and quotes, like mode: "0666"'
            self.problem(_place(node, "mode"), f"{path}.mode", f"`{device.mode}` is not a mode", hint)
        return device

    def capability(self, node: Node, path: str) -> str:
        name = self.text(node, path)
        if name.lower() not in ("all", "none") and name not in CAPABILITIES:
            near = difflib.get_close_matches(f"CAP_{name.upper().removeprefix('CAP_')}", CAPABILITIES, n=1)
            hint = f"did you mean {near[0]}?" if near else "write it like CAP_CHOWN"
            self.problem(node.position, path, f"`{name}` is not a capability", hint)
        return name

    def namespace(self, *words: str) -> Read:
        def read(node: Node, path: str) -> str:
            value = self.text(node, path)
            if value and value not in words and not value.startswith("/"):
                hint = f"{', '.join(words)}, or a path such as /run/netns/wg"
                self.problem(node.position, path, f"`{value}` is not a namespace", hint)
            return value

        return read

    def rlimit(self, node: Node, path: str) -> str:
        text = self.text(node, path)
        if rlimit(text) is None:
            names = ", ".join(name.removeprefix("RLIMIT_").lower() for name in RLIMITS)
            hint = f"write NAME,SOFT,HARD, like nofile,1024,unlimited; the names: {names}"
            self.problem(node.position, path, f"`{text}` is not a limit", hint)
        return text

    def id_mapping(self, node: Node, path: str) -> IdMapping:
        fields = dict.fromkeys(("hostID", "containerID", "size"), self.integer(UINT32))
        return IdMapping(**_fields_of(self.table(node, path, fields)))

    def resources(self, node: Node, path: str) -> Mapping[str, Any]:
        int64, uint64 = self.integer(INT64), self.integer(UINT64)
        uint32, uint16 = self.integer(UINT32), self.integer(UINT16)
        number = {"major": int64, "minor": int64}
        throttle = self.rows(number | {"rate": uint64})
        weights = {"weight": uint16, "leafWeight": uint16}
        throttled = ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
        return self.table(
            node,
            path,
            {
                "devices": self.rows({"allow": self.flag, "type": self.text, **number, "access": self.text}),
                "memory": self.row(
                    dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), int64)
                    | {"swappiness": uint64, "disableOOMKiller": self.flag}
                ),
                "cpu": self.row(
                    dict.fromkeys(("quota", "realtimeRuntime"), int64)
                    | dict.fromkeys(("shares", "period", "realtimePeriod"), uint64)
                    | {"cpus": self.text, "mems": self.text}
                ),
                "pids": self.row({"limit": int64}),
                "blockio": self.row(
                    weights
                    | {"weightDevice": self.rows(number | weights)}
                    | {f"throttle{what}Device": throttle for what in throttled}
                ),
                "hugepageLimits": self.rows({"pageSize": self.page_size, "limit": uint64}),
                "network": self.row(
                    {"classID": uint32, "priorities": self.rows({"name": self.text, "priority": uint32})}
                ),
            },
        )

    def page_size(self, node: Node, path: str) -> int:
        size: int = self.integer(INT64)(node, path)
        if size < 1024 or size & (size - 1):
            self.problem(node.position, path, f"{size} is not the size of a page", "in bytes, like 2097152")
        return size

    def runtime(self, node: Node, path: str) -> Runtime:
        texts = self.list_of(self.text)
        kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
        fields: Fields = {
            "cgroups": texts,
            "mounts": self.list_of(self.runtime_mount),
            "mkdir": texts,
            "interfaces": self.list_of(self.interface),
            "bindNS": self.row(dict.fromkeys(kinds, self.text)),
            "namespace": self.text,
        }
        return Runtime(**_fields_of(self.table(node, path, fields)))

    def interface(self, node: Node, path: str) -> Interface:
        fields: Fields = {**dict.fromkeys(("name", "add", "peer"), self.text), "createInRoot": self.flag}
        return Interface(**_fields_of(self.table(node, path, fields)))

    # Volumes and files

    def volume(self, node: Node, path: str) -> Volume | None:
        fields: Fields = {
            "name": self.volume_name,
            "image": self.image,
            "readonly": self.flag,
            "format": self.volume_format,
            "platforms": self.list_of(self.platform),
        }
        found = self.table(node, path, fields, required=("name",))
        if not found.get("name"):
            return None
        assert isinstance(node, MappingNode)
        place = node.entries["name"][1].position
        volume = Volume(position=place, **found)
        self.places.append(("volumes", volume.name, place))
        if volume.platforms and volume.format != "oci":
            self.warn(place, f"{path}.platforms", "has no effect", "only volumes with format: oci have them")
        if volume.format == "oci" and not volume.image:
            self.problem(place, path, "must have `image`, since its format is oci")
        return volume

    def volume_name(self, node: Node, path: str) -> str:
        name = self.text(node, path)
        if not re.fullmatch(f"[a-z0-9_-]{{1,{MAX_NAME_BYTES}}}", name):
            hint = "use lower-case letters, digits, - and _"
            self.problem(node.position, path, f"`{name}` is not a volume's name", hint)
        return name

    def volume_format(self, node: Node, path: str) -> str:
        name = self.text(node, path)
        if name not in ("oci", "filesystem"):
            self.problem(node.position, path, f"`{name}` is not a format", "oci or filesystem")
        return name

    def platform(self, node: Node, path: str) -> str:
        platform = self.text(node, path)
        if not re.fullmatch("[a-z0-9_]+(/[a-z0-9_]+){1,2}", platform):
            self.problem(node.position, path, f"`{platform}` is not a platform", "write it like linux/amd64")
        return platform

    def file(self, node: Node, path: str) -> FileEntry | None:
        texts = ("symlink", "contents", "source", "metadata")
        fields: Fields = {
            "path": self.path,
            **dict.fromkeys(("directory", "optional"), self.flag),
            **dict.fromkeys(("symlink", "source"), self.target),
            **dict.fromkeys(("contents", "metadata"), self.text),
            "mode": self.mode,
            "uid": self.id,
            "gid": self.id,
        }
        found = self.table(node, path, fields, required=("path",))
        if not found.get("path"):
            return None
        kinds = [
            key for key in ("directory", *texts) if found.get(key) or (key in found and key == "contents")
        ]
        unread = any(_place(node, key) in self._unread for key in ("directory", *texts))
        if len(kinds) > 1:
            self.problem(node.position, path, f"cannot have both `{kinds[0]}` and `{kinds[1]}`")
        elif not kinds and not unread:
            hint = 'add `contents` (contents: "" for an empty file), `source`, `symlink` or `directory`'
            self.problem(node.position, path, "says nothing of what the file is", hint)
        if found.get("metadata", "yaml") not in ("yaml", "json"):
            self.problem(_place(node, "metadata"), f"{path}.metadata", "must be yaml or json")
        return FileEntry(position=node.position, folder=self.folder, **found)

    def path(self, node: Node, path: str) -> str:
        written = self.text(node, path)
        parts = [part for part in written.split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            self.problem(node.position, path, "must name a file inside the image")
            return ""
        if max(map(_bytes, parts)) > MAX_NAME_BYTES or _bytes(written) > MAX_PATH_BYTES:
            self.problem(node.position, path, "is longer than Linux allows")
            return ""
        return written

    def target(self, node: Node, path: str) -> str:
        target = self.text(node, path)
        if _bytes(target) > MAX_PATH_BYTES:
            self.problem(node.position, path, "is longer than Linux allows")
        return target

    def mode(self, node: Node, path: str) -> str:
        text = self.text(node, path, hint='write it in quotes, like "0644"')
        if text and not re.fullmatch("0*[0-7]{1,4}", text):
            hint = 'write it in quotes, like "0644"'
            self.problem(node.position, path, f"`{text}` is not a file mode", hint)
        return text

    # Scalars and collections

    def name(self, node: Node, path: str) -> str:
        name = self.text(node, path)
        too_long = _bytes(name) > MAX_NAME_BYTES - 10
        if too_long:
            self.problem(node.position, path, f"is longer than {MAX_NAME_BYTES - 10} bytes")
        elif name and (name in (".", "..") or not _NAME.fullmatch(name)):
            self.mismatch(node, path, "a name", "use letters, digits, - _ and .")
        elif not name and isinstance(node, ScalarNode) and isinstance(node.value, str):
            self.problem(node.position, path, "must not be empty")
        return name

    def image(self, node: Node, path: str) -> str:
        reference = self.text(node, path)
        if reference.startswith(PACKAGE):
            reference = f"{PACKAGE}{self.folder / reference.removeprefix(PACKAGE)}"
            self.positions.setdefault(reference, node.position)
        elif reference:
            self.positions.setdefault(reference, node.position)
            self.reference(reference, node.position)
        elif isinstance(node, ScalarNode) and node.value == "" and not path.startswith(("kernel", "volumes")):
            self.problem(node.position, path, "must not be empty")
        return reference

    def reference(self, reference: str, position: Position) -> None:
        if is_local(reference):
            return
        try:
            parse_reference(reference)
        except InputError as error:
            self.problems += (replace(problem, position=position) for problem in error.problems)

    def id(self, node: Node, path: str) -> Id:
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, str):
            if value not in ROOT:
                self.id_uses.append(IdUse(value, node.position, path))
            return value
        number: int = self.integer(UINT32)(node, path)
        return number

    def integer(self, bounds: range) -> Read:
        def read(node: Node, path: str) -> int:
            value = node.value if isinstance(node, ScalarNode) else None
            if not isinstance(value, int) or isinstance(value, bool):
                self.mismatch(node, path, "a whole number")
            elif value not in bounds:
                start = (
                    "0 or more" if bounds.start == 0 and value < 0 else f"{bounds.start} to {bounds.stop - 1}"
                )
                self.mismatch(node, path, f"a whole number, {start},")
            else:
                return value
            return 0

        return read

    def text(self, node: Node, path: str, hint: str | None = None) -> str:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            if "\0" in node.value and not path.endswith(".contents"):
                self.mismatch(node, path, "text without NUL characters")
                return ""
            return node.value
        if hint is None and isinstance(node, ScalarNode) and node.value is not None:
            hint = f'put it in quotes: "{node.text}"'
        self.mismatch(node, path, "text", hint)
        return ""

    def flag(self, node: Node, path: str) -> bool:
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        yes_or_no = isinstance(node, ScalarNode) and isinstance(resolve(node.text or "~"), bool)
        hint = "write true or false without quotes" if yes_or_no else None
        self.mismatch(node, path, "true or false", hint)
        return False

    def pairs(self, node: Node, path: str) -> Pairs:
        if not isinstance(node, MappingNode):
            self.mismatch(node, path, "a mapping")
            return ()
        return tuple((key, self.text(child, f"{path}.{key}")) for key, (_, child) in node.entries.items())

    def row(self, fields: Fields) -> Read:
        return lambda node, path: self.table(node, path, fields)

    def rows(self, fields: Fields) -> Read:
        return self.list_of(self.row(fields))

    def table(self, node: Node, path: str, fields: Fields, required: Sequence[str] = ()) -> dict[str, Any]:
        """The values of a mapping's keys."""
        if not isinstance(node, MappingNode):
            self.mismatch(node, path, "a mapping")
            return {}
        values: dict[str, Any] = {}
        for key, (place, child) in node.entries.items():
            where = f"{path}.{key}" if path else key
            if key not in fields:
                self.problem(place, where, "is not a key of LinuxKit", _nearest(key, fields))
                continue
            value = fields[key](child, where)
            if value is not None:
                values[key] = value
        for key in required:
            if key not in node.entries:
                self.problem(node.position, path, f"must have `{key}`")
        return values

    def list_of(self, read: Read) -> Read:
        def read_list(node: Node, path: str) -> tuple[Any, ...] | None:
            if not isinstance(node, SequenceNode):
                self.mismatch(node, path, "a list")
                return None
            return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(node.items))

        return read_list

    def mismatch(self, node: Node, path: str, wanted: str, hint: str | None = None) -> None:
        if isinstance(node, ScalarNode) and node.value is None:
            hint = "remove the key, or give it a value"
        self.problem(node.position, path, f"must be {wanted} and is {described(node)}", hint)
        self._unread.add(node.position)

    def problem(self, position: Position, path: str, message: str, hint: str | None = None) -> None:
        if position in self._unread:
            return
        where = f"{path}: " if path else "the LinuxKit template "
        self.problems.append(Problem(where + message, position, hint))

    def warn(self, position: Position, path: str, message: str, hint: str | None = None) -> None:
        self.warnings.append(Problem(f"{path}: {message}", position, hint))

    def in_label(self, where: str, position: Position) -> list[Problem]:
        """The problems of a label, whose own lines tell nobody anything."""
        return [
            replace(problem, message=f"{where}: {problem.message}", position=position)
            for problem in self.problems
        ]


def _place(node: Node, key: str) -> Position:
    """Where a key's value is, or else what it is missing in."""
    child = node.get(key) if isinstance(node, MappingNode) else None
    return child.position if child else node.position


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


# What other formats call it, in lower case, where the letters do not give it away.
_ELSEWHERE = {
    "args": "command",
    "cmd": "command",
    "entrypoint": "command",
    "environment": "env",
    "workdir": "cwd",
    "workingdir": "cwd",
    "working_dir": "cwd",
    "user": "uid",
    "runasuser": "uid",
    "group": "gid",
    "volumes": "binds",
    "volumemounts": "binds",
    "cap_add": "capabilities",
    "ulimits": "rlimits",
    "sysctls": "sysctl",
    "network_mode": "net",
    "read_only": "readonly",
    "content": "contents",
    "permissions": "mode",
}


def _nearest(key: str, fields: Fields) -> str | None:
    words = {word: known for word, known in _ELSEWHERE.items() if known in fields}
    near = difflib.get_close_matches(key, fields, n=1) or difflib.get_close_matches(key.lower(), words, n=1)
    if near:
        return f"did you mean `{words.get(near[0], near[0])}`?"
    # Nobody reads a list of all keys of a container.
    return f"known here: {', '.join(fields)}" if len(fields) <= 12 else None


def _fields_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """LinuxKit's keys as the names of fields: `capabilities.add`, `bindNS` and `hostID` as well."""
    return {
        re.sub("[A-Z]+", lambda match: "_" + match[0].lower(), key.replace(".", "_")): value
        for key, value in found.items()
    }
