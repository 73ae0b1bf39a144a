"""Services and their VMs → haproxy.cfg. Pure.

The format is HAProxy 2.6's configuration manual. Listeners are inherited (`fd@N`), so that
connections wait while HAProxy restarts and a rootless process can publish on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass


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


def render(frontends: Sequence[Frontend], *, stats_fd: int, check: bool) -> str:
    """The configuration. Every second each slot is asked whether it is ready.

    Where a VM cannot be asked, `check` has its port tried. Without that (QEMU's user network accepts for a
    guest that does not) only the guest's own word counts.
    """
    lines = [
        "global",
        f"  stats socket fd@{stats_fd} level admin",
        # Long downloads may finish after a reload, but not for ever.
        "  hard-stop-after 10m",
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
