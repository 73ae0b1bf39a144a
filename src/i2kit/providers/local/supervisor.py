"""The supervisor: makes the VMs of this machine what `desired.json` says, and keeps them so.

PID 1 of its own namespaces (where the machine allows them). In: orders on the control socket and
the words of guests. Out: QEMU, HAProxy and dnsmasq processes. What to do is decided by `plan`, `rollout`
and `scaling`; this module only does it, in one thread, one event at a time.
Started by the keeper: python -m i2kit.providers.local.supervisor STATE RUN NETWORK ACCELERATOR LINK_FD
"""

import contextlib
import ctypes
import json
import os
import resource
import secrets
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from i2kit.errors import I2kitError, OperationError
from i2kit.process import SEARCH_PATH
from i2kit.providers.local import control
from i2kit.providers.local.changes import Changes, story
from i2kit.providers.local.design import claims, describe, desired, jobs, plan, rollout, scaling
from i2kit.providers.local.design.desired import Desired, Wanted
from i2kit.providers.local.layout import Layout
from i2kit.providers.local.machines import processes, secretsets, userdata, vm, volumes
from i2kit.providers.local.machines.machine import Vm
from i2kit.providers.local.machines.metadata import MetadataServer, Subject
from i2kit.providers.local.machines.programs import spawn_vm
from i2kit.providers.local.reach import dns, network
from i2kit.providers.local.reach.exposure import Exposure, KeeperLink, server_name

LOOK_S = 0.5
"""How often it is looked which VMs hang and how rollouts go."""

HUNG_S = 10.0
"""A VM that was ready and whose checks time out for this long is killed and replaced."""

HUNG_IDLE_S = 2.0
"""One that uses no CPU meanwhile is not only slow. Long enough for another check: the first that is late may
be so because this machine was.
"""

IDLE_CPU_S = 0.01
"""What a VM that does nothing uses between two looks, at most: the kernel's smallest unit."""

FIRST_CHECK_S = 4.0
"""Within this time from its being ready HAProxy has asked a VM at least once."""

BOOT_S = 300.0
"""A VM whose guest says nothing for this long is killed and replaced: 40 emulated at once took 126 s."""

LATE_S = 5.0
"""How long a VM that was told to stop, or whose pod ended, may take beyond its time."""

IDLE_S = 60.0
"""With nothing to run for this long after the start, the command that started us was killed."""

KEEP_DEAD_LOGS = 5
KEEP_JOB_LOGS = 100
"""Of a job, whose VMs all end, at most so many of the runs that are known."""

PR_SET_THP_DISABLE = 41
"""linux/prctl.h: QEMU's memory in huge pages costs 4–6 MB a VM that it never touches."""


