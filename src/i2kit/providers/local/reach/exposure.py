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
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from i2kit.errors import OperationError
from i2kit.model import Pairs, Protocol
from i2kit.providers.local.design import desired
from i2kit.providers.local.design.desired import (
    INGRESS,
    Backend,
    Certified,
    Desired,
    Published,
    ServiceRecord,
    Wanted,
    services_of,
)
from i2kit.providers.local.layout import Layout
from i2kit.providers.local.machines import processes, secretsets
from i2kit.providers.local.machines.machine import Vm
from i2kit.providers.local.machines.programs import spawn
from i2kit.providers.local.reach import certificates, dns, firewall, haproxy, ingress, network
from i2kit.providers.local.reach.balancer import Balancer
from i2kit.providers.local.reach.outside import Outside
from i2kit.providers.local.reach.udp import Datagrams, Led

SLOTS_AT_ONCE = 8
"""Slots are made known to HAProxy by so many, and not taken back: few changes of number reload it."""


MEMORY_PORT = 10000
"""Of the loopback address of the VMs' network, which is ours alone."""

Heard = tuple[str, int, Protocol]
"""A place where we listen: an address of the deployments' network, or `host`; port; protocol."""


class KeeperLink:
    """Asks the keeper, which is in the host's network, for what can only be had there."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def up(self) -> None:
        """The namespaces are there: the way out can be made."""
        self._ask("up")

    def listen(self, port: int, protocol: Protocol) -> socket.socket | None:
        """A listener on the host's loopback address, or a socket bound to it; None if another program has
        the port.
        """
        answer, fd = self._ask(f"{'listen' if protocol == 'TCP' else 'bind'} {port}")
        if fd is not None:
            return socket.socket(fileno=fd)
        if answer != f"error {errno.EADDRINUSE}":
            raise OperationError(f"cannot listen on 127.0.0.1:{port}: {answer}")
        return None

    def listen_if_possible(self, port: int) -> socket.socket | None:
        """The same for a TCP port that nobody counts on: None whatever is in the way."""
        _, fd = self._ask(f"listen {port}")
        return None if fd is None else socket.socket(fileno=fd)

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
        self._outside = Outside((desired.GATEWAY, 53))
        self._datagrams = Datagrams(spawn)
        self._certified: tuple[tuple[tuple[Certified, ...], Pairs], str | None, str] | None = None
        """What HAProxy's certificates were made of, and what was made."""
        self._sticky: frozenset[str] = frozenset()
        """The backends whose callers keep to a slot, and those of their slots that are to be left."""
        self._leaving: set[tuple[str, str]] = set()
        self._needed: Collection[Heard] = ()
        self._rules = ""
        self._told: Mapping[str, tuple[str, ...]] = {}
        """What dnsmasq was told of names outside."""
        self._listeners: dict[Heard, socket.socket] = {}
        self._slots: dict[str, int] = {}
        self._routed: frozenset[tuple[str, int]] = frozenset()
        """The service ports that Ingresses lead to and that would be balanced by connections otherwise."""
        self._stopped: set[int] = set()
        self.unpublished: set[int] = set()
        """Promised ports of the host that another program has at the moment."""
        self.usual = False
        """Whether Ingresses answer on the host's ports 80 and 443, too."""

    def open_host_port(self, port: int, protocol: Protocol) -> bool:
        """Open a published port on the host's loopback address; False if another program has it."""
        key = ("host", port, protocol)
        if key not in self._listeners:
            listener = self._keeper.listen(port, protocol)
            if listener is None:
                return False
            self._listeners[key] = listener
        return True

    def update(self, wanted: Desired, vms: Collection[Vm]) -> None:
        """Listen, balance and answer names as services and VMs now are."""
        needed: set[Heard] = set()
        self._needed = needed
        self.unpublished.clear()
        self.enforce(wanted)
        for record in wanted.services:
            for port in record.ports:
                if firewall.is_published(wanted, record.key, port.number, port.protocol):
                    needed.add(("host", port.host_port, port.protocol))
                    if not self.open_host_port(port.host_port, port.protocol):
                        self.unpublished.add(port.host_port)
                if self._in_namespace:
                    key = (record.vip, port.number, port.protocol)
                    needed.add(key)
                    if key not in self._listeners:
                        kind = network.listen if port.protocol == "TCP" else network.bind
                        self._listeners[key] = kind(record.vip, port.number)
        usual = self._open_usual(wanted)
        self.usual = bool(usual)
        needed |= usual
        self.balance(wanted, vms)
        self.relay(wanted, vms)
        # Only now: the HAProxy before may still have accepted on these.
        for key in set(self._listeners) - needed:
            self._listeners.pop(key).close()
        self.name(wanted, vms)

    def _open_usual(self, wanted: Desired) -> set[Heard]:
        """Listen where Ingresses are looked for first, if that can be had."""
        keys: set[Heard] = set()
        for number in ingress.usual_ports(wanted):
            key: Heard = ("host", number, "TCP")
            listener = self._listeners.get(key) or self._keeper.listen_if_possible(number)
            if listener is None:
                return set()
            self._listeners[key] = listener
            keys.add(key)
        return keys

    def enforce(self, wanted: Desired) -> None:
        """Have the kernel let through what policies allow, from now on."""
        rules = firewall.rules(wanted)
        if self._in_namespace and rules != self._rules:
            network.enforce(rules)
            self._rules = rules

    def balance(self, wanted: Desired, vms: Collection[Vm]) -> None:
        """Have HAProxy serve what there is. Which slots are on is told by `switch` while it runs."""
        self._slots = {one.key: self._slots_of(one, vms) for one in wanted.deployments}
        self._routed = _routed(wanted)
        frontends = tuple(self._frontends(wanted, vms))
        bare = (
            replace(one, servers=tuple(replace(server, on=False) for server in one.servers))
            for one in frontends
        )
        self._sticky = frozenset(one.name for one in frontends if one.sticky_s)
        self._leaving = {one for one in self._leaving if one[0] in self._sticky}
        memory_port = MEMORY_PORT if self._in_namespace else None
        gate = self._gate(wanted)
        text, shape = (
            haproxy.render(
                tuple(some),
                stats_fd=self._balancer.stats_fd,
                check=self._in_namespace,
                gate=gate,
                memory_port=memory_port,
            )
            for some in (frontends, bare)
        )
        listeners = [fd for one in frontends for fd in one.listeners]
        listeners += [*gate.http, *gate.https] if gate else []
        self._balancer.configure(text, shape, sorted(listeners))

    def _slots_of(self, wanted: Wanted, vms: Collection[Vm]) -> int:
        used = (vm.slot + 1 for vm in vms if vm.key == wanted.key)
        needed = max(wanted.slots, self._slots.get(wanted.key, 0), *used, 1)
        return min(desired.MAX_SLOTS, -(-needed // SLOTS_AT_ONCE) * SLOTS_AT_ONCE)

    def _frontends(self, wanted: Desired, vms: Collection[Vm]) -> Iterator[haproxy.Frontend]:
        for record in wanted.services:
            for port in _by_connections(record):
                servers = tuple(self._servers(wanted.deployments, record.key, port, vms))
                yield haproxy.Frontend(
                    _frontend_name(record.key, port.number),
                    port.http,
                    self._listeners_of(record, port.number),
                    servers,
                    _sticky_s(wanted, record.key),
                )
        for service, number in sorted(self._routed):
            behind = [(one, each) for one in wanted.deployments for each in routed_backends(one)]
            servers = tuple(
                server
                for one, backend in behind
                if (backend.service, backend.number) == (service, number)
                for server in self._slot_servers(one, backend, vms)
            )
            sticky_s = _sticky_s(wanted, service)
            yield haproxy.Frontend(_routed_name(service, number), True, (), servers, sticky_s)
        for one in wanted.deployments:
            if not _balanced(one) and one.machine.health_port:
                backend = Backend("", 0, one.machine.health_port, http=True)
                servers = tuple(self._slot_servers(one, backend, vms))
                yield haproxy.Frontend(_health_name(one), http=True, listeners=(), servers=servers)

    def _listeners_of(self, record: ServiceRecord, number: int) -> tuple[int, ...]:
        """Those of a service port, on the host and in the network of the VMs."""
        keys: list[Heard] = [
            ("host", one.host_port, one.protocol)
            for one in record.ports
            if (one.number, one.protocol) == (number, "TCP")
        ]
        keys.append((record.vip, number, "TCP"))
        keys += [("host", number, "TCP")] if record.key == INGRESS and self.usual else []
        return tuple(
            self._listeners[key].fileno() for key in keys if key in self._needed and key in self._listeners
        )

    def _gate(self, wanted: Desired) -> haproxy.Gate | None:
        """What all Ingresses share."""
        # Also without any Ingress: then keys go from their folder.
        listed, version = self._certify(wanted)
        record = next((one for one in wanted.services if one.key == INGRESS), None)
        if record is None:
            return None
        requests = {(one.key, port.number) for one in wanted.services for port in one.ports if port.http}

        def backend(target: ingress.Target | None) -> str:
            if target is None:
                return haproxy.NOBODY
            where = (target.service, target.number)
            if not firewall.is_routed(wanted, *where):
                return haproxy.FORBIDDEN
            if where in requests:
                return _frontend_name(*where)
            return _routed_name(*where) if where in self._routed else haproxy.NOTHING

        hosts = tuple(
            haproxy.Host(
                site.host,
                tuple(haproxy.Rule(route.path, route.exact, backend(to)) for route, to in site.routes),
                backend(site.default),
                site.secure,
            )
            for site in ingress.sites(wanted)
        )
        ports = dict(ingress.record_ports(wanted, usual=self.usual))
        return haproxy.Gate(
            self._listeners_of(record, 80),
            self._listeners_of(record, 443) if listed else (),
            ports.get(443, 0),
            hosts,
            listed,
            version,
        )

    def _certify(self, wanted: Desired) -> tuple[str | None, str]:
        """Have HAProxy's certificates in their folder: the list of them, if there are any, and what tells
        them apart from those before.
        """
        names = ingress.certificates(wanted.ingresses)
        if self._certified and self._certified[0] == (wanted.certificates, names):
            return self._certified[1:]
        pems = {}
        for one in wanted.certificates:
            try:
                text = secretsets.read(self._layout, one.deployment, one.set)
                pems[one.key] = certificates.pem(text, one.key.split("/")[1])
            except (OperationError, KeyError) as error:
                sys.stderr.write(f"Ingresses go without a certificate: {error}\n")
        folder = self._layout.certificates
        version = certificates.write(folder, names, pems)
        listed = str(folder / certificates.LIST) if pems else None
        self._certified = ((wanted.certificates, names), listed, version)
        return listed, version

    def _servers(
        self, deployments: Iterable[Wanted], service: str, port: Published, vms: Collection[Vm]
    ) -> Iterator[haproxy.Server]:
        """The slots behind a service port, of all deployments that it leads to."""
        for one in deployments:
            for backend in one.backends:
                if (backend.service, backend.number, backend.protocol) == (service, port.number, "TCP"):
                    yield from self._slot_servers(one, backend, vms)

    def _slot_servers(
        self, wanted: Wanted, backend: Backend, vms: Collection[Vm]
    ) -> Iterator[haproxy.Server]:
        found = {vm.slot: vm for vm in vms if vm.key == wanted.key}
        for slot in range(self._slots[wanted.key]):
            yield self._server(wanted, slot, backend, found.get(slot))

    def _server(self, wanted: Wanted, slot: int, backend: Backend, found: Vm | None) -> haproxy.Server:
        on = found is not None and found.state == "ready"
        name = server_name(wanted.key, slot)
        health = found.health_port if found else wanted.machine.health_port
        if self._in_namespace:
            return haproxy.Server(name, desired.address(wanted, slot), backend.target, on, health)
        # In the user network a slot has an address only while there is a VM that was given this port.
        port = found.forwards.get(backend.target) if found else None
        asked = found.forwards.get(health, 1) if found and health else health and 1
        return haproxy.Server(name, "127.0.0.1", port or 1, on and port is not None, asked)

    def relay(self, wanted: Desired, vms: Collection[Vm]) -> None:
        """Have datagrams go to the VMs that are ready now."""
        ports: dict[str, Led] = {}
        for record in wanted.services:
            for port in (one for one in record.ports if one.protocol == "UDP"):
                machines = tuple(self._machines(wanted, record.key, port, vms))
                keys: list[Heard] = [("host", port.host_port, "UDP"), (record.vip, port.number, "UDP")]
                sticky = _sticky_s(wanted, record.key) is not None
                for key in (key for key in keys if key in self._needed and key in self._listeners):
                    fd = self._listeners[key].fileno()
                    ports[f"{key[0]}:{key[1]}"] = Led(fd, machines, sticky)
        self._datagrams.lead(ports)

    def _machines(
        self, wanted: Desired, service: str, port: Published, vms: Collection[Vm]
    ) -> Iterator[tuple[str, int]]:
        """Where the ready VMs behind a service's UDP port wait for datagrams."""
        for one in wanted.deployments:
            for backend in one.backends:
                if (backend.service, backend.number, backend.protocol) != (service, port.number, "UDP"):
                    continue
                for found in (vm for vm in vms if vm.key == one.key and vm.state == "ready"):
                    if self._in_namespace:
                        yield found.address, backend.target
                    elif backend.target in found.datagrams:
                        yield "127.0.0.1", found.datagrams[backend.target]

    def name(self, wanted: Desired, vms: Collection[Vm]) -> None:
        """Tell dnsmasq all names and addresses; it rereads them on SIGHUP."""
        if not self._in_namespace:
            return
        machines = [dns.Machine(one.address, one.id, one.key, one.state == "ready") for one in vms]
        self._outside.look_for(dns.strangers(wanted, machines))
        self._told = self._outside.known
        slots = [(one, self._slots_of(one, vms)) for one in wanted.deployments]
        self._layout.dhcp_hosts.write_text(dns.dhcp_lines(slots))
        self._layout.hosts.write_text(dns.host_lines(wanted, machines, self._told))
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

    def follow(self, wanted: Desired, vms: Collection[Vm]) -> None:
        """Tell dnsmasq where names outside are by now, if that changed."""
        if self._outside.known != self._told:
            self.name(wanted, vms)

    def restarted(self, pid: int, wanted: Desired, vms: Collection[Vm]) -> str | None:
        """If this process, which ended, was one of ours: start it again and say which."""
        self._stopped.discard(pid)
        if self._balancer.ended(pid):
            self.update(wanted, vms)
            return "haproxy"
        if self._dnsmasq is not None and pid == self._dnsmasq.pid:
            self._dnsmasq = None
            time.sleep(0.05)  # a program that cannot start must not take all the time
            self.name(wanted, vms)
            return "dnsmasq"
        if self._datagrams.ended(pid):
            time.sleep(0.05)
            self.relay(wanted, vms)
            return "the relay of datagrams"
        return None

    def switch(self, wanted: Wanted | None, vm: Vm, *, on: bool) -> None:
        """Send requests to this VM from now on, or none."""
        for backend in self._backends_of(wanted):
            self._leaving.discard((backend, server_name(vm.key, vm.slot)))
            if on:
                self._balancer.switch_on(backend, server_name(vm.key, vm.slot))
            else:
                self._balancer.switch_off(backend, server_name(vm.key, vm.slot))

    def drain(self, wanted: Wanted | None, vm: Vm) -> None:
        """Send nothing new to this VM; what runs may finish."""
        for backend in self._backends_of(wanted):
            self._balancer.drain(backend, server_name(vm.key, vm.slot))
            if backend in self._sticky:
                self._leaving.add((backend, server_name(vm.key, vm.slot)))

    def _backends_of(self, wanted: Wanted | None) -> list[str]:
        """What HAProxy calls the backends with a deployment's slots: one to look after them at least."""
        if wanted is None:
            return []
        served = [_frontend_name(one.service, one.number) for one in _balanced(wanted)]
        routed = [
            _routed_name(one.service, one.number)
            for one in routed_backends(wanted)
            if (one.service, one.number) in self._routed
        ]
        return [*(served or ([_health_name(wanted)] if wanted.machine.health_port else [])), *routed]

    def busy(self) -> frozenset[str] | None:
        """The `server_name`s with requests in flight; None while it may be any of them.

        A HAProxy that was reloaded finishes what it has, and tells nobody any more what that is.
        """
        # Again and again: a request that was under way has its caller keep to the slot once more.
        for backend, server in self._leaving:
            self._balancer.forget(backend, server)
        if self._balancer.is_leaving:
            return None
        return frozenset(seen.server for seen in self._balancer.seen() if seen.requests)

    def silent(self) -> frozenset[str]:
        """The `server_name`s whose last checks got no answer at all: not refused, but hanging."""
        return frozenset(seen.server for seen in self._balancer.seen() if seen.check in ("L4TOUT", "L7TOUT"))

    def go_on(self) -> None:
        """Have our programs go on where they were stopped; where that does not help, start others."""
        ours = [self._balancer.pid, self._dnsmasq.pid if self._dnsmasq else None, self._datagrams.pid]
        stopped = {pid for pid in ours if pid is not None and processes.is_stopped(pid)}
        for pid in stopped:
            os.kill(pid, signal.SIGKILL if pid in self._stopped else signal.SIGCONT)
        self._stopped = stopped

    def end(self) -> None:
        """Stop answering."""
        self._balancer.stop()
        self._datagrams.stop()
        certificates.remove(self._layout.certificates)
        if self._dnsmasq is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._dnsmasq.pid, signal.SIGKILL)
            self._dnsmasq.wait()


def server_name(key: str, slot: int) -> str:
    """What HAProxy calls this slot, the same in every backend."""
    return f"{key.replace('/', ':')}:{slot}"


def routed_backends(wanted: Wanted) -> tuple[Backend, ...]:
    """The ports of a deployment's VMs that Ingresses can lead to, by service port."""
    services = services_of(wanted.key, wanted.written, wanted.attached)
    found = desired.backends_of(services, wanted.written.ports)
    return tuple(replace(one, http=True) for one in found if one.protocol == "TCP")


def _routed(wanted: Desired) -> frozenset[tuple[str, int]]:
    """The service ports that Ingresses lead to and that have no backend for requests by themselves."""
    asked = {(to.service, to.number) for site in ingress.sites(wanted) for _, to in site.routes}
    asked |= {(site.default.service, site.default.number) for site in ingress.sites(wanted) if site.default}
    requests = {(one.key, port.number) for one in wanted.services for port in one.ports if port.http}
    there = {(each.service, each.number) for one in wanted.deployments for each in routed_backends(one)}
    return frozenset((asked & there) - requests)


def _by_connections(record: ServiceRecord) -> list[Published]:
    """The ports of a service that have a frontend of their own."""
    return [one for one in record.ports if one.protocol == "TCP" and record.key != INGRESS]


def _balanced(wanted: Wanted) -> list[Backend]:
    """Where HAProxy sends connections: it knows nothing of UDP."""
    return [one for one in wanted.backends if one.protocol == "TCP"]


def _sticky_s(wanted: Desired, service: str) -> int | None:
    """For how long a caller of this service comes back to the same VM."""
    services = (
        each for one in wanted.deployments for each in services_of(one.key, one.written, one.attached)
    )
    found = (one.sticky_s for one in services if one.key == service and one.sticky_s)
    return next(found, None)


def _health_name(wanted: Wanted) -> str:
    return f"{wanted.key.replace('/', ':')}:health"


def _routed_name(service: str, number: int) -> str:
    return f"{_frontend_name(service, number)}:http"


def _frontend_name(service: str, number: int) -> str:
    return f"{service.replace('/', ':')}:{number}"
