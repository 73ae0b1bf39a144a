"""A pod becomes a LinuxKit template: the text that says all about its machine image.

In: a Workload, its images as resolved, and the base. Out: YAML that `linuxkit build` accepts, the
same text for the same pod. Never reads anything and never asks a registry: pure.

LinuxKit replaces an image's env and command as a whole, ignores its USER and gives no
capabilities, so everything that a container runtime would take from the image or by default is
written out here. The meaning of command, args and env is Kubernetes' (kubelet, container
environment; CRI, container config). What depends on the name, labels or number of replicas of
the workload is left out: equal pods have equal images.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from i2kit.errors import InputError, Problem
from i2kit.expansion import as_written, expand
from i2kit.image import podfile, volumes
from i2kit.model import CAPABILITIES as EVERY_CAPABILITY
from i2kit.model import (
    Container,
    Identity,
    ImageConfig,
    Pairs,
    ResolvedImage,
    Resources,
    Security,
    Workload,
    field_word,
)

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""For images that set none, as container runtimes have it."""

# The container runtimes' defaults: containerd, pkg/oci/spec.go; moby, daemon/pkg/oci/defaults.go.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
BINDS = ("/etc/resolv.conf:/etc/resolv.conf", "/etc/hosts:/etc/hosts", "/dev/shm:/dev/shm")  # noqa: S108
"""The machine's files that all containers of the pod see."""

PRIVILEGED_BINDS = (*BINDS[:2], "/dev:/dev")
"""A privileged container sees all devices of the machine; shm and mqueue come with them."""

SECCOMP_ANNOTATION = "io.i2kit.seccomp"
"""LinuxKit has no key for seccomp: the guest's supervisor applies the profile of this name."""
ROOT_ANNOTATION = "io.i2kit.root"
"""LinuxKit's `readonly` has no layer in which crun could make a working directory or what is mounted on."""

SHARED_PROCESSES = "/run/i2kit/processes"
"""The PID namespace that the guest makes for all containers of a pod."""

VARIABLE = "env/"
"""What the path of a field begins with whose value is that of a variable of the machine."""

_SERVICE_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*_SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)")

CPU_PERIOD_US = 100_000
MIN_CPU_QUOTA_US = 1_000
MIN_CPU_SHARES = 2


@dataclass(frozen=True, slots=True)
class Base:
    """What every machine image has beside the pod: pinned references, and what they need.

    `cmdline` are the kernel arguments; `memory_floor_bytes` is the machine's memory use with no
    container in it. `boot` is what starts the kernel from a disk: no part of the template.
    """

    kernel: str
    init: tuple[str, ...]
    cmdline: str
    memory_floor_bytes: int
    boot: str
    ext4: str
    """What makes and checks the file systems of volumes: part of machines that have such."""


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """An image and the identity that its USER means.

    `folders` are those of its folders that new disks begin with, by the path that these are mounted at.
    """

    resolved: ResolvedImage
    identity: Identity
    folders: Mapping[str, str] = field(default_factory=dict)


def render(workload: Workload, images: Mapping[str, ContainerImage], base: Base) -> str:
    """The LinuxKit template of the pod. `images` has the image of every container, by the container's name.

    Raises InputError with one problem for each container that has nothing to run.
    """
    containers = (*workload.init, *workload.containers)
    configs = {one.image: images[one.name].resolved.config for one in containers}
    problems = nothing_to_run(workload, configs)
    if problems:
        raise InputError(problems)

    def entries(*ones: Container) -> list[dict[str, Any]]:
        return [service(one, images[one.name], workload) for one in ones]

    signals = {one.name: one.stop_signal or configs[one.image].stop_signal for one in containers}
    document: dict[str, Any] = {
        "kernel": {"image": base.kernel, "cmdline": base.cmdline},
        "init": [*base.init, *([base.ext4] if volumes.on_disk(workload) else [])],
    }
    if first := [one for one in workload.init if not one.sidecar]:
        document["onboot"] = entries(*first)
    document["services"] = entries(*(one for one in workload.init if one.sidecar), *workload.containers)
    told = podfile.render(workload, signals, fills(workload, images))
    described = {"path": podfile.PATH, "contents": told, "mode": "0644"}
    document["files"] = [
        {key: _Block(value) if key == "contents" else value for key, value in file.items()}
        for file in (described, *volumes.files(workload))
    ]
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=float("inf"), allow_unicode=True)


