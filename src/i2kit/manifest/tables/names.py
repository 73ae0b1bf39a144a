"""What names, labels, variables and images may look like: one function per rule.

In: a text. Out: None if it is right, else what is wrong with this one and what to write instead.
The rules are Kubernetes' (apimachinery, util/validation/validation.go), for RFC 1123 names. Pure.
"""

import ipaddress
import re
from collections.abc import Callable

from i2kit.errors import printable
from i2kit.manifest.log import did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.source import is_template
from i2kit.model import CAPABILITIES
from i2kit.model.reference import InvalidReference, parse

Complaint = tuple[str, str | None]
"""What is wrong, and a hint."""

Rule = Callable[[str], Complaint | None]

LABEL_LENGTH = 63
"""RFC 1035: one label of a domain name; names become host names."""

DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_NAME = rf"{DNS_LABEL}(\.{DNS_LABEL})*"
PORT_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
LABEL_KEY = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
INSTANCE_TYPE = r"[a-z0-9-]+\.[a-z0-9-]+"
CERTIFICATE = r"arn:aws[a-z-]*:(acm|iam):[a-z0-9-]*:\d{12}:.+"
VARIABLE = r"[-._A-Za-z][-._A-Za-z0-9]*"
CONFIG_KEY = r"[-._A-Za-z0-9]+"
HEADER = r"[-A-Za-z0-9]+"
SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
HOST = r"[-._A-Za-z0-9]+|[.0-9A-Fa-f]*:[.:0-9A-Fa-f]*"

_SIGNALS = re.compile(
    "HUP|INT|QUIT|ILL|TRAP|ABRT|IOT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CHLD|CLD|CONT|STOP|TSTP"
    "|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|POLL|PWR|SYS"
    "|RT(MIN|MAX)([+-][0-9]{1,2})?|[1-9]|[1-5][0-9]|6[0-4]"
)
"""signal(7)."""

_FILES = ("oci:", "oci-archive:", "docker-archive:")
"""Before images that are files."""

_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\$[A-Za-z_]\w*|<[A-Za-z][^<>]*>|\b(?:YOUR|CHANGE|REPLACE)[_-]\w+")


def placeholder(text: str) -> Complaint | None:
    """Whether a value still waits for a tool to fill it in."""
    text = text[:1000]  # the search takes time with the square of the length
    if is_template(text):
        return (
            f"`{shown(text)}` is a Helm expression that was not rendered",
            "render it first: helm template . | i2kit deploy -f -",
        )
    if match := _PLACEHOLDER.search(text):
        hint = "fill it in first, such as: envsubst < FILE | i2kit deploy -f -"
        if not match.group().startswith("$"):
            hint = "put the real value there"
        return f"`{shown(text)}` is not rendered: `{shown(match.group())}` is a placeholder", hint
    return None


def dns_label(text: str) -> Complaint | None:
    """A name: at most 63 lower case letters, digits and `-`, with no `-` at either end."""
    if re.fullmatch(DNS_LABEL, text) and len(text) <= LABEL_LENGTH:
        return None
    if complaint := placeholder(text):
        return complaint
    if not text:
        return "is empty", "give it a name"
    fixed = re.sub(r"[^a-z0-9]+", "-", text[:1000].lower()).strip("-")[:LABEL_LENGTH].strip("-")
    hint = f"use `{fixed}`" if fixed else "use lower case letters, digits and `-`"
    return f"`{shown(text)}` is not a DNS label: {_why_no_label(text)}", hint


def _why_no_label(text: str) -> str:
    if len(text) > LABEL_LENGTH:
        return f"it has {len(text)} characters and may have {LABEL_LENGTH}"
    if text.strip("-") != text:
        return f"it {'begins' if text[0] == '-' else 'ends'} with `-`"
    wrong = re.sub(r"[-a-z0-9]", "", text)[0]
    return "upper case is not allowed" if "A" <= wrong <= "Z" else f"`{shown(wrong)}` is not allowed"


def dns_name(text: str) -> Complaint | None:
    """Labels with dots between them, at most 253 characters: what most documents may be called."""
    if len(text) <= 253 and re.fullmatch(DNS_NAME, text):
        return None
    return dns_label(text) or (f"`{shown(text)}` has {len(text)} characters and may have 253", None)


