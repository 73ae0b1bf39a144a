"""ConfigMaps and Secrets: documents → what they hold, by the rules of Kubernetes' API server.

In: records of the tables in `config_fields`. Out: Configs, gathered in a Reading. No value of one is ever
part of a message. Pure. Source: Kubernetes, core/validation, ValidateConfigMap and ValidateSecret.
"""

from i2kit.manifest.log import Log
from i2kit.manifest.reading import Config, ConfigKind, Reading
from i2kit.manifest.tables.scalars import Opaque
from i2kit.manifest.tables.shape import Record

MAX_BYTES = 1 << 20
"""Of all values together."""

_NEEDED_KEYS = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON = (".dockerconfigjson", ".dockercfg")


def config_map(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A ConfigMap."""
    texts = {key: text.encode() for key, text in record.pairs("data")}
    binary = {key: value.value for key, value in _opaque(record, "binaryData")}
    for key in texts.keys() & binary.keys():
        message = f"`{key}` is in data already, at {record.place('data')}"
        log.problem(record.place("binaryData"), record.at("binaryData"), message, "remove one of them")
    _keep("ConfigMap", record, {**texts, **binary}, reading, log, binary=frozenset(binary))


def secret(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A Secret."""
    values = {key: value.value for key, value in _opaque(record, "data")}
    values |= {key: value.value for key, value in _opaque(record, "stringData")}
    type_ = record.text("type") or ""
    if not (record.is_wrong("data") or record.is_wrong("stringData")):
        for key in _NEEDED_KEYS.get(type_, ()):
            if key not in values:
                log.problem(record.place("type"), record.at("type"), f"`{type_}` needs the key `{key}`")
            elif key in _JSON and not _is_json(values[key]):
                message = f"the value of `{key}` is not JSON"
                log.problem(record.place("data"), record.at("data"), message)
        if type_ == "kubernetes.io/basic-auth" and not values.keys() & {"username", "password"}:
            message = f"`{type_}` needs the key `username` or `password`"
            log.problem(record.place("type"), record.at("type"), message)
    _keep("Secret", record, values, reading, log)


def _opaque(record: Record, name: str) -> tuple[tuple[str, Opaque], ...]:
    return record.items(name)


def _is_json(value: bytes) -> bool:
    import json  # only logins need it

    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _keep(
    kind: ConfigKind,
    record: Record,
    values: dict[str, bytes],
    reading: Reading,
    log: Log,
    binary: frozenset[str] = frozenset(),
) -> None:
    metadata = record.record("metadata")
    name = metadata.text("name") if metadata else None
    if metadata is None or name is None or metadata.is_wrong("namespace"):
        reading.complete = False
        return
    size = sum(map(len, values.values()))
    if size > MAX_BYTES:
        message = f"holds {size:,} bytes, and a {kind} may hold {MAX_BYTES:,}"
        log.problem(record.place("data"), record.at("data"), message, "put large files into the image")
    whole = not any(map(record.is_wrong, ("data", "binaryData", "stringData")))
    namespace = metadata.text("namespace") or "default"
    reading.configs.append(
        Config(kind, namespace, name, values, binary, whole, position=metadata.place("name"))
    )