def fills(workload: Workload, images: Mapping[str, ContainerImage]) -> Mapping[str, volumes.Fill]:
    """What new disks begin with: what the first container that mounts one has at that place."""
    found: dict[str, volumes.Fill] = {}
    for one in workload.containers:
        image = images[one.name]
        for mount in one.mounts:
            if mount.filled and not mount.sub_path:
                path = image.folders.get(mount.path)
                source = (one.name, path) if path else ()
                found.setdefault(mount.volume, volumes.Fill(image.identity.uid, image.identity.gid, *source))
    return found


def nothing_to_run(workload: Workload, configs: Mapping[str, ImageConfig]) -> list[Problem]:
    """One problem for each container that says no command and whose image says none either."""
    return [
        Problem(
            f"container `{container.name}` has nothing to run: neither it nor its image says a command",
            container.position,
            hint="add `command`, such as command: [/bin/app]",
        )
        for container in (*workload.init, *workload.containers)
        if not arguments(container, configs[container.image])
    ]


def must_not_be_root(container: Container, image: ContainerImage) -> list[Problem]:
    """The problem of a container with runAsNonRoot that its image would run as root."""
    if not container.security.non_root or image.identity.uid:
        return []
    user = image.resolved.config.user
    why = f"USER of its image is `{user}`, and that is root" if user else "its image names no USER"
    return [
        Problem(
            f"container `{container.name}` must not run as root (runAsNonRoot), but {why}",
            container.security.position or container.position,
            "give it runAsUser, such as 1000, or an image with another USER",
        )
    ]


def service(container: Container, image: ContainerImage, workload: Workload) -> dict[str, Any]:
    """The container as an entry of LinuxKit's `services` or `onboot`."""
    identity, config = image.identity, image.resolved.config
    entry: dict[str, Any] = {
        "name": container.name,
        "image": image.resolved.pinned,
        "command": _Flow(arguments(container, config)),
        "env": [f"{name}={value}" for name, value in environment(container, image)],
        "cwd": working_dir(container, config),
    }
    if identity.uid or identity.gid:
        entry |= {"uid": identity.uid, "gid": identity.gid}
    if identity.additional_gids:
        entry["additionalGids"] = _Flow(identity.additional_gids)
    if resources := limits(container.resources):
        entry["resources"] = resources
    if workload.host_processes:
        entry["pid"] = "host"
    elif workload.shared_processes:
        entry["pid"] = SHARED_PROCESSES
    entry |= privileges(container.security)
    if binds := volumes.binds(workload, container):
        # What a pod mounts stands in for what all containers have there.
        hidden = {volumes.target(mount) for mount in container.mounts}
        entry["binds"] = [bind for bind in entry["binds"] if bind.split(":")[1] not in hidden] + binds
        entry["mounts"] = [one for one in entry["mounts"] if one["destination"] not in hidden]
    return entry


def privileges(security: Security) -> dict[str, Any]:
    """What the container may do and see.

    To be privileged means the whole machine, which is the pod's own: every capability, its devices, /sys and
    cgroups to write, no filter on system calls (containerd, cri/server/container_create_linux.go).
    """
    privileged, bare = security.privileged, security.privileged or security.unmasked
    read_only = () if privileged else ("ro",)
    mounts = [mount("sysfs", "sysfs", "/sys", "nosuid", "noexec", "nodev", *read_only)]
    if privileged:
        mounts.append(mount("cgroup", "cgroup", "/sys/fs/cgroup", "nosuid", "noexec", "nodev", "relatime"))
    else:
        mounts.append(mount("mqueue", "mqueue", "/dev/mqueue", "nosuid", "noexec", "nodev"))
    entry: dict[str, Any] = {
        "capabilities": list(capabilities(security)),
        "mounts": mounts,
        "binds": list(PRIVILEGED_BINDS if privileged else BINDS),
        "maskedPaths": [] if bare else list(MASKED_PATHS),
        "readonlyPaths": [] if bare else list(READONLY_PATHS),
    }
    if privileged:
        entry["devices"] = [{"path": "all", "type": kind} for kind in "bc"]
    if security.no_new_privileges:
        entry["noNewPrivileges"] = True
    unfiltered = privileged or security.unconfined
    annotations = {SECCOMP_ANNOTATION: "unconfined" if unfiltered else "runtime-default"}
    if security.readonly_root:
        annotations[ROOT_ANNOTATION] = "read-only"
    return entry | {"annotations": annotations}


