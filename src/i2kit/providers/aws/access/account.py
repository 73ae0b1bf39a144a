"""The clients of one account and region, each made when it is first asked for."""

from functools import cached_property
from typing import Any

from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.access.session import Session
from i2kit.providers.aws.amis import ami


class Account:
    """What the modules that reach AWS take. `images` are the clients that make AMIs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.region = session.region

    @cached_property
    def images(self) -> ami.Clients:
        return ami.clients(self._session)

    @cached_property
    def ec2(self) -> Any:
        return self._client("ec2")

    @cached_property
    def cloudformation(self) -> Any:
        return self._client("cloudformation")

    @cached_property
    def autoscaling(self) -> Any:
        return self._client("autoscaling")

    @cached_property
    def elbv2(self) -> Any:
        return self._client("elbv2")

    @cached_property
    def route53(self) -> Any:
        return self._client("route53")

    @cached_property
    def acm(self) -> Any:
        return self._client("acm")

    @cached_property
    def cloudwatch(self) -> Any:
        return self._client("cloudwatch")

    @cached_property
    def ssm(self) -> Any:
        return self._client("ssm")

    @cached_property
    def logs(self) -> Any:
        return self._client("logs")

    def _client(self, service: str) -> Any:
        with explained("connecting to AWS"):
            return self._session.client(service)
