"""What stands before moto: the levers that tests have, under /emulator/, and the faults that they ask for.

Levers are POSTed with their words as JSON:
- `reset` forgets everything; `settle` lets all operations on stacks end;
- `break_resource(resource, action, reason)` and `mend`: a stack's resource fails;
- `unhealthy(image)`: instances of this AMI fail their load balancer's checks;
- `power_off(instance)`: it ends as if its system had done so;
- `fault(code, status, message, action, skip, times)`: calls are answered with this error,
  until `no_faults`;
- `hold(after)`: the answer of this call from now on does not come until `release`; `held` tells;
- `calls`: what was called since the last reset, as `service:Action`.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from moto.moto_api._internal.models import moto_api_backend

from tests.aws.emulator import autoscaling, cloudformation, corrections, elbv2

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], Any]

SERVICE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")

EBS = {
    "StartSnapshot": re.compile(r"POST /snapshots"),
    "CompleteSnapshot": re.compile(r"POST /snapshots/completion/[^/]+"),
    "PutSnapshotBlock": re.compile(r"PUT /snapshots/[^/]+/blocks/\d+"),
    "GetSnapshotBlock": re.compile(r"GET /snapshots/[^/]+/blocks/\d+"),
    "ListSnapshotBlocks": re.compile(r"GET /snapshots/[^/]+/blocks"),
    "ListChangedBlocks": re.compile(r"GET /snapshots/[^/]+/changedblocks"),
}
"""The API whose actions are in no request, only their forms."""


class Control:
    """A WSGI application around moto's."""

    def __init__(self, moto: Callable[[Environ, Start], Iterable[bytes]]) -> None:
        self._moto = moto
        self._lock = threading.Lock()
        self._clear()
        self._levers: Mapping[str, Callable[..., object]] = {
            "reset": self.reset,
            "settle": cloudformation.settle,
            "break_resource": cloudformation.break_resource,
            "mend": cloudformation.mend,
            "unhealthy": elbv2.unhealthy,
            "power_off": autoscaling.power_off,
            "fault": self.fault,
            "no_faults": lambda: self._faults.clear(),
            "hold": self.hold,
            "held": self.held,
            "release": self.release,
            "calls": lambda: self._calls,
        }

    def _clear(self) -> None:
        self._calls: list[str] = []
        self._faults: list[dict[str, Any]] = []
        self._hold_after: int | None = None
        self._held = threading.Event()
        self._released = threading.Event()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if path.startswith("/emulator/"):
            answer = self._levers[path.removeprefix("/emulator/")](**json.loads(body or b"{}"))
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(answer).encode()]
        environ["wsgi.input"] = BytesIO(body)
        call = called(environ, body)
        with self._lock:
            self._calls.append(call)
            fault = self._fault_of(call)
            holds = self._hold_after is not None and len(self._calls) > self._hold_after
            hold, released = self._held, self._released
        if fault:
            return answer_fault(fault, call, start)
        answered = list(self._moto(environ, start))
        if holds:
            hold.set()
            released.wait(60)
        return answered

    def reset(self) -> None:
        self._released.set()
        moto_api_backend.reset()
        corrections.reset()
        with self._lock:
            self._clear()

    def fault(
        self, code: str, status: int = 400, message: str = "", action: str = "", skip: int = 0, times: int = 1
    ) -> None:
        """The calls of this action (all, if empty) fail `times` times, after `skip` that do not."""
        fault = {"code": code, "status": status, "message": message or code, "action": action}
        self._faults.append({**fault, "skip": skip, "times": times})

    def _fault_of(self, call: str) -> dict[str, Any] | None:
        for fault in self._faults:
            if fault["action"] in ("", call.partition(":")[2]) and fault["times"] > 0:
                if fault["skip"] > 0:
                    fault["skip"] -= 1
                    continue
                fault["times"] -= 1
                return fault
        return None

    def hold(self, after: int) -> None:
        """Do the call that follows the next `after` ones, but do not answer it."""
        with self._lock:
            self._held.clear()
            self._released.clear()
            self._hold_after = len(self._calls) + after

    def held(self, timeout_s: float) -> bool:
        """Whether a call is held now, or within this time."""
        return self._held.wait(timeout_s)

    def release(self) -> None:
        with self._lock:
            self._hold_after = None
            self._released.set()


def called(environ: Environ, body: bytes) -> str:
    """The service and the action of a request, as IAM writes them where it can be seen from outside."""
    found = SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
    service = found[1] if found else ""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return f"{service}:{target.rpartition('.')[2]}"
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return f"{service}:{parse_qs(body.decode()).get('Action', [''])[0]}"
    request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    return f"{service}:{next((name for name, form in EBS.items() if form.fullmatch(request)), request)}"


def answer_fault(fault: Mapping[str, Any], call: str, start: Start) -> Iterable[bytes]:
    """An error in the service's own form: XML for the query protocols, JSON for the others."""
    code, message = fault["code"], fault["message"]
    status = f"{fault['status']} Fault"
    service = call.partition(":")[0]
    if service in ("ebs", "logs", "ssm", "tagging"):
        start(status, [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", code)])
        return [json.dumps({"__type": code, "message": message, "Message": message}).encode()]
    start(status, [("Content-Type", "text/xml")])
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if service == "ec2":
        return [f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>".encode()]
    return [f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>".encode()]
