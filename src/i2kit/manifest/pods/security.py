"""securityContext: who a container runs as and what it may do; its own words before those of its pod.

In: records of the tables in `fields`. Out: a Security for each container, and the pod's settings of the
kernel; problems in the log for what contradicts itself. Pure.
"""

from collections.abc import Iterable

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.tables.shape import Record
from i2kit.model import Pairs, Security


def security(container: Record, pod: Record, log: Log) -> Security:
    """What holds for a container (Kubernetes, pkg/securitycontext, DetermineEffectiveSecurityContext)."""
    own, shared = container.record("securityContext"), pod.record("securityContext")
    layers = _layers(container, pod)
    if own:
        _check_privileged(own, log)
    if not layers:
        return Security()
    by_itself = own or Record(container.position, "", {}, {})
    of_pod = shared or Record(pod.position, "", {}, {})
    capabilities = by_itself.record("capabilities")
    non_root = _said("runAsNonRoot", layers)
    profile = next((one for layer in layers if (one := layer.record("seccompProfile"))), None)
    if profile and profile.text("type") == "Localhost":
        message = "`Localhost` has no effect: there is no node that holds profiles, so RuntimeDefault is used"
        log.warn(profile.place("type"), profile.at("type"), message)
    return Security(
        user=_number("runAsUser", layers),
        group=_number("runAsGroup", layers),
        non_root=bool(non_root and non_root.flag("runAsNonRoot")),
        groups=of_pod.items("supplementalGroups"),
        fs_group=of_pod.whole("fsGroup"),
        strict_groups=of_pod.text("supplementalGroupsPolicy") == "Strict",
        readonly_root=by_itself.flag("readOnlyRootFilesystem") or False,
        no_new_privileges=by_itself.flag("allowPrivilegeEscalation") is False,
        add=_capabilities(capabilities, "add"),
        drop=_capabilities(capabilities, "drop"),
        privileged=by_itself.flag("privileged") or False,
        unconfined=bool(profile and profile.text("type") == "Unconfined"),
        unmasked=by_itself.text("procMount") == "Unmasked",
        position=non_root.place("runAsNonRoot") if non_root else None,
    )


def sysctls(pod: Record, log: Log) -> Pairs:
    """What the pod sets of its kernel, names as paths below /proc/sys."""
    shared = pod.record("securityContext")
    if shared is None:
        return ()
    found: dict[str, str] = {}
    first: dict[str, Position] = {}
    for one in shared.items("sysctls"):
        name, value = one.text("name"), one.text("value")
        if name is None or value is None:
            continue
        path = sysctl_path(name)
        if path in found:
            message = f"`{name}` is given twice; the first is at {first[path]}"
            log.problem(one.place("name"), one.at("name"), message, "remove one of them")
        else:
            found[path], first[path] = value, one.place("name")
    return tuple(found.items())


def check_root(containers: Iterable[Record], pod: Record, log: Log) -> None:
    """Containers that are to be root and must not be; what they have of their pod is told once."""
    told = set()
    for container in containers:
        layers = _layers(container, pod)
        user, non_root = _said("runAsUser", layers), _said("runAsNonRoot", layers)
        if not (user and non_root and user.whole("runAsUser") == 0 and non_root.flag("runAsNonRoot")):
            continue
        places = user.place("runAsUser"), non_root.place("runAsNonRoot")
        if places not in told:
            told.add(places)
            message = f"0 is root, and runAsNonRoot at {places[1]} forbids it"
            log.problem(places[0], user.at("runAsUser"), message, "use another user, such as 1000")


def sysctl_path(name: str) -> str:
    """Where a setting is below /proc/sys: the first separator, `.` or `/`, parts its name (sysctl.d(5))."""
    dot, slash = name.find("."), name.find("/")
    dotted = slash < 0 or 0 <= dot < slash
    return name.translate({ord("."): "/", ord("/"): "."}) if dotted else name


def _layers(container: Record, pod: Record) -> list[Record]:
    """What the container says, then what its pod says for all."""
    return [found for one in (container, pod) if (found := one.record("securityContext"))]


def _said(name: str, layers: list[Record]) -> Record | None:
    """The nearest record that says this."""
    return next((layer for layer in layers if layer.has(name)), None)


def _number(name: str, layers: list[Record]) -> int | None:
    said = _said(name, layers)
    return said.whole(name) if said else None


def _capabilities(record: Record | None, name: str) -> tuple[str, ...]:
    """Whole names, each once, in one order."""
    words = [word.upper() for word in record.items(name)] if record else []
    return tuple(sorted({word if word == "ALL" else f"CAP_{word.removeprefix('CAP_')}" for word in words}))


def _check_privileged(own: Record, log: Log) -> None:
    """The API server's rules (core/validation, ValidateSecurityContext)."""
    if own.flag("allowPrivilegeEscalation") is not False:
        return
    capabilities = own.record("capabilities")
    added = {word.upper() for word in capabilities.items("add")} if capabilities else set()
    if own.flag("privileged"):
        what = f"`privileged: true` at {own.place('privileged')}"
    elif capabilities and "CAP_SYS_ADMIN" in added:
        what = f"CAP_SYS_ADMIN at {capabilities.place('add')}"
    else:
        return
    path = own.at("allowPrivilegeEscalation")
    message = f"`false` contradicts {what}"
    log.problem(own.place("allowPrivilegeEscalation"), path, message, "remove one of them")
