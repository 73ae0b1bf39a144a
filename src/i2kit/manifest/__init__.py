"""The first stage: what the user wrote becomes Workloads and Services, or every problem at once.

In: files, folders or the bytes of stdin. Out: a Manifest. Kubernetes' words end here: what comes
out is the model's. Only `files` opens any; everything else is pure.

  files        paths → the bytes of each file; what lies around them is asked through `around`
  source       bytes → documents with a place for every key and value (with jsontext, places)
  tables/      every field and kind: its type, its verdict, its words → also the schema and the pages
  kubernetes/  a document of Kubernetes → values, by its kind
  pods/        the pod in any of them, and in a manifest of ours
  native       a manifest of ours → values
  compose/     compose files → values
  given        words for Secrets that are in no file
  resolve      workloads with what ConfigMaps and Secrets say of them
  checks       what only shows across documents
  documents, verdicts   each workload of many files by itself: does it deploy, and if not, why
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from i2kit.errors import InputError, Position, Problem
from i2kit.manifest import checks, given, kubernetes, native, source
from i2kit.manifest.around import NOTHING, Around
from i2kit.manifest.files import STDIN, around, held, is_customized, sources
from i2kit.manifest.log import Accepted, Log
from i2kit.manifest.reading import Reading
from i2kit.manifest.resolve import Beside, resolve
from i2kit.model import Manifest

if TYPE_CHECKING:
    from i2kit.manifest.verdicts import Judgement

__all__ = ["STDIN", "check", "parse", "read", "schema", "texts"]


def read(
    paths: Sequence[str],
    stdin: bytes | None = None,
    *,
    others: bool = False,
    secrets: Sequence[str] | None = (),
    accept: Sequence[str] = (),
) -> Manifest:
    """Read files, folders (the .yml, .yaml and .json directly in them, by name) and `-` as one manifest.

    `stdin` is what stands for `-`. Raises InputError with every problem of every file. Where `others` run
    that a Service may be meant for, one that selects nothing here is none of these: see Manifest.lonely.
    `secrets` are words `[NAMESPACE/]NAME[:KEY]=FILE` for the Secrets that are in none of the files; with None
    it is no problem that some are in none. Refusals at the paths in `accept`, such as
    `spec.template.spec.containers.volumeDevices`, or of the kinds in it, are warnings.
    """
    wrong: list[Problem] = []
    words = given.words(secrets or (), wrong)
    beside = [given.Given(word, found) for word in words if (found := held(word.path, wrong)) is not None]
    known = Beside(beside, demanded=secrets is not None, customized=is_customized, around=around())
    unreadable: list[Problem] = []
    return _parse(sources(paths, stdin, unreadable), unreadable, known, wrong, others=others, accept=accept)


def texts(paths: Sequence[str], stdin: bytes | None = None) -> tuple[tuple[str, str], ...]:
    """The files that these paths stand for, as `read` finds them, each with its name.

    Raises InputError for what cannot be read and what is no text.
    """
    problems: list[Problem] = []
    read = []
    for name, data in sources(paths, stdin, problems):
        try:
            read.append((name, data.decode("utf-8-sig")))
        except UnicodeDecodeError:
            problems.append(Problem("is not UTF-8 text", Position(name, 1, 1)))
    if problems:
        raise InputError(problems)
    return tuple(read)


def parse(contents: Sequence[tuple[str, bytes]], around: Around = NOTHING) -> Manifest:
    """The manifest that files (name, contents) make together. Raises InputError with every problem.

    `around` is what compose files may refer to.
    """
    return _parse(contents, (), Beside(around=around), ())


def check(
    paths: Sequence[str], stdin: bytes | None = None, *, accept: Sequence[str] = ()
) -> "tuple[Judgement, ...]":
    """The verdict on each workload of the files, folders (with all below them) and `-`, by itself.

    Raises InputError only where there is nothing to judge.
    """
    from i2kit.manifest.verdicts import judged  # not needed to deploy

    return judged(paths, stdin, accept)


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what `parse` accepts, for editors: i2kit's form and Kubernetes'."""
    from i2kit.manifest.tables.reference import json_schema  # not needed to deploy

    return json_schema()


def _parse(
    contents: Iterable[tuple[str, bytes]],
    unreadable: Iterable[Problem],
    beside: Beside,
    wrong: Iterable[Problem],
    *,
    others: bool = False,
    accept: Sequence[str] = (),
) -> Manifest:
    """The manifest that the files make. Those that are `unreadable` are known once all were asked for."""
    accepted = Accepted(accept)
    log, reading = Log(accepted=accepted), Reading()
    log.add(wrong)
    order: dict[str, int] = {}
    composed: list[source.MappingNode] = []
    count = 0
    for name, data in contents:
        order[name] = len(order)
        documents, problems = source.documents(name, data)
        if any(map(native.is_compose, documents)):
            from i2kit.manifest.compose.merging import DIALECT  # most manifests are no compose files

            documents, problems = source.documents(name, data, dialect=DIALECT)
        log.add(problems)
        reading.complete = reading.complete and not problems
        count += len(documents)
        for document in documents:
            if isinstance(document, source.MappingNode) and kubernetes.is_kubernetes(document):
                kubernetes.read(document, reading, log)
            elif native.is_compose(document):
                composed.append(document)
            else:
                native.read(document, reading, log)
    if composed:
        from i2kit.manifest import compose

        compose.read(composed, reading, log, beside.around)
    cannot_be_read = tuple(unreadable)
    log.add(cannot_be_read)
    reading.complete = reading.complete and not cannot_be_read
    lonely = checks.whole(reading, log)
    secrets = () if log.full else resolve(reading, beside, log)
    for _, one in () if others or log.full else lonely:
        log.problem(one.position, one.path, one.reason, one.hint)
    for one in accepted.unused():
        log.problem(None, "", one.reason, one.hint)
    if not log.problems and not reading.workloads and not lonely:
        where = Position(next(iter(order)), 1, 1) if order else None
        message = "there are no documents in it" if where else "no manifest was given"
        if count:
            message = "there is no deployment here"
        hint = "a manifest begins with name: and containers:"
        if composed:
            message, hint = (
                "no service of it is asked for",
                "COMPOSE_PROFILES=NAME asks for those of a profile",
            )
        log.problem(where, "", message, hint)
    if problems := log.problems:
        raise InputError(sorted(problems, key=lambda problem: _place(problem, order)))
    return Manifest(
        workloads=tuple(reading.workloads),
        services=tuple(found.service for found in reading.services),
        warnings=log.warnings,
        lonely=tuple((service, one.problem) for service, one in lonely),
        ingresses=tuple(reading.ingresses),
        policies=tuple(reading.policies),
        aliases=tuple(reading.aliases),
        secrets=secrets,
    )


def _place(problem: Problem, order: dict[str, int]) -> tuple[int, int, int]:
    if problem.position is None:
        return (-1, 0, 0)
    return (order.get(problem.position.file, -1), problem.position.line, problem.position.column)