def capabilities(security: Security) -> tuple[str, ...]:
    """Those of the container: ALL of either list counts first, then each that is added, then each dropped.

    In containerd's order (cri/opts/spec_linux_opts.go). None of them is ambient: a user other than root has
    only what the capabilities of a program's file give it.
    """
    if security.privileged:
        return ("all",)
    given = set(EVERY_CAPABILITY if "ALL" in security.add else CAPABILITIES)
    if "ALL" in security.drop:
        given = set()
    given = (given | set(security.add)) - set(security.drop) - {"ALL"}
    if given == set(EVERY_CAPABILITY):
        return ("all",)
    return tuple(name for name in dict.fromkeys((*CAPABILITIES, *EVERY_CAPABILITY)) if name in given)


def mount(kind: str, source: str, destination: str, *options: str) -> dict[str, Any]:
    return {"type": kind, "source": source, "destination": destination, "options": _Flow(options)}


def arguments(container: Container, config: ImageConfig) -> list[str]:
    """What the container runs, the program first. An empty list is the same as none given."""
    if container.command:
        words = [*container.command, *(container.args or ())]
    elif container.args:
        words = [*config.entrypoint, *container.args]
    else:
        return [*config.entrypoint, *config.cmd]
    known = dict(own_environment(container))
    # The image's own words are not expanded: they may hold text for a shell.
    image_words = 0 if container.command else len(config.entrypoint)
    return words[:image_words] + [expand(word, known, of_a_service) for word in words[image_words:]]


def environment(container: Container, image: ContainerImage) -> Pairs:
    """The image's variables, then the container's; one that both set has the container's value.

    HOME is given as by Docker: crun 1.8 sets none for a user that is not in etc/passwd.
    """
    merged = {"PATH": DEFAULT_PATH, "HOME": image.identity.home}
    merged.update(image.resolved.config.env)
    merged.update(own_environment(container))
    return tuple(merged.items())


def own_environment(container: Container) -> Pairs:
    """The container's variables with `$(NAME)` expanded: a value can use the variables before it."""
    known: dict[str, str] = {}
    for name, value in container.env:
        known[name] = expand(value, known, of_a_service)
    return tuple(known.items())


def of_a_service(name: str) -> str:
    """What stands for `$(NAME)` where the container sets no such variable: one that tells of a service is
    known to the machine alone. Where it has none the guest leaves it as it was written.
    """
    return field_word(f"{VARIABLE}{name}") if _SERVICE_VARIABLE.fullmatch(name) else as_written(name)


def working_dir(container: Container, config: ImageConfig) -> str:
    folder = container.working_dir or config.working_dir or "/"
    return folder if folder.startswith("/") else f"/{folder}"


def limits(resources: Resources) -> dict[str, Any]:
    """LinuxKit's `resources`, with Kubernetes' conversions (kubelet, cm/helpers_linux.go).

    A limit without a request asks for the limit.
    """
    found: dict[str, Any] = {}
    if resources.memory_limit_bytes is not None:
        found["memory"] = {"limit": resources.memory_limit_bytes}
    cpu: dict[str, int] = {}
    request, limit = resources.cpu_request_millis, resources.cpu_limit_millis
    if (share := limit if request is None else request) is not None:
        cpu["shares"] = max(MIN_CPU_SHARES, share * 1024 // 1000)
    if limit:
        cpu |= {"quota": max(MIN_CPU_QUOTA_US, limit * CPU_PERIOD_US // 1000), "period": CPU_PERIOD_US}
    if cpu:
        found["cpu"] = cpu
    return found


class _Flow(list[Any]):
    """A list that is written on one line."""


class _Block(str):
    """Text that is written as its lines, where YAML can."""


class _Dumper(yaml.SafeDumper):
    """Writes text so that every YAML reader takes it for text, lists indented under their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Letters first, so that no version of YAML sees a number or a date; words that some version takes
# for true, false or null are quoted as well.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@=+-]*(?::[A-Za-z0-9_./@=+-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


def _block(dumper: yaml.SafeDumper, text: _Block) -> yaml.ScalarNode:
    lines = text.split("\n")
    if len(lines) > 1 and lines[0].strip() and all(line.replace("\t", " ").isprintable() for line in lines):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


def _flow(dumper: yaml.SafeDumper, items: _Flow) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Block, _block)
_Dumper.add_representer(_Flow, _flow)
