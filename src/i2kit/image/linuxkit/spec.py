"""An entry of a LinuxKit template as the files that the guest starts its container from.

In: what entry and label say together, the image's config and where its filesystem lies. Out: the JSON
of `config.json` (OCI runtime spec, config.md) and of LinuxKit's `runtime.json` (docs/yaml.md,
"runtime"). Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from i2kit.image.linuxkit.values import Device, Id, IdMapping, Mount, Runtime, Settings
from i2kit.model import CAPABILITIES, ImageConfig

OCI_VERSION = "1.0.2"
"""LinuxKit writes 1.2.1, which crun before 1.9 refuses; nothing that is written usually is newer than 1.0."""
OCI_VERSION_OF_MAPPED_MOUNTS = "1.1.0"

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

# getrlimit(2)
RLIMITS = (
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
)
UNLIMITED = 2**64 - 1

ROOT = ("", "root")
"""The names of users and groups that are no entry's."""


def oci_config(
    settings: Settings,
    image: ImageConfig,
    *,
    ids: Mapping[str, int] | None = None,
    volumes: Mapping[str, str] | None = None,
) -> Json:
    """`config.json`. A command or env of the entry replaces the image's as a whole, as in LinuxKit.

    `ids` are the numbers that names of entries mean, `volumes` the folders that names of volumes mean.
    """
    numbers = ids or {}
    command = settings.command if settings.command is not None else (*image.entrypoint, *image.cmd)
    env = settings.env if settings.env is not None else [f"{name}={value}" for name, value in image.env]
    user: Json = {"uid": number(settings.uid, numbers), "gid": number(settings.gid, numbers)}
    if settings.additional_gids:
        user["additionalGids"] = [number(gid, numbers) for gid in settings.additional_gids]
    process: Json = {"user": user}
    process |= said(args=list(command), env=list(env))
    process["cwd"] = settings.cwd or image.working_dir or "/"
    process["capabilities"] = capabilities(settings)
    process |= said(
        rlimits=[rlimit(text) for text in settings.rlimits or ()],
        noNewPrivileges=settings.no_new_privileges,
    )
    if settings.oom_score_adj is not None:
        process["oomScoreAdj"] = settings.oom_score_adj
    root: Json = {"path": "rootfs", **said(readonly=settings.readonly)}
    mounted = mounts(settings, volumes or {})
    mapped = any(mount.uid_mappings or mount.gid_mappings for mount in mounted)
    return {
        "ociVersion": OCI_VERSION_OF_MAPPED_MOUNTS if mapped else OCI_VERSION,
        "process": process,
        "root": root,
        **said(hostname=settings.hostname),
        "mounts": [mount_json(mount) for mount in mounted],
        **said(annotations=dict(settings.annotations or ())),
        "linux": linux(settings),
    }


def linux(settings: Settings) -> Json:
    return {
        **said(
            uidMappings=[mapping_json(mapping) for mapping in settings.uid_mappings or ()],
            gidMappings=[mapping_json(mapping) for mapping in settings.gid_mappings or ()],
            sysctl=dict(settings.sysctl or ()),
        ),
        "resources": resources(settings),
        **said(cgroupsPath=settings.cgroups_path),
        "namespaces": namespaces(settings),
        **said(
            devices=[device_json(device) for device in settings.devices or () if device.path != "all"],
            rootfsPropagation=settings.rootfs_propagation,
            maskedPaths=list(settings.masked_paths or ()),
            readonlyPaths=list(settings.readonly_paths or ()),
        ),
    }


def said(**values: Any) -> Json:
    """The values that say something, as the OCI's JSON leaves out the others."""
    return {key: value for key, value in values.items() if value}


def number(id_: Id | None, ids: Mapping[str, int]) -> int:
    if id_ is None or id_ in ROOT:
        return 0
    return ids[id_] if isinstance(id_, str) else id_


def capabilities(settings: Settings) -> Json:
    effective, ambient = expanded(settings.capabilities), expanded(settings.ambient)
    ordered = sorted({*effective, *ambient})
    return said(
        bounding=ordered,
        effective=effective,
        inheritable=ordered,
        permitted=ordered,
        ambient=ambient,
    )


def expanded(names: Sequence[str] | None) -> list[str]:
    """Capabilities with `all` and `none` written out."""
    if any(name.lower() == "all" for name in names or ()):
        return list(CAPABILITIES)
    return [name for name in names or () if name.lower() != "none"]


