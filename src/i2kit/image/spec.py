"""An entry of a LinuxKit template as the files that the guest starts its container from.

In: the entry, the image's config and where its filesystem lies. Out: the JSON of `config.json`
(OCI runtime spec, config.md) and of LinuxKit's `runtime.json` (docs/yaml.md, "runtime"). Pure.
"""

from typing import Any

from i2kit.image.linuxkit import ContainerEntry, Mount
from i2kit.model import ImageConfig

OCI_VERSION = "1.0.2"
"""LinuxKit writes 1.2.1, which crun before 1.9 refuses; nothing written here is newer than 1.0."""

Json = dict[str, Any]

# What every container has; LinuxKit, src/cmd/linuxkit/moby/config.go.
DEFAULT_MOUNTS = (
    Mount("proc", "proc", "/proc", ("nosuid", "nodev", "noexec", "relatime")),
    Mount("tmpfs", "tmpfs", "/dev", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("devpts", "devpts", "/dev/pts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
    Mount("sysfs", "sysfs", "/sys", ("nosuid", "noexec", "nodev")),
    Mount("cgroup", "cgroup", "/sys/fs/cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)
MADE_READONLY = ("/dev", "/sys")
"""Default mounts that a read-only container cannot write to either."""

# Where a mount goes that says only its type.
DESTINATIONS = {
    "proc": "/proc",
    "devpts": "/dev/pts",
    "sysfs": "/sys",
    "cgroup": "/sys/fs/cgroup",
    "mqueue": "/dev/mqueue",
}
KERNEL_FILESYSTEMS = frozenset(DESTINATIONS)


def oci_config(entry: ContainerEntry, image: ImageConfig) -> Json:
    """`config.json`. A command or env of the entry replaces the image's as a whole, as in LinuxKit."""
    command = entry.command if entry.command is not None else (*image.entrypoint, *image.cmd)
    env = entry.env if entry.env is not None else [f"{name}={value}" for name, value in image.env]
    user: Json = {"uid": entry.uid, "gid": entry.gid}
    if entry.additional_gids:
        user["additionalGids"] = list(entry.additional_gids)
    process: Json = {
        "user": user,
        "args": list(command),
        "env": list(env),
        "cwd": entry.cwd or image.working_dir or "/",
        "capabilities": capabilities(entry.capabilities),
    }
    if entry.no_new_privileges:
        process["noNewPrivileges"] = True
    linux: Json = {
        "resources": {key: dict(value) for key, value in (entry.resources or {}).items()},
        "namespaces": [{"type": "pid"}, {"type": "mount"}],
    }
    if entry.masked_paths:
        linux["maskedPaths"] = list(entry.masked_paths)
    if entry.readonly_paths:
        linux["readonlyPaths"] = list(entry.readonly_paths)
    config: Json = {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": "rootfs", **({"readonly": True} if entry.readonly else {})},
        "mounts": [mount_json(mount) for mount in mounts(entry)],
    }
    if entry.annotations:
        config["annotations"] = dict(entry.annotations)
    return {**config, "linux": linux}


def capabilities(names: tuple[str, ...]) -> Json:
    if not names:
        return {}
    ordered = sorted(names)
    return {
        "bounding": ordered,
        "effective": list(names),
        "inheritable": ordered,
        "permitted": ordered,
    }


def mounts(entry: ContainerEntry) -> list[Mount]:
    """The default mounts, the binds, then the mounts; the last one for a destination counts."""
    found: dict[str, Mount] = {}
    for mount in DEFAULT_MOUNTS:
        options = mount.options
        if entry.readonly and mount.destination in MADE_READONLY:
            options = (*options, "ro")
        found[mount.destination] = Mount(mount.type, mount.source, mount.destination, options)
    for bind in entry.binds:
        source, destination, *rest = bind.split(":")
        options = (*rest[0].split(","), "rbind") if rest else ("rw", "rbind", "rshared")
        found[destination] = Mount("bind", source, destination, options)
    for mount in entry.mounts:
        completed = complete(mount)
        found[completed.destination] = completed
    return [found[destination] for destination in sorted(found)]


def complete(mount: Mount) -> Mount:
    """Fill in what a mount leaves unsaid, as LinuxKit does."""
    kind = mount.type
    if not kind:
        if mount.source in KERNEL_FILESYSTEMS:
            kind = mount.source
        elif mount.destination == "/dev":
            kind = "devtmpfs"
    return Mount(
        kind,
        mount.source or kind,
        mount.destination or DESTINATIONS.get(kind, ""),
        mount.options,
    )


def mount_json(mount: Mount) -> Json:
    parts = {
        "destination": mount.destination,
        "type": mount.type,
        "source": mount.source,
        "options": list(mount.options),
    }
    return {key: value for key, value in parts.items() if value}


def runtime_config(folder: str, unpacked: str, *, readonly: bool) -> Json:
    """`runtime.json` of the container in `folder`: how its root filesystem comes to be.

    `unpacked` is the folder of the unpacked image, which another container may share: it is bound
    as it is, or it lies below a writable overlay.
    """
    root, upper = f"{folder}/rootfs", f"{folder}/tmp"  # noqa: S108 (a folder in the image)
    steps: list[Json]
    if readonly:
        steps = [{"destination": root, "source": unpacked, "options": ["bind"]}]
    else:
        layers = [f"lowerdir={unpacked}", f"upperdir={upper}/upper", f"workdir={upper}/work"]
        steps = [
            {"destination": upper, "type": "tmpfs", "source": "tmpfs"},
            {"destination": upper, "options": ["remount", "private"]},
            {"destination": root, "type": "overlay", "source": "overlay", "options": layers},
        ]
    return {
        "cgroups": [],
        "mounts": steps,
        "mkdir": [],
        "interfaces": [],
        "bindNS": dict.fromkeys(("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"), ""),
        "namespace": "",
    }
