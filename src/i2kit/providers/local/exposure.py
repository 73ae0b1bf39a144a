"""How deployments are reached: listeners, HAProxy, names. In one place, so that they agree.

In: what is desired and which VMs there are. Out: HAProxy and dnsmasq that say the same. What they
are told is decided by `haproxy` and `dns`.
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator

from i2kit.errors import OperationError
from i2kit.providers.local import desired, dns, haproxy, network
from i2kit.providers.local.balancer import Balancer
from i2kit.providers.local.desired import Backend, Desired, Published, Wanted
from i2kit.providers.local.layout import Layout
from i2kit.providers.local.machine import Vm
from i2kit.providers.local.programs import spawn


class KeeperLink:
    """Asks the keeper, which is in the host's network, for what can only be had there."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def up(self) -> None:
        """The namespaces are there: the way out can be made."""
        self._ask("up")

    def listen(self, port: int) -> socket.socket | None:
        """A listener on the host's loopback address; None if another program has the port."""
        answer, fd = self._ask(f"listen {port}")
        if fd is not None:
            return socket.socket(fileno=fd)
        if answer != f"error {errno.EADDRINUSE}":
            raise OperationError(f"cannot listen on 127.0.0.1:{port}: {answer}")
        return None

    def _ask(self, request: str) -> tuple[str, int | None]:
        self._link.send(request.encode())
        answer, fds, _, _ = socket.recv_fds(self._link, 4096, 1)
        if not answer:
            raise SystemExit("the keeper is gone")
        return answer.decode(), fds[0] if fds else None


