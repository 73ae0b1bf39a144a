"""The first stage: what the user wrote becomes Workloads and Services, or every problem at once.

In: files, folders or the bytes of stdin. Out: a Manifest. Kubernetes' words end here: what comes
out is the model's. Only `read` and `texts` open files; everything else is pure.

  source      bytes → documents with a place for every key and value (with jsontext, places)
  fields, kinds, scaling_fields   the table of every field and kind: its type, its verdict, its words
  shape       how the types in the table read and describe themselves (with names, quantity)
  native, kubernetes, pod, probes, rollout, scaling     documents → model values
  checks      what only shows across documents
  reference   the table → JSON Schema and docs/manifest.md
"""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from i2kit.errors import InputError, Position, Problem
from i2kit.manifest import checks, kubernetes, native, source
from i2kit.manifest.log import Log
from i2kit.manifest.reading import Reading
from i2kit.model import Manifest

__all__ = ["STDIN", "parse", "read", "schema", "texts"]

STDIN = "stdin"
"""What `-` is called in positions."""

_SUFFIXES = (".yml", ".yaml", ".json")

_OPEN = re.compile(r"/dev/stdin|(/dev|/proc/self)/fd/[0-9]+")
"""What is open already: a shell's `<(command)` is the reading end of a pipe under such a name."""


def read(paths: Sequence[str], stdin: bytes | None = None, *, others: bool = False) -> Manifest:
    """Read files, folders (the .yml, .yaml and .json directly in them, by name) and `-` as one manifest.

    `stdin` is what stands for `-`. Raises InputError with every problem of every file. Where `others` run
    that a Service may be meant for, one that selects nothing here is none of these: see Manifest.lonely.
    """
    return _parse(*_sources(paths, stdin), others=others)


def texts(paths: Sequence[str], stdin: bytes | None = None) -> tuple[tuple[str, str], ...]:
    """The files that these paths stand for, as `read` finds them, each with its name.

    Raises InputError for what cannot be read and what is no text.
    """
    found, problems = _sources(paths, stdin)
    read = []
    for name, data in found:
        try:
            read.append((name, data.decode("utf-8-sig")))
        except UnicodeDecodeError:
            problems.append(Problem("is not UTF-8 text", Position(name, 1, 1)))
    if problems:
        raise InputError(problems)
    return tuple(read)


def parse(sources: Sequence[tuple[str, bytes]]) -> Manifest:
    """The manifest that the sources (name, contents) make together. Raises InputError with every problem."""
    return _parse(sources, ())


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what `parse` accepts, for editors: i2kit's form and Kubernetes'."""
    from i2kit.manifest.reference import json_schema  # not needed to deploy

    return json_schema()


def _sources(paths: Sequence[str], stdin: bytes | None) -> tuple[list[tuple[str, bytes]], list[Problem]]:
    files: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            files.extend([path] if path == "-" else _files(path))
        except InputError as error:
            problems.extend(error.problems)
    sources: dict[str, tuple[str, bytes]] = {}
    for file in files:
        # `-f web.yml -f .` names a file twice but means it once.
        real = file if file == "-" else os.path.realpath(file)
        if real in sources:
            continue
        try:
            sources[real] = (STDIN, _given(stdin)) if file == "-" else (file, _contents(file))
        except InputError as error:
            problems.extend(error.problems)
    return list(sources.values()), problems


def _parse(
    sources: Sequence[tuple[str, bytes]], unreadable: Iterable[Problem], *, others: bool = False
) -> Manifest:
    log = Log()
    log.problems.extend(unreadable)
    reading = Reading(complete=not log.problems)
    count = 0
    for name, data in sources:
        documents, problems = source.documents(name, data)
        log.problems.extend(problems)
        reading.complete = reading.complete and not problems
        count += len(documents)
        for document in documents:
            if isinstance(document, source.MappingNode) and kubernetes.is_kubernetes(document):
                kubernetes.read(document, reading, log)
            else:
                native.read(document, reading, log)
    lonely = checks.whole(reading, log)
    for _, problem in () if others or log.full else lonely:
        log.problem(problem.position, "", problem.message, problem.hint)
    if not log.problems and not reading.workloads and not lonely:
        where = Position(sources[0][0], 1, 1) if sources else None
        message = "there are no documents in it" if where else "no manifest was given"
        if count:
            message = "there is no deployment here"
        log.problems.append(Problem(message, where, "a manifest begins with name: and containers:"))
    if log.problems:
        order = {name: index for index, (name, _) in enumerate(sources)}
        raise InputError(sorted(log.problems, key=lambda problem: _place(problem, order)))
    return Manifest(
        workloads=tuple(reading.workloads),
        services=tuple(found.service for found in reading.services),
        warnings=log.warnings,
        lonely=lonely,
    )


def _place(problem: Problem, order: dict[str, int]) -> tuple[int, int, int]:
    if problem.position is None:
        return (-1, 0, 0)
    return (order.get(problem.position.file, -1), problem.position.line, problem.position.column)


def _files(path: str) -> list[str]:
    """The files that a path stands for, at least one. Raises InputError where there is nothing."""
    try:
        if not stat.S_ISDIR(Path(path).stat().st_mode):
            return [path]
        names = sorted(entry.name for entry in Path(path).iterdir() if not entry.is_dir())
    except OSError as error:
        raise _unreadable(path, error) from error
    found = [name for name in names if name.endswith(_SUFFIXES) and not name.startswith(".")]
    if not found:
        message = "there are no .yml, .yaml or .json files in this folder"
        hint = "folders below it are not searched: name them"
        raise InputError([Problem(message, Position(path, 1, 1), hint)])
    return [str(Path(path, name)) for name in found]


def _given(stdin: bytes | None) -> bytes:
    if stdin is None:
        raise InputError([Problem("nothing was given on stdin", Position(STDIN, 1, 1))])
    return stdin


def _contents(file: str) -> bytes:
    try:
        # Opening a FIFO by its name waits for a writer, and /dev/zero never ends: look before.
        mode = Path(file).stat().st_mode
        if not (stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and _OPEN.fullmatch(file))):
            hint = "pipe it in: … | i2kit deploy -f -"
            raise InputError([Problem("is not a regular file", Position(file, 1, 1), hint)])
        with Path(file).open("rb") as opened:
            return opened.read(source.MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: str, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    words = reason[:1].lower() + reason[1:]
    return InputError([Problem(f"cannot be read: {words}", Position(path, 1, 1))])
