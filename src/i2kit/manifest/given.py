"""Secrets that are not in the manifests: words such as `db=FILE`, and what their files hold.

In: words, the contents of the files that they name, and which keys are needed of which Secret. Out: values.
No value is ever part of a message. Pure; `files` reads.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from i2kit.errors import Problem
from i2kit.manifest import source
from i2kit.manifest.kubernetes import config
from i2kit.manifest.log import Log
from i2kit.manifest.places import shown
from i2kit.manifest.reading import Reading
from i2kit.manifest.source import MappingNode, ScalarNode
from i2kit.manifest.tables import kinds, names

FORM = "write --secret [NAMESPACE/]NAME[:KEY]=FILE"
_LINE = re.compile(r"\s*([-._A-Za-z0-9]+)=(.*)")


@dataclass(frozen=True, slots=True)
class Word:
    """One `--secret`: whose value is in which file. Without a namespace it is for those of all."""

    text: str
    namespace: str | None
    name: str
    key: str | None
    path: str


@dataclass(frozen=True, slots=True)
class Given:
    """A word, and what its file holds, or its folder by the names of the files in it."""

    word: Word
    contents: bytes | Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is needed of a Secret: some keys, and perhaps `every` one that it has."""

    keys: frozenset[str]
    every: bool


def word(text: str, problems: list[Problem]) -> Word | None:
    """The parts of a word; None where it is wrong, which is among the problems then."""
    left, equals, path = text.partition("=")
    if not equals or not path:
        problems.append(_problem(text if not equals else left, "names no file", FORM))
        return None
    holder, colon, key = left.partition(":")
    place, slash, name = holder.rpartition("/")
    complaint = (names.dns_label(place) if slash else None) or names.dns_name(name)
    complaint = complaint or (names.config_key(key) if colon else None)
    if complaint:
        problems.append(_problem(left, *complaint))
        return None
    return Word(left, place if slash else None, name, key if colon else None, path)


def values(
    given: Sequence[Given], wanted: Mapping[tuple[str, str], Wanted], log: Log
) -> dict[tuple[str, str], dict[str, bytes]]:
    """What the words give, by namespace and name of the Secret; problems and what nobody needs in the log."""
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    for one in given:
        meant = [at for at in wanted if at[1] == one.word.name and one.word.namespace in (None, at[0])]
        if not meant:
            needed = ", ".join(sorted({name for _, name in wanted})) or "none"
            message = f"--secret {shown(one.word.text)}: nothing here needs it (needed: {needed})"
            log.warn(None, "", message)
        key = one.word.key
        if meant and key is not None and not any(wanted[at].every or key in wanted[at].keys for at in meant):
            needed = ", ".join(sorted({key for at in meant for key in wanted[at].keys}))
            log.warn(
                None, "", f"--secret {shown(one.word.text)}: nothing here needs that key (needed: {needed})"
            )
        for at in meant:
            found.setdefault(at, {}).update(_values(one, at[0], wanted[at], log))
    for (_, name), held in found.items():
        if sum(map(len, held.values())) > config.MAX_BYTES:
            log.add([_problem(name, f"holds more than {config.MAX_BYTES:,} bytes", None)])
    return found


def _values(one: Given, namespace: str, wanted: Wanted, log: Log) -> Mapping[str, bytes]:
    word, contents = one.word, one.contents
    if not isinstance(contents, bytes):
        if word.key is not None:
            log.add([_problem(word.text, f"`{shown(word.path)}` is a folder", "name the file for the key")])
            return {}
        return _checked(word, contents, log)
    if word.key is not None:
        return {word.key: contents}
    if (document := _document(one, contents, namespace, log)) is not None:
        return document
    lines = _lines(contents)
    if lines and (wanted.every or lines.keys() & wanted.keys):
        return _checked(word, lines, log)
    if len(wanted.keys) == 1 and not wanted.every:
        return dict.fromkeys(wanted.keys, contents)
    keys = ", ".join(sorted(wanted.keys)) or "all that it has"
    hint = f"write --secret {word.text}:KEY={word.path}, or give a file with lines KEY=VALUE, or a folder"
    message = f"`{shown(word.path)}` does not tell which key its bytes are; needed: {keys}"
    log.add([_problem(word.text, message, hint)])
    return {}


def _checked(word: Word, held: Mapping[str, bytes], log: Log) -> Mapping[str, bytes]:
    for key in held:
        if complaint := names.config_key(key):
            log.add([_problem(word.text, *complaint)])
    return held


def _document(one: Given, contents: bytes, namespace: str, log: Log) -> Mapping[str, bytes] | None:
    """What a file holds that is a document of Kubernetes; None where it is none."""
    if b"kind" not in contents or b"Secret" not in contents:
        return None
    documents, problems = source.documents(one.word.path, contents)
    secrets = [node for node in documents if isinstance(node, MappingNode) and _is_secret(node)]
    if not secrets:
        return None
    log.add(problems)
    held = Reading()
    for node in secrets:
        if record := kinds.SECRET.read(node, "", log):
            config.secret(record, "v1", held, log)
    for secret in held.configs:
        if secret.name == one.word.name and (secret.namespace == namespace or secret.namespace == "default"):
            return secret.values
    if held.complete and not problems:
        there = ", ".join(secret.key for secret in held.configs)
        message = f"`{shown(one.word.path)}` holds another Secret: {there}"
        log.add([_problem(one.word.text, message, None)])
    return {}


def _is_secret(node: MappingNode) -> bool:
    kind = node.get("kind")
    return isinstance(kind, ScalarNode) and kind.value == "Secret" and "apiVersion" in node.entries


def _lines(contents: bytes) -> dict[str, bytes]:
    """KEY=VALUE lines, as kubectl create secret --from-env-file has them; empty where others are in it."""
    try:
        text = contents.decode()
    except UnicodeDecodeError:
        return {}
    found: dict[str, bytes] = {}
    for line in re.split("\r?\n", text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not (match := _LINE.fullmatch(line)):
            return {}
        found[match[1]] = match[2].encode()
    return found


def _problem(what: str, message: str, hint: str | None) -> Problem:
    return Problem(f"--secret {shown(what)}: {message}", None, hint)


def words(texts: Iterable[str], problems: list[Problem]) -> list[Word]:
    """The parts of all words that are right."""
    return [one for text in texts if (one := word(text, problems))]
