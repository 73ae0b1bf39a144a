"""The part of the table in `fields` that is about ConfigMaps and Secrets: what they hold, who refers to them.

Nothing is computed here either.
"""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.scalars import Bytes, Flag, Hidden, Text
from i2kit.manifest.tables.shape import ListOf, MapOf, Object
from i2kit.manifest.tables.table import accepted, silent

KEY = Text(names.config_key, names.CONFIG_KEY, 253, "key")
CONFIG_NAME = accepted(
    "name",
    Text(names.dns_name, names.DNS_NAME, 253, "DNS name"),
    "its name, in the namespace of the pod",
    required=True,
    hint="such as name: web",
)
OPTIONAL = accepted("optional", Flag(), "whether it may be missing (default: false)")


def _key_ref(title: str, what: str) -> Object:
    return Object(
        title,
        (
            CONFIG_NAME,
            accepted("key", KEY, f"which of the {what}'s values", required=True, hint="such as key: url"),
            OPTIONAL,
        ),
        hint="write {name: NAME, key: KEY}",
    )


CONFIG_MAP_KEY_REF = _key_ref("ConfigMapKeyRef", "ConfigMap")
SECRET_KEY_REF = _key_ref("SecretKeyRef", "Secret")
_REF = Object("ConfigRef", (CONFIG_NAME, OPTIONAL), hint="write {name: NAME}")
_ENV_SOURCE = Object(
    "EnvSource",
    (
        accepted(
            "prefix", Text(names.prefix, f"({names.VARIABLE})?", means="prefix"), "put before every key"
        ),
        accepted("configMapRef", _REF, "every key of a ConfigMap's data becomes a variable"),
        accepted("secretRef", _REF, "every key of a Secret becomes a variable"),
    ),
    hint="write - configMapRef: {name: NAME}",
)
ENV_FROM = accepted(
    "envFrom",
    ListOf(_ENV_SOURCE, hint="write a list: - configMapRef: {name: NAME}"),
    "variables by the keys of ConfigMaps and Secrets; of two the later counts, and `env` before both. Keys"
    " that cannot be names of variables are left out, with a warning",
)

_IMMUTABLE = silent("immutable", "a change is deployed, never made in place", Flag())
CONFIG_MAP = (
    accepted(
        "data", MapOf(Text(null=True), names.config_key, names.CONFIG_KEY, whole=True), "texts, by their keys"
    ),
    accepted(
        "binaryData",
        MapOf(Bytes(), names.config_key, names.CONFIG_KEY, whole=True),
        "bytes, in base64; for files only",
    ),
    _IMMUTABLE,
)
SECRET = (
    accepted(
        "data",
        MapOf(Bytes(), names.config_key, names.CONFIG_KEY, whole=True),
        "bytes, in base64, by their keys",
    ),
    accepted(
        "stringData",
        MapOf(Hidden(), names.config_key, names.CONFIG_KEY, whole=True),
        "texts; they count before `data`",
    ),
    accepted("type", Text(), "what it is for; the keys that Kubernetes demands of a type are demanded here"),
    _IMMUTABLE,
)
