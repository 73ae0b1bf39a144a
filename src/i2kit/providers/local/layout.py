"""Where provider `local` keeps its files.

`state_dir` says what should run and what it said (survives a reboot); `run_dir` holds sockets, locks and
generated configuration (does not need to). Nothing is left in either when nothing should run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ALREADY_RUNS = 75
"""The keeper's exit status when another one holds its lock (sysexits.h: EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths, from the two folders."""

    state_dir: Path
    run_dir: Path

    @property
    def desired(self) -> Path:
        return self.state_dir / "desired.json"

    @property
    def logs(self) -> Path:
        return self.state_dir / "logs"

    @property
    def volumes(self) -> Path:
        return self.state_dir / "volumes"

    @property
    def secrets(self) -> Path:
        return self.state_dir / "secrets"

    @property
    def control(self) -> Path:
        return self.run_dir / "control.sock"

    @property
    def keeper_lock(self) -> Path:
        return self.run_dir / "keeper.lock"

    @property
    def deploy_lock(self) -> Path:
        return self.run_dir / "deploy.lock"

    @property
    def watcher_lock(self) -> Path:
        return self.run_dir / "watcher.lock"

    @property
    def keeper_log(self) -> Path:
        return self.run_dir / "keeper.log"

    @property
    def haproxy_config(self) -> Path:
        return self.run_dir / "haproxy.cfg"

    @property
    def certificates(self) -> Path:
        return self.run_dir / "tls"

    @property
    def haproxy_socket(self) -> Path:
        return self.run_dir / "haproxy.sock"

    @property
    def dnsmasq_config(self) -> Path:
        return self.run_dir / "dnsmasq.conf"

    @property
    def hosts(self) -> Path:
        return self.run_dir / "hosts"

    @property
    def dhcp_hosts(self) -> Path:
        return self.run_dir / "dhcp-hosts"

    @property
    def leases(self) -> Path:
        return self.run_dir / "leases"

    def left_by_keeper(self) -> Sequence[Path]:
        """What a keeper and its supervisor make in `run_dir`, the lock last: what may be removed after it.

        By name, since the folder may be one that others use too, and without the deploy lock, on which
        somebody may be waiting right now.
        """
        return (
            *(self.haproxy_config, self.haproxy_config.with_suffix(".new"), self.haproxy_socket),
            *(self.dnsmasq_config, self.hosts, self.dhcp_hosts),
            *(self.leases, self.control, self.keeper_log, *self.run_dir.glob("*.user-data")),
            *(self.watcher_lock, self.keeper_lock),
        )

    def userdata(self, namespace: str, instance: str) -> Path:
        return self.run_dir / f"{namespace}.{instance}.user-data"

    def deployment_logs(self, namespace: str, name: str) -> Path:
        return self.logs / namespace / name

    def container_log(self, namespace: str, name: str, instance: str) -> Path:
        return self.deployment_logs(namespace, name) / instance / "containers.log"

    def console_log(self, namespace: str, name: str, instance: str) -> Path:
        return self.deployment_logs(namespace, name) / instance / "console.log"
