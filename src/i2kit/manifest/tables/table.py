"""The verdicts of the table in `fields`, and values that many of its parts have. Nothing is computed here."""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.scalars import Anything, Choice, Text, Type, Whole
from i2kit.manifest.tables.shape import Field, ListOf, MapOf

MAX_REPLICAS = 250
"""What one load balancer and one /24 of addresses hold."""

DEPLOYMENT_VERSIONS = ("apps/v1", "apps/v1beta2", "apps/v1beta1", "extensions/v1beta1")

LATER = "is not supported yet"


def accepted(name: str, type_: Type, about: str, *, required: bool = False, hint: str | None = None) -> Field:
    return Field(name, type_, about, required=required, hint=hint)


def silent(name: str, about: str, type_: Type | None = None) -> Field:
    return Field(name, type_ or Anything(), about, "silent")


def warned(name: str, about: str, *unless: str | int | bool, type_: Type | None = None) -> Field:
    return Field(name, type_ or Anything(), about, "warned", unless=unless)


def refused(name: str, about: str, hint: str | None = None, *unless: str | int | bool) -> Field:
    return Field(name, Anything(), about, "refused", hint=hint, unless=unless)


def later(name: str, hint: str | None = None, *unless: str | int | bool) -> Field:
    return refused(name, LATER, hint, *unless)


NAME = Text(names.dns_label, names.DNS_LABEL, names.LABEL_LENGTH, "DNS label")
INSTANCE_TYPE = Text(names.instance_type, names.INSTANCE_TYPE, 64, "instance type")
CERTIFICATE = Text(names.certificate, names.CERTIFICATE, 2048, "ARN")
PORT = Whole(1, 65535)
PORT_NAME = Text(names.port_name, names.PORT_NAME, 15, "port name")
LABELS = MapOf(
    Text(names.label_value, names.LABEL_VALUE, names.LABEL_LENGTH, null=True),
    names.label_key,
    names.LABEL_KEY,
    whole=True,
)
NOTES = MapOf(Text(null=True))
WORDS = ListOf(Text(names.no_nul), hint="write one item per argument: [sh, -c, …]")
REPLICAS = Whole(0, MAX_REPLICAS, f"a deployment may have {MAX_REPLICAS} replicas: split it into several")
PROTOCOL = Choice(("TCP", "UDP"), (("SCTP", "is not possible: load balancers do not speak it", None),))
VALUE = Text(names.no_nul, null=True)
LINUX = Choice(("linux",), (("windows", "is not possible: machines run Linux", None),))
