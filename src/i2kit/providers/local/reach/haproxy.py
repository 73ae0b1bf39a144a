"""Services and their VMs → haproxy.cfg. Pure.

The format is HAProxy 2.6's configuration manual. Listeners are inherited (`fd@N`), so that
connections wait while HAProxy restarts and a rootless process can publish on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Server:
    """A slot: the VM in it may change, its address does not. Off until its VM is ready.

    `health` is the port where the VM answers `/ready`; None for one of before, which does not.
    """

    name: str
    address: str
    port: int
    on: bool
    health: int | None = None


@dataclass(frozen=True, slots=True)
class Frontend:
    """A service port: the inherited listeners that lead to it and the slots behind it.

    Without listeners the slots are only looked after.
    """

    name: str
    http: bool
    listeners: tuple[int, ...]
    servers: tuple[Server, ...]
    sticky_s: int | None = None
    """For how long a caller comes back to the same slot."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked for by this path leads to a backend: exactly by it, or by it and more elements."""

    path: str
    exact: bool
    backend: str


@dataclass(frozen=True, slots=True)
class Host:
    """Rules in the order in which they count; `default` is the backend for all else, None for "not found".

    `name` is empty for any host, and begins with `*.` for one label more. `secure`: HTTP is sent to HTTPS.
    """

    name: str
    rules: tuple[Rule, ...]
    default: str | None
    secure: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """What all Ingresses share: listeners for HTTP and for HTTPS, and the hosts, the most specific first.

    `https_port` is where the host's HTTPS is published; `certificates` is a crt-list in the folder of its
    certificates, `version` tells them apart from others at the same place.
    """

    http: tuple[int, ...]
    https: tuple[int, ...]
    https_port: int
    hosts: tuple[Host, ...]
    certificates: str | None = None
    version: str = ""


NOBODY = "ingress:nobody"
"""The backend for what no rule is for."""

NOTHING = "ingress:nothing"
"""The backend of a service that there is not."""

MEMORY = "i2kit"
"""What a HAProxy is called where it tells another what it knows."""

FORBIDDEN = "ingress:forbidden"
"""The backend of a service that Ingresses may not call."""

LOCALHOST = ".localhost"
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
"""What a request's path has as it is; all else is there as %XX."""


def render(
    frontends: Sequence[Frontend],
    *,
    stats_fd: int,
    check: bool,
    gate: Gate | None = None,
    memory_port: int | None = None,
) -> str:
    """The configuration. Every second each slot is asked whether it is ready.

    One HAProxy tells the next by `memory_port` of the loopback address which caller keeps to which slot.

    Where a VM cannot be asked, `check` has its port tried. Without that (QEMU's user network accepts for a
    guest that does not) only the guest's own word counts.
    """
    lines = [
        "global",
        f"  stats socket fd@{stats_fd} level admin",
        # Long downloads may finish after a reload, but not for ever.
        "  hard-stop-after 10m",
        *_crt_base(gate),
        "",
        "defaults",
        "  timeout connect 1s",
        "  timeout client 5m",
        "  timeout server 5m",
        "  timeout tunnel 1h",
        "  timeout http-request 30s",
        "  timeout queue 10s",
        "  timeout check 2s",
        "  retries 3",
        "  option redispatch 1",
    ]
    remembered = ""
    if memory_port and any(one.sticky_s for one in frontends):
        lines += ["", f"peers {MEMORY}", f"  peer {MEMORY} 127.0.0.1:{memory_port}"]
        remembered = f" peers {MEMORY}"
    if gate:
        lines += _gate(gate)
    for frontend in frontends:
        if frontend.listeners:
            lines += ["", f"frontend {frontend.name}"]
            lines += [f"  bind fd@{number}" for number in frontend.listeners]
            lines.append(f"  mode {'http' if frontend.http else 'tcp'}")
            if frontend.http:
                # A reload must not break a keep-alive connection in the client's hands.
                lines.append("  option idle-close-on-response")
            lines.append(f"  default_backend {frontend.name}")
        lines += ["", f"backend {frontend.name}", f"  mode {'http' if frontend.http else 'tcp'}"]
        lines.append("  balance roundrobin")
        if frontend.sticky_s:
            table = f"  stick-table type ip size 100k expire {frontend.sticky_s}s"
            lines += [f"{table}{remembered}", "  stick on src"]
        if frontend.http:
            lines += [
                "  option forwardfor",
                "  retry-on conn-failure empty-response",
                # A POST that was cut off may have been done: only idempotent requests are sent again.
                "  http-request disable-l7-retry if !{ method GET HEAD OPTIONS PUT DELETE }",
            ]
        asked = all(server.health for server in frontend.servers)
        if asked:
            lines.append("  option httpchk GET /ready")
        for server in frontend.servers:
            state = "" if server.on else " disabled"
            where = f" check port {server.health}" if asked else " check" if check else ""
            # fall 3 at 1 s: fewer flapped under overload; a dead process is known at once anyway.
            how = " inter 1s fall 3 rise 1" if where else ""
            lines.append(f"  server {server.name} {server.address}:{server.port}{where}{how}{state}")
    return "\n".join(lines) + "\n"


