"""A Template as text again: what `metadata` puts into a machine, and what the real tool can build.

In: a Template. Out: YAML or JSON with LinuxKit's keys in LinuxKit's order, image names written
out. Reading it gives the same template. Pure.

Source: LinuxKit, src/cmd/linuxkit/moby/config.go; YAML as go-yaml v2 writes it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml

from i2kit.image.linuxkit.reader import is_text
from i2kit.image.linuxkit.values import (
    UNSAID_IF_EMPTY,
    ContainerEntry,
    FileEntry,
    Mount,
    Runtime,
    Settings,
    Template,
    Volume,
)

# Fields whose keys are not the field's name in camel case.
_KEYS = {
    "capabilities_add": "capabilities.add",
    "binds_add": "binds.add",
    "bind_ns": "bindNS",
    "host_id": "hostID",
    "container_id": "containerID",
}


def as_text(template: Template, kind: str, images: Mapping[str, str] | None = None) -> str:
    """The template as `kind` yaml or json. `images` are names to write instead of references."""
    data = as_data(template, images or {})
    if kind == "json":
        return json.dumps(data, indent=4, ensure_ascii=False)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def as_data(template: Template, images: Mapping[str, str]) -> dict[str, Any]:
    def name(reference: str) -> str:
        return images.get(reference) or expanded_reference(reference)

    kernel = {
        "image": template.kernel and name(template.kernel),
        **_said(cmdline=template.cmdline, binary=template.binary),
        **{
            key: value
            for key, value in (("tar", template.kernel_tar), ("ucode", template.ucode))
            if value is not None
        },
    }
    return {
        "kernel": kernel,
        "init": [name(reference) for reference in template.init],
        **{
            section: [_entry(entry, name(entry.image)) for entry in entries]
            for section, entries in template.sections
        },
        "files": [_file(file) for file in template.files],
        "volumes": [_volume(volume, images) for volume in template.volumes],
    }


def expanded_reference(reference: str) -> str:
    """A reference with Docker Hub's name, as LinuxKit writes it; it leaves out the tag where there is none.

    Two entries share an unpacked image if these are equal.
    """
    first, slash, rest = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    if "/" in rest or first == "localhost" or any(mark in first for mark in ".:"):
        return reference
    return f"docker.io/{reference}"


def _said(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _entry(entry: ContainerEntry, image: str) -> dict[str, Any]:
    return {"name": entry.name, "image": image, **_plain(entry.settings)}


def _file(file: FileEntry) -> dict[str, Any]:
    found: dict[str, Any] = {"path": file.path, "directory": file.directory, **_said(symlink=file.symlink)}
    if file.contents is not None:
        found["contents"] = file.contents
    found |= _said(source=file.source, metadata=file.metadata)
    found["optional"] = file.optional
    found |= _said(mode=file.mode)
    return found | {key: id_ for key, id_ in (("uid", file.uid), ("gid", file.gid)) if id_ is not None}


def _volume(volume: Volume, images: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": volume.name,
        **_said(
            image=images.get(volume.image, volume.image),
            readonly=volume.readonly,
            format=volume.format,
            platforms=list(volume.platforms),
        ),
    }


def _plain(value: Any) -> Any:
    """A value of `linuxkit_values` as what YAML and JSON have, without what is not said."""
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mount):
        parts = ("destination", "type", "source", "options", "uid_mappings", "gid_mappings")
        return {part.replace("_", ""): _plain(getattr(value, part)) for part in parts}
    found = {}
    for field in fields(value):
        item = getattr(value, field.name)
        # Of an entry, what is empty takes away what the label of its image says.
        says = isinstance(value, Settings | Runtime) and field.name not in {*UNSAID_IF_EMPTY, "bind_ns"}
        if item is None or (item in ("", (), {}) and not says):
            continue
        key = _KEYS.get(field.name) or re.sub("_([a-z])", lambda match: match[1].upper(), field.name)
        found[key] = dict(sorted(item)) if field.name in ("sysctl", "annotations") else _plain(item)
    return found


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if not is_text(text):
        style = '"'
    elif "\n" in text:
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
