"""A manifest as a whole, what is to run, and what was found to run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from i2kit.errors import Problem
from i2kit.model.image import MachineImage
from i2kit.model.network import Alias, Ingress, NetworkPolicy, Service
from i2kit.model.words import Pairs
from i2kit.model.workload import SecretValue, Workload


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a set of files says, checked as a whole. `warnings` are for the user, in order.

    `lonely` are services that select no workload of these files, each with the problem that this is
    unless they select a deployment that runs.
    """

    workloads: tuple[Workload, ...]
    services: tuple[Service, ...] = ()
    warnings: tuple[str, ...] = ()
    lonely: tuple[tuple[Service, Problem], ...] = ()
    ingresses: tuple[Ingress, ...] = ()
    policies: tuple[NetworkPolicy, ...] = ()
    aliases: tuple[Alias, ...] = ()
    secrets: tuple[SecretValue, ...] = field(default=(), repr=False)
    """All that the workloads, their registries and the Ingresses need, from the files and as given."""


@dataclass(frozen=True, slots=True)
class Release:
    """One workload as it should run: the pod, its machine image, the services in front of it.

    `neighbours` are the services of the other workloads in the same files: its containers are told
    where to reach them, even before anything stands behind them.
    """

    workload: Workload
    image: MachineImage
    services: tuple[Service, ...]
    neighbours: tuple[Service, ...] = ()
    disk: Path | None = field(default=None, compare=False)
    """The machine image in the form that the provider asked for, where that is a single file."""
    manifest: str = field(default="", compare=False)
    """A hash of what the files say of it: tells apart what was asked for, where images are the same."""
    ingresses: tuple[Ingress, ...] = ()
    """Those that lead to one of its services, each whole: with the routes to others."""
    policies: tuple[NetworkPolicy, ...] = ()
    """Those that select its pods."""
    aliases: tuple[Alias, ...] = ()
    """Names of its network that come with it; each comes with one release of the files."""
    secrets: tuple[SecretValue, ...] = field(default=(), compare=False, repr=False)
    """The values of its workload's secrets, and those that its ingresses end TLS with."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a deployment was at a time. Only those that are `kept` can be gone back to."""

    number: int
    image: str
    """The machine image's id."""
    containers: Pairs
    """Container name → pinned image reference."""
    manifest: str
    """Release.manifest."""
    created_at: str
    """RFC 3339, UTC."""
    outcome: Literal["serving", "rolling out", "superseded", "failed"]
    kept: bool = True
    reason: str = ""
    """Why it failed, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that answers for a deployment, such as http://127.0.0.1:30080."""

    url: str
    public: bool
    service: str
    port: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One VM. `ready` means that the load balancer sends it requests."""

    id: str
    address: str
    ready: bool
    image: str
    started_at: str
    """RFC 3339, UTC."""
    state: Literal["starting", "ready", "draining", "failed", "succeeded"] = "starting"
    detail: str = ""
    """Why it is not ready, where that is known: a container's exit status, a port nobody listens on."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a provider found: a workload that runs, as `status` shows it."""

    name: str
    namespace: str
    provider: str
    revision: int
    image: str
    endpoints: tuple[Endpoint, ...]
    replicas_wanted: int
    replicas_ready: int
    instances: tuple[Instance, ...]
    fingerprint: str = ""
    """Equal for two releases exactly when a deploy of the second has nothing to do."""
    machine: str = ""
    """The same for the VM alone: another one means that every VM is replaced."""
    containers: tuple[str, ...] = ()
    """The names of the containers in each VM."""
    labels: Pairs = ()
    """Its workload's, by which services select."""
    services: tuple[Service, ...] = ()
    """Those in front of it, as far as they were written and not implied."""
    phase: Literal["", "running", "succeeded", "failed", "scheduled", "suspended"] = ""
    """Of a job."""
    volumes: tuple[str, ...] = ()
    """The disks that outlive its machines, by the names of their claims."""

    @property
    def key(self) -> str:
        """`namespace/name`, as that of its workload."""
        return f"{self.namespace}/{self.name}"