def _crt_base(gate: Gate | None) -> list[str]:
    if not gate or not gate.certificates:
        return []
    return [f"  crt-base {quoted(gate.certificates.rpartition('/')[0])}"]


def _gate(gate: Gate) -> list[str]:
    """The frontends of all Ingresses."""
    lines = []
    for name, listeners in (("ingress", gate.http), ("ingress:tls", gate.https)):
        tls = name == "ingress:tls"
        if not listeners or (tls and not gate.certificates):
            continue
        how = f" ssl crt-list {quoted(gate.certificates or '')} alpn h2,http/1.1" if tls else ""
        lines += ["", f"frontend {name}"]
        lines += [f"  # certificates {gate.version}"] if tls else []
        lines += [f"  bind fd@{number}{how}" for number in listeners]
        lines += ["  mode http", "  option idle-close-on-response", *_sites(gate.hosts)]
        lines += [] if tls else _redirects(gate)
        lines += [
            "  http-request set-header X-Forwarded-Port %[dst_port]",
            f"  http-request set-header X-Forwarded-Proto {'https' if tls else 'http'}",
            # The backends add who calls: what a caller says of itself is not believed.
            "  http-request del-header X-Forwarded-For",
            *_rules(gate.hosts),
            f"  default_backend {NOBODY}",
        ]
    for name, status, text in (
        (NOBODY, 404, "no Ingress has a rule for this host and path"),
        (NOTHING, 503, "the service of this Ingress is not here"),
        (FORBIDDEN, 503, "a NetworkPolicy does not let Ingresses call this service"),
    ):
        lines += ["", f"backend {name}", "  mode http"]
        lines.append(f"  http-request return status {status} content-type text/plain string {quoted(text)}")
    return lines


def _sites(hosts: Sequence[Host]) -> list[str]:
    """Find out which host is asked for: its number is kept."""
    local = "".join(f" !{_is(host.name, 'asked')}" for host in hosts if host.name.endswith(LOCALHOST))
    condition = f"if {{ var(txn.asked) -m end {LOCALHOST} }}{local}"
    lines = [
        "  http-request set-var(txn.asked) req.hdr(host),field(1,:),lower,rtrim(.)",
        "  http-request set-var(txn.host) var(txn.asked)",
        "  http-request set-header X-Forwarded-Host %[req.hdr(host)]",
        # HOST.localhost is how this machine's users call a host that their resolver does not know.
        f"  http-request set-var(txn.host) var(txn.asked),regsub([.]localhost$,) {condition}",
        f"  http-request set-header Host %[var(txn.host)] {condition}",
    ]
    for number, host in enumerate(hosts):
        which = f"{_is(host.name)} " if host.name else ""
        new = "!{ var(txn.site) -m found }"
        lines.append(f"  http-request set-var(txn.site) int({number}) if {which}{new}")
    return lines


def _redirects(gate: Gate) -> list[str]:
    """From HTTP to HTTPS, for the hosts that want it: at the usual port, or where this machine has it."""
    return [
        f"  http-request redirect location https://%[var(txn.asked)]{port}%[pathq] code 308"
        f" if {_site(number)} {where}"
        for number, host in enumerate(gate.hosts)
        if host.secure
        for port, where in (("", "{ dst_port 80 }"), (f":{gate.https_port}", "!{ dst_port 80 }"))
    ]


def _rules(hosts: Sequence[Host]) -> list[str]:
    lines = []
    for number, host in enumerate(hosts):
        here = _site(number)
        for rule in host.rules:
            path = quote(rule.path, safe=PRINTABLE)
            ways = [f"{{ path -m str {quoted(path)} }}"] if path else []
            ways += [] if rule.exact else [f"{{ path -m beg {quoted(path + '/')} }}"]
            condition = " || ".join(f"{here} {way}" for way in ways)
            lines.append(f"  use_backend {rule.backend} if {condition}")
        lines.append(f"  use_backend {host.default or NOBODY} if {here}")
    return lines


def _site(number: int) -> str:
    return f"{{ var(txn.site) -m int {number} }}"


def _is(host: str, variable: str = "host") -> str:
    """The condition that this host is asked for."""
    if host.startswith("*."):
        return f"{{ var(txn.{variable}),field(2,.,0) -m str {quoted(host[2:])} }}"
    return f"{{ var(txn.{variable}) -m str {quoted(host)} }}"


def quoted(text: str) -> str:
    """One word of the configuration, whatever is in it but the ends of lines."""
    return "'" + text.replace("'", "'\\''") + "'"
