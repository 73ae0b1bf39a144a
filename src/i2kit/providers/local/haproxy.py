"""Services and their VMs → haproxy.cfg. Pure.

The format is HAProxy 2.6's configuration manual. Listeners are inherited (`fd@N`), so that
connections wait while HAProxy restarts and a rootless process can publish on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """A slot: the VM in it may change, its address does not. Off until its VM is ready."""

    name: str
    address: str
    port: int
    on: bool


@dataclass(frozen=True, slots=True)
class Frontend:
    """A service port: the inherited listeners that lead to it and the slots behind it."""

    name: str
    http: bool
    listeners: tuple[int, ...]
    servers: tuple[Server, ...]


def render(frontends: Sequence[Frontend], *, stats_fd: int, check: bool) -> str:
    """The configuration. `check` asks every second whether a slot still accepts connections.

    Without `check` (QEMU's user network accepts for a guest that does not) only the guest's own
    word counts.
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
        lines += ["", f"frontend {frontend.name}"]
        lines += [f"  bind fd@{number}" for number in frontend.listeners]
        if frontend.http:
            # idle-close: a reload must not break a keep-alive connection in the client's hands.
            lines += ["  mode http", "  option idle-close-on-response"]
        else:
            lines += ["  mode tcp"]
        lines += [f"  default_backend {frontend.name}", "", f"backend {frontend.name}"]
        if frontend.http:
            lines += [
                "  mode http",
                "  balance roundrobin",
                "  option forwardfor",
                "  retry-on conn-failure empty-response",
                # A POST that was cut off may have been done: only idempotent requests are sent again.
                "  http-request disable-l7-retry if !{ method GET HEAD OPTIONS PUT DELETE }",
            ]
        else:
            lines += ["  mode tcp", "  balance roundrobin"]
        # fall 3 at 1 s: fewer flapped under overload; a dead process is known at once anyway.
        checks = " check inter 1s fall 3 rise 1" if check else ""
        for server in frontend.servers:
            state = "" if server.on else " disabled"
            lines.append(f"  server {server.name} {server.address}:{server.port}{checks}{state}")
    return "\n".join(lines) + "\n"
