"""LinuxKit's YAML as values, with a place for everything that is wrong with it.

In: the text of one template. Out: a Template, or an InputError with every problem. Pure.

What is read is what `template` writes, and `onboot` and `files` beside it; any other key is
refused where it stands, never skipped. Source: LinuxKit, docs/yaml.md and
src/cmd/linuxkit/moby/schema.go.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from i2kit.errors import InputError, Position, Problem
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, described, documents
from i2kit.model import Pairs

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""LinuxKit takes any name, and makes folders of it."""


@dataclass(frozen=True, slots=True)
class Mount:
    """An OCI mount as written; what is absent follows from the rest (see `spec`)."""

    type: str = ""
    source: str = ""
    destination: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerEntry:
    """An entry of `onboot` or `services`. None and "" stand for what is not said."""

    name: str
    image: str
    position: Position
    """Where the image is named."""
    capabilities: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    binds: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    cwd: str = ""
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    readonly: bool = False
    no_new_privileges: bool = False
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    resources: Mapping[str, Mapping[str, int]] | None = None
    annotations: Pairs = ()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of `files`: a directory, a symbolic link, or a file with `contents`."""

    path: str
    directory: bool = False
    symlink: str = ""
    contents: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """One LinuxKit template. `positions` says where each image is named."""

    kernel: str
    cmdline: str
    init: tuple[str, ...]
    onboot: tuple[ContainerEntry, ...]
    services: tuple[ContainerEntry, ...]
    files: tuple[FileEntry, ...]
    positions: Mapping[str, Position]


def parse(name: str, text: str) -> Template:
    """Read the template `text` of the file `name`. Raises InputError with all problems."""
    found, problems = documents(name, text.encode())
    if problems:
        raise InputError(problems)
    if len(found) != 1:
        start = found[1].position if found else Position(name, 1, 1)
        what = "is only one of several documents" if found else "is empty"
        raise InputError([Problem(f"the LinuxKit template {what}", start, hint="give one template")])
    reader = _Reader()
    template = reader.template(found[0])
    if reader.problems:
        raise InputError(sorted(reader.problems, key=lambda problem: problem.position or Position("", 0, 0)))
    return template


Value = TypeVar("Value")
Read = Callable[[Node, str], Any]


class _Reader:
    """Nodes to values. Each method takes a node and its path, and notes what does not fit."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.positions: dict[str, Position] = {}

    def template(self, node: Node) -> Template:
        top = self.table(
            node,
            "",
            {
                "kernel": self.kernel,
                "init": self.list_of(self.image),
                "onboot": self.list_of(self.container),
                "services": self.list_of(self.container),
                "files": self.list_of(self.file),
            },
            required=("kernel",),
        )
        kernel = top.get("kernel") or {}
        services = tuple(entry for entry in top.get("services", ()) if entry)
        seen: set[str] = set()
        for entry in services:
            if entry.name in seen:
                self.problem(entry.position, "services", f"has two entries with the name `{entry.name}`")
            seen.add(entry.name)
        return Template(
            kernel=kernel.get("image") or "",
            cmdline=kernel.get("cmdline") or "",
            init=top.get("init", ()),
            onboot=tuple(entry for entry in top.get("onboot", ()) if entry),
            services=services,
            files=tuple(entry for entry in top.get("files", ()) if entry),
            positions=self.positions,
        )

    def kernel(self, node: Node, path: str) -> dict[str, Any]:
        return self.table(node, path, {"image": self.image, "cmdline": self.text}, required=("image",))

    def container(self, node: Node, path: str) -> ContainerEntry | None:
        texts, numbers = self.list_of(self.text), self.list_of(self.number)
        found = self.table(
            node,
            path,
            {
                "name": self.name,
                "image": self.image,
                "capabilities": self.list_of(self.capability),
                "mounts": self.list_of(self.mount),
                "binds": self.list_of(self.bind),
                "command": texts,
                "env": texts,
                "cwd": self.text,
                "uid": self.number,
                "gid": self.number,
                "additionalGids": numbers,
                "readonly": self.flag,
                "noNewPrivileges": self.flag,
                "maskedPaths": texts,
                "readonlyPaths": texts,
                "resources": self.resources,
                "annotations": self.annotations,
            },
            required=("name", "image"),
        )
        if not found.get("name") or not found.get("image"):
            return None
        renamed = {re.sub("[A-Z]", lambda match: "_" + match[0].lower(), key): found[key] for key in found}
        return ContainerEntry(position=self.positions[found["image"]], **renamed)

    def file(self, node: Node, path: str) -> FileEntry | None:
        found = self.table(
            node,
            path,
            {
                "path": self.path,
                "directory": self.flag,
                "symlink": self.text,
                "contents": self.text,
                "mode": self.mode,
                "uid": self.number,
                "gid": self.number,
            },
            required=("path",),
        )
        kinds = [key for key in ("directory", "symlink", "contents") if found.get(key)]
        if len(kinds) > 1:
            self.problem(node.position, path, f"cannot have both `{kinds[0]}` and `{kinds[1]}`")
        return FileEntry(**found) if found.get("path") else None

    def mount(self, node: Node, path: str) -> Mount:
        fields: dict[str, Read] = dict.fromkeys(("type", "source", "destination"), self.text)
        return Mount(**self.table(node, path, {**fields, "options": self.list_of(self.text)}))

    def resources(self, node: Node, path: str) -> Mapping[str, Mapping[str, int]]:
        def memory(node: Node, path: str) -> Mapping[str, int]:
            return self.table(node, path, {"limit": self.number})

        def cpu(node: Node, path: str) -> Mapping[str, int]:
            return self.table(node, path, dict.fromkeys(("shares", "quota", "period"), self.number))

        return self.table(node, path, {"memory": memory, "cpu": cpu})

    def annotations(self, node: Node, path: str) -> Pairs:
        if not isinstance(node, MappingNode):
            self.mismatch(node, path, "a mapping")
            return ()
        return tuple((key, self.text(child, f"{path}.{key}")) for key, (_, child) in node.entries.items())

    def table(
        self, node: Node, path: str, fields: Mapping[str, Read], required: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The values of a mapping's keys; null and wrong ones are left out."""
        if not isinstance(node, MappingNode):
            self.mismatch(node, path, "a mapping")
            return {}
        values: dict[str, Any] = {}
        for key, (place, child) in node.entries.items():
            where = f"{path}.{key}" if path else key
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(fields)}"
                self.problem(place, where, "is not supported", hint)
            elif not (isinstance(child, ScalarNode) and child.value is None):
                value = fields[key](child, where)
                if value is not None:
                    values[key] = value
        for key in required:
            if node.get(key) is None:
                self.problem(node.position, path, f"must have `{key}`")
        return values

    def list_of(self, read: Read) -> Read:
        def read_list(node: Node, path: str) -> tuple[Any, ...] | None:
            if not isinstance(node, SequenceNode):
                self.mismatch(node, path, "a list")
                return None
            return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(node.items))

        return read_list

    def text(self, node: Node, path: str) -> str:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return node.value
        self.mismatch(node, path, "text")
        return ""

    def number(self, node: Node, path: str) -> int:
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self.mismatch(node, path, "a whole number, 0 or more,")
        return 0

    def flag(self, node: Node, path: str) -> bool:
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        self.mismatch(node, path, "true or false")
        return False

    def name(self, node: Node, path: str) -> str:
        name = self.text(node, path)
        if name and not NAME.fullmatch(name):
            self.problem(node.position, path, f"`{name}` is not a name", "use letters, digits, - _ and .")
        return name

    def image(self, node: Node, path: str) -> str:
        reference = self.text(node, path)
        self.positions.setdefault(reference, node.position)
        return reference

    def capability(self, node: Node, path: str) -> str:
        name = self.text(node, path)
        if name and not re.fullmatch("CAP_[A-Z_]+", name):
            self.problem(node.position, path, f"`{name}` is not a capability", "write it like CAP_CHOWN")
        return name

    def bind(self, node: Node, path: str) -> str:
        bind = self.text(node, path)
        if bind and not re.fullmatch(r"/[^:]*:/[^:]*(:[^:]*)?", bind):
            hint = "write it like /var/log:/var/log or /etc/hosts:/etc/hosts:ro"
            self.problem(node.position, path, f"`{bind}` is not a bind mount", hint)
        return bind

    def path(self, node: Node, path: str) -> str:
        parts = [part for part in self.text(node, path).split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            self.problem(node.position, path, "must name a file inside the image")
            return ""
        return "/".join(parts)

    def mode(self, node: Node, path: str) -> int | None:
        text = self.text(node, path)
        if re.fullmatch("0?[0-7]{3,4}", text):
            return int(text, 8)
        self.problem(node.position, path, f"`{text}` is not a file mode", 'write it in quotes, like "0644"')
        return None

    def mismatch(self, node: Node, path: str, wanted: str) -> None:
        self.problem(node.position, path, f"must be {wanted} and is {described(node)}")

    def problem(self, position: Position, path: str, message: str, hint: str | None = None) -> None:
        where = f"{path}: " if path else "the LinuxKit template "
        self.problems.append(Problem(where + message, position, hint))
