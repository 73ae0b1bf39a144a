"""What the containers of a compose file mount: disks, memory, and files that go into the machine image.

In: records of the table, and what lies beside the file. Out: Volumes and Mounts, secrets; problems in the
log. Files of the host are copied when they are small, since machines do not share the host's folders. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from i2kit.errors import Position
from i2kit.manifest.around import Around, TooMuch, contents, tree
from i2kit.manifest.compose.labels import Labels
from i2kit.manifest.compose.project import Project, label
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.reading import Config, Reference
from i2kit.manifest.tables import names, quantity
from i2kit.manifest.tables.compose_labels import SIZE, STORAGE_CLASS, SUB_PATH
from i2kit.manifest.tables.shape import Record
from i2kit.model import Claim, File, Files, Mount, Scratch, SecretKey, Volume

SIZE_BYTES = 2**30
COPIED = "is copied into the machine image: containers cannot write to it, and changes need another deploy"
NAMED = "for data use a named volume: NAME:/PATH, and NAME at the top level under volumes"

_CLOCK = ("/etc/localtime", "/etc/timezone")


@dataclass(slots=True)
class Mounted:
    """What a service mounts. `placed` are paths in the container, and where each is written."""

    volumes: list[Volume] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)
    placed: list[tuple[str, Position, str]] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    secrets: list[Config] = field(default_factory=list)
    """Those whose values are known."""
    needed: list[Reference] = field(default_factory=list)
    """Keys of Secrets that the volumes hold."""

    def add(self, volume: Volume, mount: Mount, position: Position, path: str) -> None:
        if all(one.name != volume.name for one in self.volumes):
            self.volumes.append(volume)
        self.mounts.append(mount)
        self.placed.append((mount.path, position, path))


def why(error: OSError | TooMuch) -> str:
    """Why a file cannot be used, in words that follow its name."""
    if isinstance(error, OSError):
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    return str(error)


def unique_paths(placed: Iterable[tuple[str, Position, str]], log: Log) -> None:
    first: dict[str, Position] = {}
    for path, position, written in placed:
        if path in first:
            message = f"`{shown(path)}` is mounted already, at {first[path]}"
            log.problem(position, written, message, "leave one of them out")
        first.setdefault(path, position)


class Disks:
    """The named volumes of a project: each a disk, which is in one machine only."""

    def __init__(self, one: Project, services: Mapping[str, Record]) -> None:
        self._project = one
        self._known: dict[str, Record] = dict(one.top.named("volumes"))
        self._users: dict[str, list[str]] = {}
        for name, record in services.items():
            for source in {
                mount.text("source") for mount in record.items("volumes") if _kind(mount) == "volume"
            }:
                if source:
                    self._users.setdefault(source, []).append(name)

    def of(self, record: Record, labels: Labels, around: Around, log: Log) -> Mounted:
        """What `volumes`, `tmpfs` and `shm_size` of a service say."""
        found = Mounted()
        for index, mount in enumerate(record.items("volumes")):
            target = mount.text("target")
            if target is None:
                continue
            if complaint := _target(target):
                log.problem(mount.place("target"), mount.path, *complaint)
                continue
            match _kind(mount):
                case "volume":
                    self._disk(found, mount, target, labels, log)
                case "bind":
                    self._bind(found, index, mount, target, around, log)
                case "tmpfs":
                    options = mount.record("tmpfs")
                    size = options.whole("size") if options else None
                    scratch = Volume(f"tmpfs-{index}", Scratch(memory=True, limit_bytes=size))
                    found.add(scratch, Mount(scratch.name, target), mount.place("target"), mount.path)
        _check_hidden(record, found, log)
        for index, one in enumerate(record.items("tmpfs")):
            target = one.text("target") or ""
            if complaint := _target(target):
                log.problem(one.place("target"), one.path, *complaint)
                continue
            scratch = Volume(f"memory-{index}", Scratch(memory=True, limit_bytes=one.whole("size")))
            found.add(scratch, Mount(scratch.name, target), one.place("target"), one.path)
        if size := record.whole("shm_size"):
            shared = Volume("shm", Scratch(memory=True, limit_bytes=size))
            found.add(shared, Mount("shm", "/dev/shm"), record.place("shm_size"), record.at("shm_size"))  # noqa: S108 (in the container)
        return found

    def _disk(self, found: Mounted, mount: Record, target: str, labels: Labels, log: Log) -> None:
        name = mount.text("source")
        place = mount.place("source"), mount.path
        if name is None:
            # Without a name it holds what the image has there, and goes with its container: as without it.
            return
        top = self._known.get(name)
        if top is None:
            hint = (
                did_you_mean(name, list(self._known))
                or f"write it at the top level: volumes: {{{shown(name)}: }}"
            )
            log.problem(*place, f"there is no volume `{shown(name)}`", hint)
            return
        if labels.volume_type == "emptydir":
            scratch = Volume(f"scratch-{label(name)}", Scratch())
            read_only = mount.flag("read_only") or False
            found.add(scratch, Mount(scratch.name, target, "", read_only), *place)
            return
        users = self._users.get(name, [])
        if len(users) > 1:
            message = f"a disk is in one machine only, and `{shown(name)}` is used by {', '.join(users)}"
            log.problem(*place, message, "have one service keep the files, and the others ask it")
            return
        options = mount.record("volume")
        volume = Volume(
            f"disk-{label(name)}",
            Claim(self._claim(name, top, log), self._size(top, labels, log), kind=labels.text(STORAGE_CLASS)),
        )
        found.claims.append(name)
        sub_path = (options.text("subpath") if options else None) or labels.text(SUB_PATH) or ""
        if complaint := names.sub_path(sub_path):
            log.problem(*place, *complaint)
        read_only = mount.flag("read_only") or False
        empty = mount.flag("nocopy") or (options.flag("nocopy") if options else False)
        found.add(volume, Mount(volume.name, target, sub_path, read_only, filled=not empty), *place)

    def _claim(self, name: str, top: Record, log: Log) -> str:
        outside, called = is_external(top), _name_outside(top)
        if outside:
            message = "is a disk of this name, which is made where there is none yet"
            log.warn(top.place("external"), top.path, message)
        return label(called or (name if outside else f"{self._project.name}-{name}"), 63)

    def _size(self, top: Record, labels: Labels, log: Log) -> int:
        own = next((one for one in top.items("labels") if one.name == SIZE), None)
        text = own.value if own else labels.text(SIZE)
        if text is None:
            log.warn(
                top.position, top.path, f"has 1Gi; the label `{SIZE}: 10Gi` gives it another size", kind=""
            )
            return SIZE_BYTES
        try:
            return quantity.bytes_(text)
        except quantity.QuantityError as error:
            log.problem(
                own.position if own else top.position, own.path if own else top.path, str(error), error.hint
            )
            return SIZE_BYTES

    def _bind(self, found: Mounted, index: int, mount: Record, target: str, around: Around, log: Log) -> None:
        source = mount.text("source")
        place = mount.place("source"), mount.path
        if source is None:
            log.problem(*place, "`source` is missing", "name a file relative to the compose file")
            return
        if source.rstrip("/") in _CLOCK:
            log.warn(*place, "has no effect: machines are in UTC; set the variable TZ")
            return
        if PurePosixPath(source).name == "docker.sock":
            message = "is not possible: there is no docker in a machine"
            log.problem(*place, message, "leave out what starts or watches other containers")
            return
        if source.startswith(("/", "~")):
            message = f"`{shown(source)}` is a path of the host, and machines do not share its folders"
            hint = f"put the files beside the compose file, and write ./NAME; {NAMED}"
            log.problem(*place, message, hint)
            return
        full = str(PurePosixPath(self._project.folder, source))
        files = _copied(source, full, place, around, log)
        if files is None:
            return
        single = len(files) == 1 and files[0].path == "" and files[0]
        volume = Volume(
            f"files-{index}",
            Files((File("file", files[0].mode, files[0].data),) if single else tuple(files)),
        )
        found.add(volume, Mount(volume.name, target, "file" if single else "", True), *place)
        if not mount.flag("read_only"):
            log.warn(*place, COPIED, kind="")


def _copied(
    source: str, full: str, place: tuple[Position, str], around: Around, log: Log
) -> list[File] | None:
    """The files that a path stands for; one without a path for a single file. None after a problem."""
    try:
        match around.kind(full):
            case "file":
                executable, data = contents(full, around)
                return [File("", 0o755 if executable else 0o644, data)]
            case "folder":
                found = tree(full, around)
                if found:
                    return [File(path, 0o755 if runs else 0o644, data) for path, runs, data in found]
                log.problem(
                    *place, f"the folder `{shown(source)}` is empty, so there is nothing to copy", NAMED
                )
            case "other":
                message = f"`{shown(source)}` is neither a file nor a folder"
                log.problem(*place, message, "machines do not share what the host has")
            case _:
                hint = f"name it relative to the compose file; {NAMED}"
                log.problem(*place, f"`{shown(source)}` does not exist", hint)
    except (OSError, TooMuch) as error:
        hint = f"copy it into the image with COPY in its Dockerfile; {NAMED}"
        log.problem(*place, f"`{shown(source)}` {why(error)}, and is not copied", hint)
    return None


def is_external(top: Record) -> bool:
    """Whether a volume, a secret or a config is said to be there already."""
    external = top.record("external")
    return bool(external and (external.flag("is") or external.has("name")))


def _name_outside(top: Record) -> str | None:
    external = top.record("external")
    return top.text("name") or (external.text("name") if external else None)


def _check_hidden(record: Record, found: Mounted, log: Log) -> None:
    """An anonymous volume below a copied folder is meant to keep what the image has there."""
    copied = [
        mount.path for mount in found.mounts if mount.volume.startswith("files-") and not mount.sub_path
    ]
    for mount in record.items("volumes"):
        target = mount.text("target") or ""
        if _kind(mount) != "volume" or mount.has("source"):
            continue
        for above in copied:
            if target.startswith(f"{above.rstrip('/')}/"):
                message = (
                    f"what the image has at `{shown(target)}` is hidden by what is copied to `{shown(above)}`"
                )
                hint = f"leave out both: the image has its files at {shown(above)}"
                log.problem(mount.place("target"), mount.path, message, hint)


def _kind(mount: Record) -> str:
    return mount.text("type") or ""


def _target(path: str) -> names.Complaint | None:
    if complaint := names.directory(path):
        return complaint
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or ".." in parts:
        return f"`{shown(path)}` cannot be mounted over", "such as /data"
    return None


def files_of(one: Project, record: Record, around: Around, log: Log) -> Mounted:
    """What `configs` and `secrets` of a service say."""
    found = Mounted()
    for index, each in enumerate(record.items("configs")):
        name = each.text("source")
        top = _top(one, "configs", name, each, log)
        if name is None or top is None:
            continue
        data = _value(one, top, "config", name, around, log)
        target = each.text("target") or f"/{name}"
        if complaint := _target(target):
            log.problem(each.place("target"), each.path, *complaint)
        elif data is not None:
            volume = Volume(f"config-{index}", Files((File("file", _mode(each, log), data),)))
            found.add(volume, Mount(volume.name, target, "file", True), each.place("source"), each.path)
    _secrets(found, one, record, around, log)
    return found


def _secrets(found: Mounted, one: Project, record: Record, around: Around, log: Log) -> None:
    for index, each in enumerate(record.items("secrets")):
        name = each.text("source")
        top = _top(one, "secrets", name, each, log)
        if name is None or top is None:
            continue
        called = label(f"{one.name}-{name}", 63)
        if is_external(top):
            # As --secret names it.
            called = label(_name_outside(top) or name, 63)
        elif (value := _value(one, top, "secret", name, around, log)) is not None:
            found.secrets.append(Config("Secret", "default", called, {KEY: value}, position=top.position))
        else:
            continue
        found.needed.append(Reference("Secret", called, each.place("source"), each.path, KEY))
        target = each.text("target") or name
        path = target if target.startswith("/") else f"/run/secrets/{target}"
        if complaint := _target(path):
            log.problem(each.place("target"), each.path, *complaint)
            continue
        file = File("file", _mode(each, log), secret=SecretKey(called, KEY))
        volume = Volume(f"secret-{index}", Files((file,)))
        found.add(volume, Mount(volume.name, path, "file", True), each.place("source"), each.path)


KEY = "value"
"""The one key of a secret of a compose file."""


def _top(one: Project, key: str, name: str | None, each: Record, log: Log) -> Record | None:
    known: dict[str, Record] = dict(one.top.named(key))
    if name is not None and name not in known:
        hint = did_you_mean(name, list(known)) or f"write it at the top level, under {key}"
        log.problem(each.place("source"), each.path, f"`{shown(name)}` is not in the top-level `{key}`", hint)
    return known.get(name) if name is not None else None


def _value(one: Project, top: Record, what: str, name: str, around: Around, log: Log) -> bytes | None:
    """The content of a config or a secret. None after a problem."""
    content, variable, path = top.text("content"), top.text("environment"), top.text("file")
    if content is not None:
        return content.encode()
    if variable is not None:
        value = one.lookup(variable)
        if value is None:
            message = f"the variable `{shown(variable)}` is not set"
            log.problem(top.place("environment"), top.at("environment"), message, "set it before the deploy")
            return None
        return value.encode()
    if path is None:
        if is_external(top):
            message = "is external, and there is no place that it could come from"
            log.problem(top.position, top.path, message, "give it as a file")
        elif not any(map(top.is_wrong, ("content", "environment", "file"))):
            log.problem(top.position, top.path, f"has no {what}", "write file: PATH")
        return None
    full = path if path.startswith("/") else str(PurePosixPath(one.folder, path))
    try:
        if around.kind(full) == "file":
            return contents(full, around)[1]
        message = f"the file `{shown(path)}` does not exist"
    except (OSError, TooMuch) as error:
        message = f"the file `{shown(path)}` {why(error)}"
    log.problem(top.place("file"), top.at("file"), message, "name it relative to the compose file")
    return None


def _mode(each: Record, log: Log) -> int:
    """Permissions; to YAML, 0440 is the number 288, and text is octal."""
    text = each.text("mode")
    if text is None:
        return 0o444
    digits = text.removeprefix("0o").lstrip("0") or "0"
    if not re.fullmatch(r"[0-7]{1,4}", digits) or int(digits, 8) > 0o777:
        log.problem(each.place("mode"), each.at("mode"), f"`{shown(text)}` is no mode", "such as 0440")
        return 0o444
    return int(digits, 8)