class Exposure:
    """The services of this machine, as they are reached from the host and from VMs."""

    def __init__(self, layout: Layout, keeper: KeeperLink, *, in_namespace: bool) -> None:
        self._layout = layout
        self._keeper = keeper
        self._in_namespace = in_namespace
        self._balancer = Balancer(layout.haproxy_config, layout.haproxy_socket, spawn)
        self._dnsmasq: subprocess.Popen[bytes] | None = None
        self._listeners: dict[tuple[str, int], socket.socket] = {}
        self.unpublished: set[int] = set()
        """Promised ports of the host that another program has at the moment."""

    def open_host_port(self, port: int) -> bool:
        """Open a published port on the host's loopback address; False if another program has it."""
        key = ("host", port)
        if key not in self._listeners:
            listener = self._keeper.listen(port)
            if listener is None:
                return False
            self._listeners[key] = listener
        return True

    def update(self, wanted: Desired, vms: Collection[Vm]) -> None:
        """Listen, balance and answer names as services and VMs now are."""
        needed: set[tuple[str, int]] = set()
        self.unpublished.clear()
        for record in wanted.services:
            for port in record.ports:
                needed.add(("host", port.host_port))
                if not self.open_host_port(port.host_port):
                    self.unpublished.add(port.host_port)
                if self._in_namespace:
                    key = (record.vip, port.number)
                    needed.add(key)
                    if key not in self._listeners:
                        self._listeners[key] = network.listen(*key)
        frontends = tuple(self._frontends(wanted, vms))
        text = haproxy.render(frontends, stats_fd=self._balancer.stats_fd, check=self._in_namespace)
        self._balancer.configure(text, sorted(fd for one in frontends for fd in one.listeners))
        # Only now: the HAProxy before may still have accepted on these.
        for key in set(self._listeners) - needed:
            self._listeners.pop(key).close()
        self.name(wanted, vms)

    def _frontends(self, wanted: Desired, vms: Collection[Vm]) -> Iterator[haproxy.Frontend]:
        for record in wanted.services:
            for port in record.ports:
                keys = [("host", port.host_port), (record.vip, port.number)]
                listeners = tuple(self._listeners[key].fileno() for key in keys if key in self._listeners)
                servers = tuple(self._servers(wanted.deployments, record.key, port, vms))
                yield haproxy.Frontend(_frontend_name(record.key, port.number), port.http, listeners, servers)

    def _servers(
        self, deployments: Iterable[Wanted], service: str, port: Published, vms: Collection[Vm]
    ) -> Iterator[haproxy.Server]:
        """The slots behind a service port, of all deployments that it leads to."""
        for one in deployments:
            for backend in one.backends:
                if (backend.service, backend.number) != (service, port.number):
                    continue
                for slot in range(one.replicas + desired.SURGE):
                    found = next((vm for vm in vms if (vm.key, vm.slot) == (one.key, slot)), None)
                    yield self._server(one, slot, backend, found)

    def _server(self, wanted: Wanted, slot: int, backend: Backend, found: Vm | None) -> haproxy.Server:
        on = found is not None and found.state == "ready"
        name = server_name(wanted.key, slot)
        if self._in_namespace:
            return haproxy.Server(name, desired.address(wanted, slot), backend.target, on)
        # In the user network a slot has an address only while there is a VM that was given this port.
        port = found.forwards.get(backend.target) if found else None
        return haproxy.Server(name, "127.0.0.1", port or 1, on and port is not None)

    def name(self, wanted: Desired, vms: Collection[Vm]) -> None:
        """Tell dnsmasq all names and addresses; it rereads them on SIGHUP."""
        if not self._in_namespace:
            return
        machines = [(one.address, one.id, one.key.split("/")[0]) for one in vms]
        self._layout.dhcp_hosts.write_text(dns.dhcp_lines(wanted.deployments))
        self._layout.hosts.write_text(dns.host_lines(wanted.services, machines))
        if self._dnsmasq is not None:
            os.kill(self._dnsmasq.pid, signal.SIGHUP)
            return
        config = dns.configuration(
            hosts=self._layout.hosts, leases=self._layout.leases, dhcp_hosts=self._layout.dhcp_hosts
        )
        self._layout.dnsmasq_config.write_text(config)
        words = ["dnsmasq", f"--conf-file={self._layout.dnsmasq_config}"]
        # It answers DHCP and DNS, which needs the namespace's own privileges.
        self._dnsmasq = spawn(words, keep_privileges=True)

    def restarted(self, pid: int, wanted: Desired, vms: Collection[Vm]) -> str | None:
        """If this process, which ended, was one of ours: start it again and say which."""
        if pid == self._balancer.pid:
            self._balancer.ended()
            self.update(wanted, vms)
            return "haproxy"
        if self._dnsmasq is not None and pid == self._dnsmasq.pid:
            self._dnsmasq = None
            time.sleep(0.05)  # a program that cannot start must not take all the time
            self.name(wanted, vms)
            return "dnsmasq"
        return None

    def switch(self, wanted: Wanted | None, vm: Vm, *, on: bool) -> None:
        """Send requests to this VM from now on, or none."""
        for backend in wanted.backends if wanted else ():
            frontend = _frontend_name(backend.service, backend.number)
            if on:
                self._balancer.switch_on(frontend, server_name(vm.key, vm.slot))
            else:
                self._balancer.switch_off(frontend, server_name(vm.key, vm.slot))

    def drain(self, wanted: Wanted | None, vm: Vm) -> None:
        """Send nothing new to this VM; what runs may finish."""
        for backend in wanted.backends if wanted else ():
            frontend = _frontend_name(backend.service, backend.number)
            self._balancer.drain(frontend, server_name(vm.key, vm.slot))

    def busy(self) -> frozenset[str]:
        """The `server_name`s with requests in flight."""
        return frozenset(seen.server for seen in self._balancer.seen() if seen.requests)

    def silent(self) -> frozenset[str]:
        """The `server_name`s whose checks got no answer at all: not refused, but hanging."""
        return frozenset(
            seen.server for seen in self._balancer.seen() if seen.down and seen.check in ("L4TOUT", "L7TOUT")
        )

    def end(self) -> None:
        """Stop answering."""
        self._balancer.stop()
        if self._dnsmasq is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._dnsmasq.pid, signal.SIGKILL)
            self._dnsmasq.wait()


def server_name(key: str, slot: int) -> str:
    """What HAProxy calls this slot, the same in every backend."""
    return f"{key.replace('/', ':')}:{slot}"


def _frontend_name(service: str, number: int) -> str:
    return f"{service.replace('/', ':')}:{number}"