class Supervisor:
    """The state of this machine's VMs and the loop that keeps it true."""

    def __init__(self, layout: Layout, mode: str, accelerator: Literal["kvm", "tcg"], keeper: socket.socket):
        self._layout = layout
        self._in_namespace = mode == "namespace"
        self._accelerator = accelerator
        self._keeper = KeeperLink(keeper)
        self._selector = selectors.DefaultSelector()
        self._desired = Desired()
        self._may_end = False
        self._is_late = False
        """Whether callers could not be told of a change yet."""
        self._vms: dict[str, Vm] = {}
        self._failures: dict[tuple[str, int], int] = {}
        self._not_before: dict[tuple[str, int], float] = {}
        self._dead_details: dict[str, str] = {}
        self._changes = Changes(self._vms)
        self._recommended: dict[str, tuple[scaling.Recommended, ...]] = {}
        self._metadata: MetadataServer | None = None
        self._started_s = time.monotonic()
        self._next_look_s = 0.0
        self._next_scaling_s = self._started_s + scaling.PERIOD_S

    # ---- start and loop

    def run(self) -> None:
        """Set everything up, bring back what should run, then serve until nothing should."""
        wakeup, wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._selector.register(wakeup, selectors.EVENT_READ, lambda: self._drain_pipe(wakeup))
        if self._in_namespace:
            network.make()
            self._metadata = MetadataServer(network.METADATA)
            self._keeper.up()
        self._exposure = Exposure(self._layout, self._keeper, in_namespace=self._in_namespace)
        self._desired = self._load()
        for wanted in self._desired.deployments:
            if not wanted.reason:
                self._changes.begin(wanted, restoring=wanted.rolling)
        self._publish()
        requests = control.listen(self._layout.control)
        requests.setblocking(False)
        self._selector.register(requests, selectors.EVENT_READ, lambda: self._accept(requests))
        while not (self._may_end and not self._desired.deployments and not self._vms):
            self._reconcile()
            for key, _ in self._selector.select(self._patience_s()):
                cast(Callable[[], None], key.data)()
            self._reap()
            self._look_after()
        self._end()

    def _publish(self) -> None:
        self._exposure.update(self._desired, self._vms.values())
        self._is_late = False

    def _name(self) -> None:
        self._exposure.name(self._desired, self._vms.values())

    def _try(self, act: Callable[[], object]) -> None:
        """Do what no command waits for. Where it fails, as on a full disk, all is published later."""
        try:
            act()
        except (I2kitError, OSError) as error:
            if not self._is_late:
                _log(f"callers are not told of a change yet: {error}")
            self._is_late = True

    def _drain_pipe(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(fd, 4096):
                pass

    def _patience_s(self) -> float:
        """Until when nothing needs to be done unless something happens."""
        now = time.monotonic()
        if any(one.state == "draining" and not one.told_to_stop for one in self._vms.values()):
            return 0.05
        waiting = [when - now for when in self._not_before.values() if when > now]
        return max(0.01, min([*waiting, LOOK_S]))

    def _end(self) -> None:
        self._exposure.end()
        self._layout.control.unlink(missing_ok=True)

    # ---- what should run, on disk

    def _load(self) -> Desired:
        try:
            return desired.from_json(self._layout.desired.read_text())
        except FileNotFoundError:
            return Desired()
        except (ValueError, KeyError, TypeError) as error:
            aside = self._layout.desired.with_suffix(f".unreadable-{int(time.time())}")
            self._layout.desired.replace(aside)
            _log(f"{self._layout.desired} is unreadable ({error!r}); kept as {aside.name}")
            return Desired()

    def _save(self, wanted: Desired) -> None:
        """Written aside, synced and renamed before anything is done about it. Secrets that only what was
        before needs go then.
        """
        self._write(wanted)
        self._desired = wanted
        with contextlib.suppress(OSError):
            secretsets.forget_others(self._layout, desired.secret_sets(wanted))

    def _write(self, wanted: Desired) -> None:
        path = self._layout.desired
        aside = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not wanted.deployments:
                path.unlink(missing_ok=True)
                return
            with aside.open("w") as file:
                file.write(desired.to_json(wanted))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise OperationError(
                f"cannot write {path}: {error.strerror}",
                hint="nothing was changed; free some space, then try again",
            ) from error

    # ---- orders

    def _accept(self, requests: socket.socket) -> None:
        try:
            connection, _ = requests.accept()
        except OSError:
            return
        connection.setblocking(False)
        text = bytearray()

        def read() -> None:
            try:
                chunk = connection.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            text.extend(chunk)
            if chunk and b"\n" not in chunk and len(text) < control.MAX_MESSAGE_BYTES:
                return
            self._selector.unregister(connection)
            with connection:
                if b"\n" in text:
                    answer = json.dumps(self._answer(bytes(text))).encode()
                    connection.settimeout(5)
                    with contextlib.suppress(OSError):
                        connection.sendall(answer)

        self._selector.register(connection, selectors.EVENT_READ, read)

    def _answer(self, text: bytes) -> dict[str, Any]:
        try:
            match json.loads(text):
                case {"do": "apply", "order": dict() as order, "secrets": dict() as given}:
                    return {"revision": self._admit(desired.order_from_data(order), given)}
                case {"do": "remove", "key": str() as key, "hurry": bool() as hurry}:
                    self._remove(key, hurry=hurry)
                    return {}
                case {"do": "end-if-idle"}:
                    self._may_end = not self._desired.deployments
                    return {}
                case {"do": "status"}:
                    self._judge()
                    found = [self._describe(one) for one in self._desired.deployments]
                    keys = {one.key for one in self._desired.deployments}
                    leaving = sorted({one.key for one in self._vms.values()} - keys)
                    network = "namespace" if self._in_namespace else "user"
                    return {
                        "protocol": control.PROTOCOL,
                        "network": network,
                        "deployments": found,
                        "leaving": leaving,
                    }
                case _:
                    return {"error": "the supervisor does not know this request"}
        except I2kitError as error:
            return {"error": error.message, "hint": error.hint}
        except OSError as error:
            # Such as a full disk: told to who asked, for the VMs that run it is no reason to end.
            return {"error": f"the supervisor could not do it: {error}", "hint": "mend that, then try again"}

    def _describe(self, wanted: Wanted) -> dict[str, Any]:
        return describe.deployment(
            wanted,
            self._desired,
            self._vms.values(),
            unpublished=self._exposure.unpublished,
            usual=self._exposure.usual,
            detail=self._dead_details.get(wanted.key, ""),
            complete=self._changes.is_complete(wanted),
            stuck=self._changes.stuck.get(wanted.key, ""),
        )

    def _admit(self, order: desired.Order, given: Mapping[str, str]) -> int:
        """Take an order in, with the sets of secrets that are new by their names; which revision it is.

        Ports that others use are passed over as long as they were neither promised nor given.
        """
        claims.check(self._desired, order)
        promised = {port.host_port for record in self._desired.services for port in record.ports}
        promised |= desired.node_ports(order)
        taken: set[int] = set()
        while True:
            wanted = desired.admit(self._desired, order, taken=taken, now=_now(), leaving=self._leaving())
            busy = {
                port.host_port
                for record in wanted.services
                for port in record.ports
                if port.host_port not in promised
                and not self._exposure.open_host_port(port.host_port, port.protocol)
            }
            if not busy:
                break
            taken |= busy
        for name, secret in given.items():
            secretsets.keep(self._layout, order.key, name, secret)
        self._save(wanted)
        self._may_end = False
        self._outdate(order.key)
        self._forgive(order.key)
        self._publish()
        admitted = next(one for one in wanted.deployments if one.key == order.key)
        self._changes.begin(admitted)
        return admitted.revision

    def _leaving(self) -> frozenset[int]:
        """The places in the network where VMs of removed deployments are yet."""
        keys = {one.key for one in self._desired.deployments}
        return frozenset(one.place for one in self._vms.values() if one.key not in keys)

    # ---- rollouts

    def _judge(self) -> None:
        """Note which changes are done and which have failed; those go back."""
        before = {one.key: one.revision for one in self._desired.deployments}
        after = self._changes.judged(self._desired, _now())
        if after is self._desired:
            return
        self._note(after)
        for one in after.deployments:
            if one.revision != before[one.key]:
                self._outdate(one.key)
                self._forgive(one.key)
                self._try(self._publish)

    def _note(self, wanted: Desired) -> None:
        """Save what nobody asked for; where the disk is full it is written with the next order."""
        try:
            self._save(wanted)
        except OperationError as error:
            self._desired = wanted
            _log(error.message)

    # ---- the number of VMs

    def _scale(self, now: float) -> None:
        """Have as many VMs as what they use asks for, where that is wanted."""
        for wanted in self._desired.deployments:
            policy, mine = wanted.policy, [one for one in self._vms.values() if one.key == wanted.key]
            if policy.scaling is None:
                self._recommended.pop(wanted.key, None)
                continue
            measured = [self._measured(one, now) for one in mine if one.state != "draining"]
            number = scaling.recommended(policy, wanted.replicas, measured)
            if number is None:
                continue
            first = (scaling.Recommended(now, wanted.replicas),)
            before = (*self._recommended.get(wanted.key, first), scaling.Recommended(now, number))
            self._recommended[wanted.key] = scaling.remembered(policy.scaling, before, now)
            number = scaling.settled(policy.scaling, wanted.replicas, before, now)
            if number != wanted.replicas:
                self._note(desired.scale(self._desired, wanted.key, number))
                _log(f"{wanted.key} scales from {wanted.replicas} to {number} replicas")
                self._try(self._publish)

    def _measured(self, one: Vm, now: float) -> scaling.Measured:
        """What its guest says that its containers use, or else what its QEMU uses."""
        if one.usage:
            return scaling.Measured(one.state == "ready", *one.usage)
        memory = (one.memory_kb[0] - one.memory_kb[1]) * 1024 if one.memory_kb else None
        cpu_s = processes.cpu_s(one.process.pid)
        before, one.sampled = one.sampled, (now, cpu_s)
        if before is None or now <= before[0]:
            return scaling.Measured(one.state == "ready", None, memory)
        return scaling.Measured(
            one.state == "ready", round(1000 * (cpu_s - before[1]) / (now - before[0])), memory
        )

    def _outdate(self, key: str) -> None:
        """In the user network a VM's ports are fixed when it starts: for another one it is replaced."""
        wanted = self._desired.deployment(key)
        if wanted is None or self._in_namespace:
            return
        for one in self._vms.values():
            reached = one.forwards.keys() >= set(wanted.target_ports)
            if one.key == key and not (reached and one.datagrams.keys() >= set(wanted.target_datagrams)):
                one.machine = "other ports"

    def _forgive(self, key: str) -> None:
        """What failed before is another revision's: start without waiting."""
        for slot_key in [one for one in self._not_before if one[0] == key]:
            self._not_before.pop(slot_key)
            self._failures.pop(slot_key, None)

    def _remove(self, key: str, *, hurry: bool) -> None:
        """Ask what served to end, in its time. In a hurry only what has disks, which stay, may finish."""
        wanted = self._desired.deployment(key)
        self._save(desired.remove(self._desired, key))
        for one in [one for one in self._vms.values() if one.key == key]:
            if one.claims or (one.served and not hurry):
                self._drain(one)
                self._ask_to_end(one, one.grace_s)
            else:
                one.kill()
        if wanted:
            logs = self._layout.deployment_logs(wanted.namespace, wanted.name)
            shutil.rmtree(logs, ignore_errors=True)
            # Not the folder of all logs with what is in it: it may be one that others use too.
            with contextlib.suppress(OSError):
                logs.parent.rmdir()
                logs.parent.parent.rmdir()
        self._dead_details.pop(key, None)
        self._changes.forget(key)
        self._recommended.pop(key, None)
        self._publish()

    # ---- VMs

    def _reconcile(self) -> None:
        """Take every step that `plan` knows for now."""
        now = time.monotonic()
        for wanted in self._desired.deployments:
            goal = self._changes.goal(wanted)
            waits = {slot: when for (key, slot), when in self._not_before.items() if key == wanted.key}
            for step in plan.next_steps(goal, self._changes.running(goal), waits, now):
                match step:
                    case plan.Start(slot, run) if not self._are_held(goal, slot):
                        self._start(goal, slot, run)
                    case plan.Drain(id):
                        self._drain(self._vms[id])
                    case plan.Kill(id) if self._vms[id].served or self._vms[id].claims:
                        self._drain(self._vms[id])
                    case plan.Kill(id):
                        self._vms[id].kill()
                        self._vms[id].state = "draining"
                        self._vms[id].told_to_stop = True
        keys = {wanted.key for wanted in self._desired.deployments}
        for one in self._vms.values():
            if one.key not in keys and one.state != "draining":
                one.kill()

    def _are_held(self, wanted: Wanted, slot: int) -> bool:
        """Whether a VM that is about to end, as of a removed deployment, has one of its disks yet."""
        for disk in wanted.machine.disks:
            claim = claims.claim_of(disk, wanted.name, slot)
            if volumes.is_attached(self._layout, wanted.namespace, claim):
                self._dead_details[wanted.key] = f"volume {claim} is still attached to another VM"
                return True
        return False

    def _start(self, wanted: Wanted, slot: int, run: int) -> None:
        """Boot one VM. Failing to start QEMU counts as a VM that ended at once."""
        unique = secrets.token_hex(3)[:5]
        instance = desired.instance_of(wanted, slot, f"{run}-{unique}" if run else unique)
        fds: list[int] = []
        try:
            one = self._boot(wanted, slot, instance, fds)
            one.run = run
        except (I2kitError, OSError) as error:
            self._dead_details[wanted.key] = str(error)
            self._count_failure(wanted.key, run or slot, lived_s=0.0)
            why = rollout.story(f"{instance}: {error}", ())
            self._changes.died(self._desired.deployment(wanted.key), wanted.machine.fingerprint, why)
            self._count(self._desired.deployment(wanted.key), run, "", why)
            self._layout.userdata(wanted.namespace, instance).unlink(missing_ok=True)
            return
        finally:
            for fd in fds:
                os.close(fd)
        self._vms[one.handle] = one
        self._selector.register(one.control, selectors.EVENT_READ, lambda: self._hear(one))
        self._selector.register(one.log, selectors.EVENT_READ, lambda: self._keep_log(one))
        self._selector.register(one.console, selectors.EVENT_READ, lambda: self._keep_console(one))
        if not self._in_namespace:
            self._try(self._publish)  # the slot's ports on the host changed
        else:
            self._try(self._name)

    def _boot(self, wanted: Wanted, slot: int, instance: str, fds: list[int]) -> Vm:
        """Start QEMU for this slot; descriptors that only QEMU needs are added to `fds`."""
        log_path = self._layout.container_log(wanted.namespace, wanted.name, instance)
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._forget_old_logs(wanted)
        drives = list(self._drives(wanted, slot, fds))
        told_secrets = ""
        if wanted.machine.secrets:
            told_secrets = secretsets.read(self._layout, wanted.key, wanted.machine.secrets)
        text = userdata.render(wanted, instance, self._desired.services, namespace_network=self._in_namespace)
        where = desired.address(wanted, slot) if self._in_namespace else "127.0.0.1"
        forwards: dict[int, int] = {}
        datagrams: dict[int, int] = {}
        told: Path | None = None
        net: vm.TapNetwork | vm.UserNetwork
        if self._in_namespace:
            assert self._metadata
            self._metadata.tell(Subject(instance, where, wanted.machine.image, text, told_secrets))
            mac = desired.mac(wanted, slot)
            fds.append(network.open_tap(f"vm{wanted.index}.{slot}", mac, where))
            net = vm.TapNetwork(fds[-1], mac)
        else:
            told = self._layout.userdata(wanted.namespace, instance)
            told.write_text(text)
            if told_secrets:
                fds.append(volumes.in_memory(told_secrets))
                drives.append(vm.Drive(fds[-1], userdata.SECRETS_SERIAL, read_only=True))
            ports = {*wanted.target_ports} | {port for port in (wanted.machine.health_port,) if port}
            forwards = {port: network.unused_port() for port in sorted(ports)}
            datagrams = {port: network.unused_port("UDP") for port in wanted.target_datagrams}
            net = vm.UserNetwork(
                tuple((outside, inside) for inside, outside in forwards.items()),
                desired.mac(wanted, slot),
                tuple((outside, inside) for inside, outside in datagrams.items()),
            )
        control_end, control_theirs = socket.socketpair()
        log_end, log_theirs = socket.socketpair()
        console_end, console_theirs = socket.socketpair()
        for ours in (control_end, log_end, console_end):
            ours.setblocking(False)
        channels = vm.Channels(control_theirs.detach(), log_theirs.detach(), console_theirs.detach())
        fds += [channels.control_fd, channels.log_fd, channels.console_fd]
        words = vm.argv(
            str(self._layout.run_dir / wanted.namespace / instance),
            wanted.machine,
            net,
            channels,
            accelerator=self._accelerator,
            most_cpus=os.cpu_count() or 1,
            userdata=told,
            drives=drives,
        )
        try:
            process = spawn_vm(
                words,
                fds,
                wanted.machine,
                console_fd=channels.console_fd,
                userdata=told,
                kvm=self._accelerator == "kvm",
                own_network=self._in_namespace,
            )
        except (I2kitError, OSError):
            for ours in (control_end, log_end, console_end):
                ours.close()
            raise
        return Vm(
            id=instance,
            key=wanted.key,
            place=wanted.index,
            slot=slot,
            machine=wanted.machine.fingerprint,
            image=wanted.machine.image,
            address=where if self._in_namespace else _forwarded(forwards, wanted.target_ports),
            process=process,
            control=control_end,
            log=log_end,
            log_path=log_path,
            console=console_end,
            console_path=self._layout.console_log(wanted.namespace, wanted.name, instance),
            claims=tuple(claims.claim_of(disk, wanted.name, slot) for disk in wanted.machine.disks),
            forwards=forwards,
            datagrams=datagrams,
            grace_s=wanted.machine.grace_s,
            health_port=wanted.machine.health_port,
        )

    def _drives(self, wanted: Wanted, slot: int, fds: list[int]) -> Iterator[vm.Drive]:
        """Open the disks for the VM in this slot; their descriptors are added to `fds`."""
        for number, disk in enumerate(wanted.machine.disks):
            claim = claims.claim_of(disk, wanted.name, slot)
            fds.append(
                volumes.attach(self._layout, wanted.namespace, claim, disk.size_bytes, deployment=wanted.key)
            )
            yield vm.Drive(fds[-1], userdata.disk_serial(number))
        if wanted.machine.scratch_bytes:
            fds.append(volumes.scratch(self._layout, wanted.machine.scratch_bytes))
            yield vm.Drive(fds[-1], userdata.SCRATCH_SERIAL)

    def _forget_old_logs(self, wanted: Wanted) -> None:
        """Keep the logs of living VMs, of numbered ones that come again, and of the last few dead ones."""
        folder = self._layout.deployment_logs(wanted.namespace, wanted.name)
        living = {one.id for one in self._vms.values() if one.key == wanted.key}
        if wanted.machine.stateful:
            living |= {desired.instance_of(wanted, slot, "") for slot in range(wanted.replicas)}
        dead = [path for path in folder.iterdir() if path.name not in living]
        by_age = sorted(dead, key=lambda path: path.stat().st_mtime)
        forgotten = by_age[:-KEEP_DEAD_LOGS]
        if wanted.policy.job:
            runs = {str(one.number) for one in wanted.runs}
            of_run = {path: path.name.rpartition("-")[0].rpartition("-")[2] for path in by_age}
            forgotten = [path for path in by_age if of_run[path] not in runs] + by_age[:-KEEP_JOB_LOGS]
        for path in forgotten:
            shutil.rmtree(path, ignore_errors=True)

    def _hear(self, one: Vm) -> None:
        changed = one.hear()
        if one.mounted and self._metadata:
            self._metadata.hide_secrets(one.address)
        if not changed:
            return
        if one.state == "ready":
            self._exposure.balance(self._desired, self._vms.values())  # its health port may be another
            one.sampled = (time.monotonic(), processes.cpu_s(one.process.pid))
            self._switch(one, on=True)
        elif one.state == "starting":
            self._switch(one, on=False)
        self._tell_of(one)

    def _tell_of(self, one: Vm) -> None:
        """A VM became ready or is no longer: who is told of VMs by other ways than HAProxy hears of it."""
        wanted = self._desired.deployment(one.key)
        if dns.headless(wanted):
            self._try(self._name)
        if wanted and wanted.target_datagrams:
            self._try(lambda: self._exposure.relay(self._desired, self._vms.values()))

    def _keep_log(self, one: Vm) -> None:
        if not one.keep_log():
            self._selector.unregister(one.log)

    def _keep_console(self, one: Vm) -> None:
        if not one.keep_console():
            self._selector.unregister(one.console)

    def _switch(self, one: Vm, *, on: bool) -> None:
        self._exposure.switch(self._desired.deployment(one.key), one, on=on)

    def _drain(self, one: Vm) -> None:
        """Have it leave: nothing new, and its time runs."""
        one.state = "draining"
        one.gone_by_s = time.monotonic() + one.grace_s
        self._exposure.drain(self._desired.deployment(one.key), one)
        self._tell_of(one)

    def _look_after(self) -> None:
        """Move draining VMs on; now and then, see what hangs, how rollouts go and which ports got free."""
        now = time.monotonic()
        self._move_on([one for one in self._vms.values() if one.state == "draining"], now)
        if now < self._next_look_s:
            return
        self._next_look_s = now + LOOK_S
        self._exposure.go_on()
        self._try(lambda: self._exposure.follow(self._desired, self._vms.values()))
        self._kill_hung(now)
        self._go_on_with_jobs()
        self._judge()
        if now >= self._next_scaling_s:
            self._next_scaling_s = now + scaling.PERIOD_S
            self._scale(now)
        if now - self._started_s > IDLE_S and not self._desired.deployments:
            self._may_end = True
        if self._exposure.unpublished or self._is_late:
            self._try(self._publish)

    def _move_on(self, draining: Sequence[Vm], now: float) -> None:
        """Tell VMs without requests to stop, with what is left of their time; end those that do not."""
        waiting = [one for one in draining if not one.told_to_stop]
        busy = self._exposure.busy() if waiting else None
        for one in waiting:
            idle = busy is not None and server_name(one.key, one.slot) not in busy
            if one.gone_by_s is not None and (idle or now >= one.gone_by_s):
                self._ask_to_end(one, round(one.gone_by_s - now))
        for one in draining:
            if one.told_to_stop and one.gone_by_s is not None and now >= one.gone_by_s:
                one.kill()

    def _ask_to_end(self, one: Vm, left_s: int) -> None:
        left_s = max(1, left_s)
        one.say(f"stop {left_s}")
        one.told_to_stop, one.gone_by_s = True, time.monotonic() + left_s + LATE_S

    def _kill_hung(self, now: float) -> None:
        silent = self._exposure.silent()
        for one in self._vms.values():
            why = self._hung(one, server_name(one.key, one.slot) in silent, now)
            if why:
                one.detail = why
                one.kill()

    def _hung(self, one: Vm, silent: bool, now: float) -> str:
        """Why a VM will not answer any more; "" for one that may."""
        was_stopped, one.stopped = one.stopped, processes.is_stopped(one.process.pid)
        if was_stopped and one.stopped:
            return "its process was stopped"
        if one.finished and now - one.finished_s > one.grace_s + LATE_S:
            return "its pod ended and it did not"
        if not one.booted and now - one.started_s > BOOT_S:
            return f"its guest said nothing for {BOOT_S:g} s"
        # What is told of a slot may be of the VM before, until the first check of this one is over.
        young = one.ready_since_s is None or now - one.ready_since_s < FIRST_CHECK_S
        if one.state != "ready" or young or not silent:
            one.silent_since = None
            return ""
        cpu_s = processes.cpu_s(one.process.pid)
        if one.silent_since is None:
            one.silent_since = (now, cpu_s)
            return ""
        since_s, before_s = one.silent_since
        looks = (now - since_s) / LOOK_S
        idle = cpu_s - before_s <= IDLE_CPU_S * looks
        return "it no longer answered" if now - since_s >= (HUNG_IDLE_S if idle else HUNG_S) else ""

    def _reap(self) -> None:
        """Take the exit status of every process that ended, and act on those that matter."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            restarted = self._exposure.restarted(pid, self._desired, self._vms.values())
            if restarted:
                _log(f"{restarted} ended with status {code} and was started again")
            else:
                for one in list(self._vms.values()):
                    if one.process.pid == pid:
                        one.process.returncode = code
                        self._ended(one, code)

    def _ended(self, one: Vm, code: int) -> None:
        """A VM is gone: no more requests there, its connections end, its slot is free."""
        asked = one.state == "draining"
        self._switch(one, on=False)
        if self._in_namespace:
            network.forget_connections(one.address)
            assert self._metadata
            self._metadata.forget(one.address)
        for channel in (one.control, one.log, one.console):
            with contextlib.suppress(KeyError):
                self._selector.unregister(channel)
        one.close()
        del self._vms[one.handle]
        self._layout.userdata(one.key.split("/")[0], one.id).unlink(missing_ok=True)
        wanted = self._desired.deployment(one.key)
        if wanted and wanted.policy.job:
            if not asked or one.finished == "0":
                self._count(wanted, one.run, one.finished, story(one, _how(one, code)))
            if not asked and one.finished != "0":
                self._count_failure(one.key, one.run, lived_s=time.monotonic() - one.started_s)
        elif wanted and not asked:
            self._dead_details[one.key] = f"{one.id}: {_how(one, code)}"
            self._count_failure(one.key, one.slot, lived_s=time.monotonic() - one.started_s)
            self._changes.died(wanted, one.machine, story(one, _how(one, code)), by_itself=code == 0)
        self._tell_of(one)
        self._try(self._name)

    def _count(self, wanted: Wanted | None, run: int, finished: str, why: str) -> None:
        """Note that a VM of a job's run ended, and as what its pod finished, if it said so."""
        if wanted is None or wanted.policy.job is None:
            return
        final = wanted.policy.job.retry and finished != ""
        runs = jobs.counted(
            *(wanted.policy.job, wanted.runs, run, _now()), well=finished == "0", final=final, story=why
        )
        self._ran(wanted, runs, wanted.scheduled_at)

    def _ran(self, wanted: Wanted, runs: jobs.Runs, scheduled_at: str) -> None:
        """Note what came of a job's runs."""
        if (runs, scheduled_at) != (wanted.runs, wanted.scheduled_at):
            reason = rollout.in_short(runs[-1].story) if runs else ""
            self._note(desired.ran(self._desired, wanted.key, runs, scheduled_at, reason))

    def _go_on_with_jobs(self) -> None:
        """End runs that take too long, and begin those whose time has come."""
        now = _now()
        for wanted in self._desired.deployments:
            if job := wanted.policy.job:
                runs, scheduled_at = jobs.due(job, wanted.runs, wanted.scheduled_at, now)
                self._ran(wanted, jobs.late(job, runs, now), scheduled_at)

    def _count_failure(self, key: str, slot: int, *, lived_s: float) -> None:
        """Have the slot wait, or of a job the run, if it is not the first time."""
        before = 0 if lived_s > plan.STABLE_S else self._failures.get((key, slot), 0)
        self._failures[key, slot] = before + 1
        self._not_before[key, slot] = time.monotonic() + plan.retry_delay_s(before + 1)


def _how(one: Vm, code: int) -> str:
    """How a VM ended, and what was known of it before."""
    # bwrap tells a signal as a shell does, by 128 and its number.
    number = -code if code < 0 else code - 128
    if one.finished:
        return one.detail or f"its pod ended with status {one.finished}"
    if code == 0:
        how = "it switched itself off"
    else:
        how = f"QEMU was ended by signal {number}" if number > 0 else f"QEMU ended with status {code}"
    return f"{how}; {one.detail}" if one.detail else how


def _forwarded(forwards: Mapping[int, int], ports: Sequence[int]) -> str:
    """Where a VM in QEMU's user network answers on its first port."""
    return f"127.0.0.1:{forwards[ports[0]]}" if ports else "127.0.0.1"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _log(text: str) -> None:
    sys.stderr.write(f"supervisor: {text}\n")
    sys.stderr.flush()


def main() -> None:
    """Become the supervisor."""
    state_dir, run_dir, mode, accelerator, link = sys.argv[1:]
    os.umask(0o077)
    os.environ["PATH"] = SEARCH_PATH
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    # HAProxy sizes its tables by this limit, which can be a billion.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    layout = Layout(Path(state_dir), Path(run_dir))
    keeper = socket.socket(fileno=int(link))
    keeper.set_inheritable(False)
    Supervisor(layout, mode, cast(Literal["kvm", "tcg"], accelerator), keeper).run()


if __name__ == "__main__":
    main()
