"""What AWS says of a group's machines becomes Instances, with the reason where one is not ready. Pure.

In: answers of EC2 Auto Scaling, EC2 and Elastic Load Balancing. Out: machines in the order of their start.

Sources: EC2 Auto Scaling user guide, "Lifecycle state transition"; TargetHealth in the Elastic Load
Balancing API reference; "Troubleshoot issues in Amazon EC2 Auto Scaling" for what launches say.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from i2kit.model import Instance
from i2kit.providers.aws.values import NUMBER

Data = Mapping[str, Any]
"""A part of an answer of AWS, as the SDK has it."""

State = Literal["starting", "ready", "draining", "failed"]


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance, and the AMI that it was started from."""

    instance: Instance
    ami: str
    hopeless: bool = False
    """Whether what it says of its pod means that it will not become ready."""

    @property
    def stays(self) -> bool:
        """Whether it is not about to go."""
        return self.instance.state != "draining"


def machines(
    groups: Iterable[Data],
    vms: Mapping[str, Data],
    targets: Mapping[str, Sequence[Data]],
    images: Mapping[str, str],
    now: datetime,
) -> tuple[Machine, ...]:
    """Of a deployment's groups, by their numbers, then the oldest first: that order counts replicas.

    `vms` by instance id, `targets` by target group; `images` are machine images by AMI.
    """
    found = []
    for group in groups:
        health = {
            arn: {one["Target"]["Id"]: one for one in targets.get(arn, ())}
            for arn in group.get("TargetGroupARNs", ())
        }
        grace = timedelta(seconds=group.get("HealthCheckGracePeriod") or 0)
        for member in group["Instances"]:
            id_ = member["InstanceId"]
            vm = vms.get(id_, {})
            started = vm.get("LaunchTime")
            state, detail = state_of(
                member,
                vm,
                [known.get(id_, {}) for known in health.values()],
                young=started is None or now - started < grace,
            )
            ami = vm.get("ImageId", "")
            tags = {tag["Key"]: tag["Value"] for tag in group.get("Tags", ())}
            instance = Instance(
                id=id_,
                address=vm.get("PrivateIpAddress", ""),
                ready=state == "ready",
                image=images.get(ami, ""),
                started_at=rfc3339(started) if started else "",
                state=state,
                detail=detail,
            )
            found.append((int(tags.get(NUMBER, 0)), Machine(instance, ami)))
    found.sort(key=lambda one: (one[0], one[1].instance.started_at, one[1].instance.id))
    return tuple(machine for _, machine in found)


def state_of(member: Data, vm: Data, health: Sequence[Data], *, young: bool) -> tuple[State, str]:
    """What one machine is and why: as its group has it, as EC2 has it, as each target group has it.

    A `young` one may fail its checks: its group does not replace it for that yet.
    """
    lifecycle, power = member["LifecycleState"], vm.get("State", {}).get("Name", "")
    states = [one.get("TargetHealth", {}).get("State", "") for one in health]
    if lifecycle.startswith(("Terminat", "Detach")) or power in ("shutting-down", "terminated"):
        return "draining", ""
    if any("draining" in state for state in states):
        return "draining", _words(health)
    if power in ("stopping", "stopped"):
        return "failed", f"it is {power}"
    if member.get("HealthStatus", "").lower() == "unhealthy":
        return "failed", _words(health) or "its checks by EC2 fail"
    if lifecycle != "InService":
        return "starting", "" if lifecycle.startswith("Pending") else f"it is {lifecycle}"
    if power != "running" or not all(states):
        return "starting", _words(health)
    if all(state == "healthy" for state in states):
        return "ready", ""
    failed = "unhealthy" in states and not young
    return "failed" if failed else "starting", _words(health)


def ended(vms: Mapping[str, Data], ami: str, images: Mapping[str, str]) -> tuple[Machine, ...]:
    """The machines of an AMI that have powered themselves off, also those that their group has forgotten."""
    found = [
        one
        for one in vms.values()
        if one.get("ImageId") == ami
        and (one.get("StateReason") or {}).get("Code") == "Client.InstanceInitiatedShutdown"
    ]
    return tuple(
        Machine(
            Instance(
                id=one["InstanceId"],
                address=one.get("PrivateIpAddress", ""),
                ready=False,
                image=images.get(ami, ""),
                started_at=rfc3339(one["LaunchTime"]) if "LaunchTime" in one else "",
                state="failed",
                detail="it has powered itself off",
            ),
            ami,
        )
        for one in found
    )


def _words(health: Sequence[Data]) -> str:
    """What load balancers say of a machine's ports."""
    said = []
    for one in health:
        about = one.get("TargetHealth", {})
        if about.get("State", "healthy") != "healthy":
            text = about.get("Description") or about["State"]
            reason = f" ({about['Reason']})" if about.get("Reason") else ""
            said.append(f"port {one['Target'].get('Port')}: {text}{reason}")
    return "; ".join(said)


def launch_failure(activities: Sequence[Data]) -> str:
    """Why a group has no more machines: what its newest activity says, if that failed; else empty."""
    newest = next((one for one in activities if one["StatusCode"] != "WaitingForELBConnectionDraining"), None)
    if newest is None or newest["StatusCode"] != "Failed":
        return ""
    return newest.get("StatusMessage") or newest.get("Description") or "AWS gives no reason"


def rfc3339(when: datetime) -> str:
    """In UTC, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