def port_name(text: str) -> Complaint | None:
    """A port's name (RFC 6335, section 5.1): a DNS label with a letter, at most 15 characters."""
    if text.isdecimal():
        return f'"{shown(text)}" is a number in quotes', f"remove the quotes: {shown(text)}"
    if complaint := dns_label(text):
        return complaint
    if len(text) > 15:
        return (
            f"`{shown(text)}` has {len(text)} characters and a port's name may have 15",
            f"use `{text[:15].strip('-')}`",
        )
    if not re.search("[a-z]", text) or "--" in text:
        return f"`{shown(text)}` is not a port's name: it needs a letter and no `--`", None
    return None


def label_value(text: str) -> Complaint | None:
    """The value of a label: at most 63 letters, digits, `-`, `_` and `.`."""
    return _label_part(text, "label value") if text else None


def label_key(text: str) -> Complaint | None:
    """The key of a label: a name as for values, after an optional DNS name and a `/`."""
    prefix, slash, name = text.rpartition("/")
    if slash and not (re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", prefix) and len(prefix) <= 253):
        return f"`{shown(prefix)}` before the `/` is not a DNS name", "such as example.com/role"
    return _label_part(name, "label key")


def _label_part(text: str, what: str) -> Complaint | None:
    if not text:
        return f"a {what} is empty", None
    if len(text) > LABEL_LENGTH:
        return f"`{shown(text)}` has {len(text)} characters and a {what} may have {LABEL_LENGTH}", None
    if re.fullmatch(LABEL_VALUE, text):
        return None
    if complaint := placeholder(text):
        return complaint
    fixed = re.sub(r"[^-A-Za-z0-9_.]+", "-", text).strip("-_.")
    hint = f"use `{fixed}`" if fixed else None
    return f"`{shown(text)}` is not a {what}: only letters, digits, and `-`, `_`, `.` between them", hint


def variable(text: str) -> Complaint | None:
    """The name of an environment variable."""
    if re.fullmatch(VARIABLE, text):
        return None
    if not text:
        return "the name of a variable is empty", None
    if "=" in text:
        return f"`{shown(text)}` is not a variable's name: `=` is not allowed", "the value goes into `value`"
    fixed = re.sub(r"[^-._A-Za-z0-9]+", "_", text)
    hint = f"use `{shown(fixed if re.fullmatch(VARIABLE, fixed) else '_' + fixed)}`"
    return (
        f"`{shown(text)}` is not a variable's name: letters, digits, `_`, `-`, `.`, and no digit first",
        hint,
    )


def prefix(text: str) -> Complaint | None:
    """What is put before the names of variables; may be empty."""
    return variable(text) if text else None


def config_key(text: str) -> Complaint | None:
    """A key of a ConfigMap or a Secret, which can be the name of a file."""
    if re.fullmatch(CONFIG_KEY, text) and len(text) <= 253 and text != "." and not text.startswith(".."):
        return None
    if not text:
        return "a key is empty", None
    if len(text) > 253:
        return f"`{shown(text)}` has {len(text)} characters and a key may have 253", None
    hint = "only letters, digits, `-`, `_` and `.`, and no `..` first"
    return placeholder(text) or (f"`{shown(text)}` is not a key that can be the name of a file", hint)


def file_path(text: str) -> Complaint | None:
    """Where a file is in a volume (core/validation, validateLocalNonReservedPath)."""
    if not text:
        return "is empty", "such as app.conf"
    if text.startswith(".."):
        return f"`{shown(text)}` begins with `..`", "the path is below the volume"
    return sub_path(text)


def sub_path(text: str) -> Complaint | None:
    """What of a volume is meant; the empty text is all of it."""
    if text.startswith("/"):
        return f"`{shown(text)}` begins with `/`, and is below the volume", f"use `{shown(text.lstrip('/'))}`"
    return _no_way_up(text)


def mount_path(text: str) -> Complaint | None:
    """Where a container sees a volume."""
    if not text.strip("/."):
        return f"`{shown(text)}` would hide all of the image", "such as /data"
    if ":" in text:
        return f"`{shown(text)}` has a `:` in it", None
    return placeholder(text) or _no_way_up(text)


def _no_way_up(text: str) -> Complaint | None:
    if ".." in text.split("/"):
        return f"`{shown(text)}` leads up with `..`", "write the path that is meant"
    if len(text) > 4000 or any(len(part.encode(errors="replace")) > 255 for part in text.split("/")):
        return f"`{shown(text)}` is longer than a file system takes", "a name may have 255 bytes"
    return one_line(text)


def word(text: str) -> Complaint | None:
    """What has no blank in it and is not empty."""
    return None if re.fullmatch(r"[!-~]+", text) else (f"`{shown(text)}` is not one word", None)


def target_attributes(text: str) -> Complaint | None:
    """What AWS's controller may be told of its targets, as far as pods do not see it."""
    if "proxy_protocol_v2.enabled=true" in text.replace(" ", ""):
        hint = "leave it out, and let the application do without"
        return "is not supported with proxy_protocol_v2: pods would wait for its greeting", hint
    return None


def label_or_empty(text: str) -> Complaint | None:
    """A name as in `dns_label`, or none."""
    return dns_label(text) if text else None


def search(text: str) -> Complaint | None:
    """A domain in which names are looked up; it may end with a dot, or be one."""
    return None if text == "." else dns_name(text.removesuffix("."))


def image(text: str) -> Complaint | None:
    """An image is named, by something that was filled in and that a registry could have."""
    if not text.strip():
        return "is empty", "name an image, such as nginx:1.27"
    if complaint := placeholder(text):
        return complaint
    if len(text) > 600:  # a name of 255, a tag of 128, a digest of sha512
        return f"`{shown(text)}` has {len(text)} characters and an image reference at most 600", None
    if any(c.isspace() for c in text):
        joined = re.sub(r"\s*([:/@])\s*", r"\1", text.strip())
        hint = None if any(c.isspace() for c in joined) else f"use `{shown(joined)}`"
        return f"`{shown(text)}` has a blank in it", hint
    repository = _repository(text)
    if upper := re.search(r"[A-Za-z0-9._-]*[A-Z][A-Za-z0-9._-]*", repository):
        message = f"`{shown(text)}` names no image: `{shown(upper.group())}` has upper case"
        return message, "names of images have none: fill in what is a placeholder"
    if text.startswith(_FILES):
        return None
    try:
        parse(text)
    except InvalidReference as error:
        (problem,) = error.problems
        return printable(problem.message.replace(f"`{text}`", f"`{shown(text)}`", 1)), problem.hint
    return None


def _repository(text: str) -> str:
    """Where an image is within its registry; empty where it is a file."""
    if text.startswith(_FILES):
        return ""
    path = text.partition("@")[0]
    first, slash, rest = path.partition("/")
    if slash and (first == "localhost" or any(mark in first for mark in ".:[")):
        return rest.partition(":")[0]
    return path.partition(":")[0]


def directory(text: str) -> Complaint | None:
    """An absolute path inside the container."""
    if text.startswith("/") and "\0" not in text:
        return None
    return f"`{shown(text)}` is not an absolute path", f"use `/{shown(text)}`" if text else None


def no_nul(text: str) -> Complaint | None:
    """Arguments and variables end at a NUL for every process (execve(2))."""
    return (
        ("contains a NUL character, which no argument or variable can hold", None) if "\0" in text else None
    )


def header(text: str) -> Complaint | None:
    """The name of an HTTP header, as Kubernetes' API server has it."""
    if re.fullmatch(HEADER, text):
        return None
    if not text:
        return "the name of a header is empty", None
    fixed = re.sub(r"[^-A-Za-z0-9]+", "-", text[:1000]).strip("-")
    hint = f"use `{shown(fixed)}`" if fixed else None
    return f"`{shown(text)}` is not a header's name: only letters, digits and `-`", hint


def one_line(text: str) -> Complaint | None:
    """What is sent as a part of a request cannot hold the end of it."""
    if any((c < " " and c != "\t") or c == "\x7f" for c in text):
        return "contains a line break or another control character", None
    return None


def host(text: str) -> Complaint | None:
    """A host's name or its address; the empty text is as good as none."""
    if not text or re.fullmatch(HOST, text):
        return None
    hint = "the scheme and the port have fields of their own" if ":" in text or "/" in text else None
    return placeholder(text) or (f"`{shown(text)}` is not a host name or an address", hint)


def address(text: str) -> Complaint | None:
    """An address of version 4 or 6."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return placeholder(text) or (f"`{shown(text)}` is not an IP address", "such as 192.0.2.1")
    return None


def instance_type(text: str) -> Complaint | None:
    """Family and size, such as t4g.micro."""
    if re.fullmatch(INSTANCE_TYPE, text):
        return None
    return placeholder(text) or (f"`{shown(text)}` is not an instance type", "such as t4g.micro")


def certificate(text: str) -> Complaint | None:
    """The ARN of a certificate."""
    if re.fullmatch(CERTIFICATE, text):
        return None
    hint = "such as arn:aws:acm:us-east-1:123456789012:certificate/…"
    return placeholder(text) or (f"`{shown(text)}` is not the ARN of a certificate", hint)


def capability(text: str) -> Complaint | None:
    """The name of a capability, with or without CAP_ before it, or ALL."""
    word = text.upper().removeprefix("CAP_")
    if text.isascii() and (text.upper() == "ALL" or f"CAP_{word}" in CAPABILITIES):
        return None
    known = [*(name.removeprefix("CAP_") for name in CAPABILITIES), "ALL"]
    hint = did_you_mean(word, known) or "such as NET_ADMIN; capabilities(7) lists all"
    return placeholder(text) or (f"`{shown(text)}` is not a capability", hint)


def container(text: str) -> Complaint | None:
    """A name of a container of docker's that DNS can have as one label."""
    if len(text) <= LABEL_LENGTH and re.fullmatch(r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?", text):
        return None
    return dns_label(text) or (f"`{shown(text)}` cannot be a name in DNS", "use letters, digits, - and _")


def host_name(text: str) -> Complaint | None:
    """What a container may see as its host's name, with or without a domain."""
    if len(text) <= 64 and re.fullmatch(r"[A-Za-z0-9_]([-.A-Za-z0-9_]*[A-Za-z0-9_])?", text):
        return None
    hint = "use letters, digits, -, _ and dots, at most 64"
    return placeholder(text) or (f"`{shown(text)}` is not a name of a host", hint)


def signal(text: str) -> Complaint | None:
    """A signal as STOPSIGNAL of an image has it: SIGINT, INT, 2 or SIGRTMIN+3."""
    if _SIGNALS.fullmatch(text.upper().removeprefix("SIG")):
        return None
    return f"`{shown(text)}` is not a signal", "such as SIGINT"


def user(text: str) -> Complaint | None:
    """USER or USER:GROUP, each a number or a name."""
    parts = text.split(":")
    if (
        len(parts) < 3
        and parts[0]
        and all(re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*\$?", one) for one in parts)
    ):
        return None
    return f"`{shown(text)}` is not a user", "such as node, 1000 or 1000:1000"


def group(text: str) -> Complaint | None:
    """The number or the name of a group."""
    if re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", text):
        return None
    return f"`{shown(text)}` is not a group", "such as 1000 or staff"


def sysctl(text: str) -> Complaint | None:
    """A setting of the kernel that Kubernetes lets a pod make: one of its own namespaces.

    Source: kubelet, sysctl/namespace.go.
    """
    if len(text) > 253 or not re.fullmatch(SYSCTL, text):
        message = f"`{shown(text)}` is not the name of a sysctl"
        return placeholder(text) or (message, "such as net.core.somaxconn")
    dotted = text.replace("/", ".")
    if dotted == "kernel.sem" or dotted.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.", "net.")):
        return None
    message = f"`{shown(text)}` is not a pod's to set: to Kubernetes it is the whole node's"
    return message, "a container with privileged: true can set it, since its machine is its own"


def class_name(text: str) -> Complaint | None:
    """The name of a storage class; the empty text is the class of no class."""
    return dns_name(text) if text else None


def schedule(text: str) -> Complaint | None:
    """The times at which something begins, as cron has them."""
    from i2kit import cron  # only a CronJob needs it

    try:
        cron.parse(text)
    except cron.CronError as error:
        return placeholder(text) or (str(error), error.hint)
    return None


def time_zone(text: str) -> Complaint | None:
    """The name of a time zone."""
    from i2kit import cron  # only a CronJob needs it

    try:
        cron.zone(text)
    except cron.CronError as error:
        return placeholder(text) or (str(error), error.hint)
    return None


def cluster_ip(text: str) -> Complaint | None:
    """None, in words, for a headless Service; addresses are not given."""
    if text in ("", "None"):
        return None
    hint = "write None for a headless Service, or leave it out"
    return placeholder(text) or (
        f"`{shown(text)}` is not possible: addresses are given by the provider",
        hint,
    )


def external_name(text: str) -> Complaint | None:
    """A domain name, with or without the dot of the root at its end."""
    if not text.removesuffix("."):
        return "is empty", "such as externalName: db.example.com"
    if re.fullmatch(r"[0-9.]+", text):
        return (
            f"`{shown(text)}` is an address, and a name stands for another name only",
            "use the address itself",
        )
    return dns_name(text.removesuffix("."))


def network(text: str) -> Complaint | None:
    """Addresses with a common beginning, such as 192.0.2.0/24."""
    try:
        if "/" in text:
            ipaddress.ip_network(text.strip(), strict=False)
            return None
    except ValueError:
        pass
    hint = f"write {shown(text.strip())}/32" if address(text.strip()) is None else "such as 192.0.2.0/24"
    return placeholder(text) or (f"`{shown(text)}` is not a network", hint)


def ingress_host(text: str) -> Complaint | None:
    """A domain name, or `*.` and one; never an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return dns_name(text.removeprefix("*."))
    return f"`{shown(text)}` is an address, and a host is called by its name", "leave it out for any host"


def ingress_path(text: str) -> Complaint | None:
    """A path that a request can have (Kubernetes, networking/validation)."""
    if not text:
        return None
    if not text.startswith("/"):
        return placeholder(text) or (f"`{shown(text)}` does not begin with `/`", f"use `/{shown(text)}`")
    for wrong in ("//", "/./", "/../", "%2f", "%2F"):
        if wrong in text:
            return f"`{shown(text)}` has `{wrong}` in it", None
    if text.endswith(("/..", "/.")):
        return f"`{shown(text)}` ends with a dot", None
    return no_blank(text)


def no_blank(text: str) -> Complaint | None:
    """What is one word in a request."""
    if any(c.isspace() or not c.isprintable() for c in text):
        return f"`{shown(text)}` has a blank in it", None
    return None


def listen_ports(text: str) -> Complaint | None:
    """Where a load balancer listens, as JSON: HTTP on 80, HTTPS on 443."""
    import json  # only an Ingress needs it

    try:
        found = json.loads(text)
        pairs = [pair for one in found for pair in one.items()]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return placeholder(text) or (f"`{shown(text)}` is not a list of ports", 'such as [{"HTTPS": 443}]')
    for pair in pairs:
        if pair not in (("HTTP", 80), ("HTTPS", 443)):
            given = f"{shown(str(pair[0]))}: {shown(str(pair[1]))}"
            return f"`{given}` is not supported: HTTP has port 80, HTTPS 443", None
    return None if pairs else ("is an empty list", 'such as [{"HTTPS": 443}]')


def ebs_volume(text: str) -> Complaint | None:
    """The id of an EBS volume, alone or after its zone."""
    if re.fullmatch(r"(aws://[a-z0-9-]*/)?vol-[0-9a-f]+", text):
        return None
    message = f"`{shown(text)}` is not the id of an EBS volume"
    return placeholder(text) or (message, "such as vol-0123456789abcdef0")


def csi_driver(text: str) -> Complaint | None:
    """The one driver whose disks machines can have."""
    if text == "ebs.csi.aws.com":
        return None
    message = f"`{shown(text)}` is not possible: of drivers, only ebs.csi.aws.com is known"
    return message, "copy the data to a claim's disk once"
