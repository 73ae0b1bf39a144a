"""What templates are made of: resources, references, and what several templates say alike. Pure.

Sources: AWS CloudFormation template reference; Elastic Load Balancing, guides for application and network
load balancers, "Health checks".
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from i2kit.model import Workload

Data = dict[str, Any]
"""A part of a template, as JSON has it."""

MAX_WEIGHT = 255
"""Of a DNS record."""

CHECK_INTERVAL_S = 5
CHECK_TIMEOUT_S = 4
CHECKS_TO_TURN = 2
HEALTH_PATH = "/ready"
"""What each machine itself answers, for its whole pod, on Workload.health_port."""

TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
ANYWHERE = "0.0.0.0/0"


def dumps(made: Mapping[str, Any]) -> str:
    """A template's text: the same for the same template, and as short as JSON gets."""
    return json.dumps(made, separators=(",", ":"), ensure_ascii=False)


def weight(workload: Workload) -> int:
    """Without machines a deployment gets no calls, where another is behind the same name.

    Those that autoscaling adds do not count: a record knows nothing of them.
    """
    return min(workload.scaling.least if workload.scaling else workload.replicas, MAX_WEIGHT)


def camel(name: str) -> str:
    """A DNS label as part of a logical id, which may only have letters and digits. No two give the same."""
    made = "".join(word[:1].upper() + word[1:] for word in name.split("-"))
    # Upper case marks where a `-` was, unless a digit or another `-` came next.
    unclear = re.search(r"-[^a-z]", name)
    return f"{made}Id{hashlib.sha256(name.encode()).hexdigest()[:8]}" if unclear else made


def checked_by_http(port: int) -> Data:
    """The properties of a target group by which machines are asked for their whole pod."""
    return {
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": str(port),
        "HealthCheckPath": HEALTH_PATH,
        "Matcher": {"HttpCode": "200"},
        "HealthCheckIntervalSeconds": CHECK_INTERVAL_S,
        "HealthCheckTimeoutSeconds": CHECK_TIMEOUT_S,
        "HealthyThresholdCount": CHECKS_TO_TURN,
        "UnhealthyThresholdCount": CHECKS_TO_TURN,
    }


def policy(*statements: Data) -> Data:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def attributes(settings: Mapping[str, str]) -> list[Data]:
    return [{"Key": key, "Value": value} for key, value in settings.items()]


def resource(type_: str, properties: Data, **others: Any) -> Data:
    return {"Type": f"AWS::{type_}", **others, "Properties": properties}


def ref(id_: str) -> Data:
    return {"Ref": id_}


def attribute(id_: str, name: str) -> Data:
    return {"Fn::GetAtt": [id_, name]}