def rlimit(text: str) -> Json | None:
    """A limit such as `nofile,1024,unlimited` as the OCI has it; None for what is none."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:
        return None
    name = f"RLIMIT_{parts[0].upper().removeprefix('RLIMIT_')}"
    limits = [
        UNLIMITED
        if part.lower() == "unlimited"
        else int(part)
        if part.isascii() and part.isdigit() and len(part) <= 20
        else UNLIMITED + 1
        for part in parts[1:]
    ]
    if name not in RLIMITS or max(limits) > UNLIMITED:
        return None
    return {"type": name, "hard": limits[1], "soft": limits[0]}


def namespaces(settings: Settings) -> list[Json]:
    """Those that the container does not share with the machine."""
    wanted = (
        ("network", settings.net or "host"),
        ("ipc", settings.ipc or "host"),
        ("uts", settings.uts or "host"),
        ("pid", settings.pid or "new"),
        ("user", settings.userns or "host"),
        ("mount", "new"),
    )
    return [
        {"type": kind} if where in ("new", "none") else {"type": kind, "path": where}
        for kind, where in wanted
        if where not in ("host", "root")
    ]


def device_json(device: Device) -> Json:
    return {
        "path": device.path,
        "type": device.type,
        "major": device.major,
        "minor": device.minor,
        "fileMode": int(device.mode, 8),
    }


def device_rule(device: Device) -> Json:
    """What lets the container use a device: having its node is not enough."""
    numbers = {} if device.path == "all" else {"major": device.major, "minor": device.minor}
    return {"allow": True, "type": device.type, **numbers, "access": "rwm"}


def resources(settings: Settings) -> Json:
    found = {key: value for key, value in (settings.resources or {}).items() if value}
    rules = [*found.pop("devices", ()), *map(device_rule, settings.devices or ())]
    if "blockio" in found:
        found["blockIO"] = found.pop("blockio")
    if "hugepageLimits" in found:
        found["hugepageLimits"] = [
            {**limit, "pageSize": page_size(limit.get("pageSize", 0))} for limit in found["hugepageLimits"]
        ]
    # A rule that allows nothing in so many words forbids.
    return {**said(devices=[{"allow": False, **rule} for rule in rules]), **found}


def page_size(size_bytes: int) -> str:
    """The kernel's name of a page's size, such as 2MB."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB")):
        if size_bytes % unit == 0 and size_bytes:
            return f"{size_bytes // unit}{name}"
    return f"{size_bytes // 1024}KB"


def mapping_json(mapping: IdMapping) -> Json:
    return {"containerID": mapping.container_id, "hostID": mapping.host_id, "size": mapping.size}


def mounts(settings: Settings, volumes: Mapping[str, str]) -> list[Mount]:
    """The default mounts, tmpfs, binds, then mounts; the last one for a destination counts."""
    found: dict[str, Mount] = {}
    for mount in DEFAULT_MOUNTS:
        options = mount.options
        if settings.readonly and mount.destination in MADE_READONLY:
            options = (*options, "ro")
        found[mount.destination] = Mount(mount.type, mount.source, mount.destination, options)
    for tmpfs in settings.tmpfs or ():
        destination, *rest = tmpfs.split(":")
        options = tuple(rest[0].split(",")) if rest else ()
        found[destination] = Mount("tmpfs", "tmpfs", destination, options)
    for bind in settings.binds or ():
        source, destination, *rest = bind.split(":")
        options = (*rest[0].split(","), "rbind") if rest else ("rw", "rbind", "rshared")
        found[destination] = Mount("bind", volumes.get(source, source), destination, options)
    for mount in settings.mounts or ():
        complete = completed(mount, volumes)
        found[complete.destination] = complete
    return [found[destination] for destination in sorted(found)]


def completed(mount: Mount, volumes: Mapping[str, str] | None = None) -> Mount:
    """Fill in what a mount leaves unsaid, as LinuxKit does, and say where a volume is."""
    kind = mount.type
    if not kind:
        if mount.source in KERNEL_FILESYSTEMS:
            kind = mount.source
        elif mount.destination == "/dev":
            kind = "tmpfs"
    source = (volumes or {}).get(mount.source, mount.source) if kind == "bind" else mount.source
    return Mount(
        kind,
        source or kind,
        mount.destination or DESTINATIONS.get(kind, ""),
        mount.options,
        mount.uid_mappings,
        mount.gid_mappings,
    )


def mount_json(mount: Mount) -> Json:
    return said(
        destination=mount.destination,
        type=mount.type,
        source=mount.source,
        options=list(mount.options),
        uidMappings=[mapping_json(mapping) for mapping in mount.uid_mappings],
        gidMappings=[mapping_json(mapping) for mapping in mount.gid_mappings],
    )


def runtime_config(
    folder: str,
    unpacked: str,
    *,
    readonly: bool,
    runtime: Runtime | None = None,
    volumes: Mapping[str, str] | None = None,
) -> Json:
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
    wanted = runtime or Runtime()
    for mount in wanted.mounts or ():
        source = (volumes or {}).get(mount.source, mount.source) if mount.type == "bind" else mount.source
        json = {"destination": mount.destination, **mount_json(mount), **said(source=source)}
        steps.append(json)
    return {
        "cgroups": list(wanted.cgroups or ()),
        "mounts": steps,
        "mkdir": list(wanted.mkdir or ()),
        "interfaces": [
            {
                **said(name=interface.name, add=interface.add, peer=interface.peer),
                "createInRoot": interface.create_in_root,
            }
            for interface in wanted.interfaces or ()
        ],
        "bindNS": {
            kind: wanted.bind_ns.get(kind, "")
            for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
        },
        "namespace": wanted.namespace or "",
    }
