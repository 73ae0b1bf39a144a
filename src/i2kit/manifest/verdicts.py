"""Does each workload of many files deploy, and if not, why: each by itself, as if it alone were deployed.

In: paths. Out: Judgements. A workload is judged with the documents that are about it: Services that select
it, its autoscaler, Ingresses before its Services. Each of these is about workloads of its own file; where
it has none there, about those in its folder; and where there are none either, about those of all files that
a deploy with the same -f would read. Bindings of service accounts count for all of these, and those of
accounts that have a name of their own for all below the folder that was named: rights are often written in
one beside. What a workload is made of is looked for there too, and a warning says where it is. The same
name in two files is no problem: they need not be deployed together. Values are kept, texts are not: files
of any number take little memory, and time in proportion.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import Literal

from i2kit.errors import InputError, Position, Problem
from i2kit.manifest import checks, documents, files
from i2kit.manifest.documents import Aim, Document, Naming, Selecting
from i2kit.manifest.files import File
from i2kit.manifest.kubernetes import disks, ingress, policies
from i2kit.manifest.log import Accepted, Finding, Log
from i2kit.manifest.reading import FoundClaim, Grant, NamedClaim, Reading, Reference
from i2kit.manifest.resolve import Beside, resolve
from i2kit.model import Claim

Verdict = Literal["deploys", "warns", "refused"]

MAX_DOCUMENTS = 100_000
"""Their values take some 300 MB."""

MAX_PER_DOCUMENT = 100
MAX_FINDINGS = 100_000
"""From there on, few of each document are told."""

MAX_ABOUT = 100
"""How many documents of others can be about one workload."""

WORKLOADS = (*documents.KINDS, documents.NATIVE, documents.COMPOSE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a workload, or on what else is wrong; `kind` is None where that is not known."""

    file: str
    kind: str | None
    name: str | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        if any(finding.refused for finding in self.findings):
            return "refused"
        return "warns" if self.findings else "deploys"

    @property
    def workload(self) -> bool:
        return self.kind in WORKLOADS


@dataclass(slots=True)
class _Read:
    """A file as read."""

    file: File
    documents: list[Document] = field(default_factory=list)
    log: Log = field(default_factory=Log)
    whole: bool = False
    """Whether it could be read to its end."""


def judged(
    paths: Sequence[str], stdin: bytes | None = None, accept: Sequence[str] = ()
) -> tuple[Judgement, ...]:
    """The verdict on each workload, file by file; then on what else is wrong in the file.

    Raises InputError where there is nothing to judge.
    """
    found, problems = files.walk(paths)
    accepted = Accepted(accept)
    read = _all(found, stdin, accepted)
    about = _About(read)
    judgements = [
        Judgement(problem.position.file if problem.position else "", None, None, (_finding(problem),))
        for problem in problems
    ]
    for one in read:
        judgements.extend(_of_file(one, about))
    judgements.extend(Judgement("", None, None, (one,)) for one in accepted.unused())
    if not judgements and not any(one.documents for one in read):
        where = Position(paths[0], 1, 1) if paths else None
        raise InputError([Problem("there are no manifests here", where, "name a file or a folder with -f")])
    return tuple(judgements)


def _all(found: Iterable[File], stdin: bytes | None, accepted: Accepted) -> list[_Read]:
    read, count, told = [], 0, 0
    around = files.around()
    for file in _projects(found, stdin):
        one = _Read(file)
        limit = MAX_PER_DOCUMENT if told < MAX_FINDINGS else 3
        try:
            data = files.contents(file.path, stdin)
            overrides = [
                (files.STDIN if path == "-" else path, files.contents(path, stdin)) for path in file.overrides
            ]
        except InputError as error:
            one.log.add(error.problems)
        else:
            one.documents, one.log, one.whole = documents.read(
                file.name, data, limit, around, overrides, accepted
            )
        count += len(one.documents)
        told += sum(len(document.log.problems) for document in one.documents)
        if count > MAX_DOCUMENTS:
            message = f"more than {MAX_DOCUMENTS:,} documents at once"
            raise InputError([Problem(message, Position(file.name, 1, 1), "check them in parts")])
        _compare(one)
        read.append(one)
    return read


def _projects(found: Iterable[File], stdin: bytes | None) -> list[File]:
    """The files, of which compose files that were named one by one are one project, as in a deploy."""
    every = list(found)
    named = [file for file in every if not file.below]
    if len(named) < 2:
        return every
    composed = []
    for file in named:
        try:
            if documents.is_compose(file.name, files.contents(file.path, stdin)):
                composed.append(file)
        except InputError:
            continue  # told where it is read
    further = composed[1:]
    first = replace(composed[0], overrides=tuple(file.path for file in further)) if further else None
    return [first if first and file == composed[0] else file for file in every if file not in further]


def _compare(one: _Read) -> None:
    """What the documents of a file may not have in common."""
    readings = [document.reading for document in one.documents]
    count = sum(each.count for each in readings)
    if checks.too_many(count, one.log):
        return
    first: dict[tuple[str, str], Position] = {}
    for document in one.documents:
        for kind, key, place in _names(document.reading):
            if earlier := first.get((kind, key)):
                checks.twice(kind, key, place, earlier, document.log)
            else:
                first[kind, key] = place


def _names(reading: Reading) -> Iterator[tuple[str, str, Position]]:
    for config in reading.configs:
        if config.position:
            yield config.kind, config.key, config.position
    for claim in reading.claims:
        yield "PersistentVolumeClaim", claim.key, claim.position
    for kind, found in (
        ("deployment", reading.workloads),
        ("service", [one.service for one in reading.services]),
        ("Ingress", reading.ingresses),
    ):
        for one in found:
            if one.name and one.position:
                yield kind, one.key, one.position


class _About:
    """Which documents are about which workloads."""

    def __init__(self, read: Iterable[_Read]) -> None:
        self._near = {one.file.name: _near(one.file) for one in read}
        self._workloads: dict[Hashable, list[Document]] = defaultdict(list)
        """By place and label, by place and key, by place and account."""
        self._services: dict[Hashable, list[Document]] = defaultdict(list)
        self._memo: dict[tuple[Hashable, Aim], list[Document]] = {}
        self._found: dict[int, list[Document]] = defaultdict(list)
        self._lost: set[int] = set()
        self._offered: dict[Hashable, Document] = {}
        """By place, kind and key: the first."""
        self._below = {one.file.name: (one.file.below, one.file.folder) for one in read}
        self._elsewhere: dict[tuple[str, str, str], Document] = {}
        """By folder, kind and key: what is offered in a file there or below, by the shortest way."""
        self._used: set[int] = set()
        everything = [document for one in read for document in one.documents]
        for document in everything:
            self._enter(document)
        for document in everything:
            self._check_routes(document)
        self._join(document for document in everything if document.pods is None)
        for document in everything:
            self._used.update(id(one) for one in self.used_by(document))

    def about(self, workload: Document) -> Sequence[Document]:
        """The documents that are about a workload, those of its own file first."""
        found = self._found[id(workload)]
        return sorted(found, key=lambda one: one.file != workload.file)

    def used_by(self, workload: Document) -> list[Document]:
        """The documents that a workload is made of: of each name the nearest."""
        found = {id(one): one for _, one in self.borrowed(workload)}
        places = self._near[workload.file]

        def take(uses: Iterable[tuple[str, str]]) -> None:
            for use in uses:
                offered = (self._offered.get((near, *use)) for near in places)
                if one := next(filter(None, offered), None):
                    found.setdefault(id(one), one)

        take(sorted(workload.pods.uses if workload.pods else ()))
        take(_disks_of_templates(workload))
        take(
            [use for one in found.values() for claim in one.reading.claims for use in _disks_of_claim(claim)]
        )
        return list(found.values())

    def borrowed(self, workload: Document) -> Iterator[tuple[Reference | NamedClaim, Document]]:
        """What it is made of that is far from it, of each name the one with most folders in common."""
        below, folder = self._below[workload.file]
        told: set[tuple[str, str]] = set()
        for kind, name, needed in _needed(workload) if below else ():
            use = kind, f"{workload.namespace}/{name}"
            if use in told or any((near, *use) in self._offered for near in self._near[workload.file]):
                continue
            told.add(use)
            offered = (self._elsewhere.get((above, *use)) for above in _above(folder, below))
            if one := next(filter(None, offered), None):
                yield needed, one

    def is_used(self, document: Document) -> bool:
        return id(document) in self._used

    def leads_nowhere(self, document: Document) -> bool:
        return id(document) in self._lost

    def _enter(self, document: Document) -> None:
        below, folder = self._below[document.file]
        # A Secret that is wrong may be another example's; one that is missing is given to a deploy.
        if document.kind in documents.OFFERS and not (document.kind == "Secret" and document.log.problems):
            for above in _above(folder, below) if below else ():
                at = above, document.kind, document.key
                if at not in self._elsewhere or len(folder) < len(self._below[self._elsewhere[at].file][1]):
                    self._elsewhere[at] = document
        if document.pods and below and not document.pods.account.endswith(("/", "/default")):
            self._workloads[("below", below), "account", document.pods.account].append(document)
        for near in self._near[document.file]:
            if pods := document.pods:
                self._workloads[near, "workload", document.key].append(document)
                for account in Grant.accounts(pods.account):
                    self._workloads[near, "account", account].append(document)
                self._workloads[near, document.namespace].append(document)
                for label in pods.labels:
                    self._workloads[near, document.namespace, label].append(document)
            elif document.kind in documents.OFFERS:
                self._offered.setdefault((near, document.kind, document.key), document)
                for claim in document.reading.claims:
                    self._offered.setdefault((near, "of", _stem(claim.key)), document)
                for disk in document.reading.found_disks:
                    kind, asked = ("claim", disk.claim) if disk.claim else ("class", disk.kind or "")
                    self._offered.setdefault((near, kind, asked), document)
                    self._offered.setdefault((near, "of", _stem(disk.claim or "")), document)
            elif document.kind == "Service":
                self._services[near, document.key].append(document)

    def _check_routes(self, document: Document) -> None:
        """Whether an Ingress leads to Services, of each name the nearest."""
        own = {one.service.key: one.service for one in document.reading.services}
        for route in document.reading.routes:
            if f"{document.namespace}/{route.route.service}" in own:  # of a compose file
                ingress.check(route, own, (), document.log)
                continue
            key = f"{document.namespace}/{route.route.service}"
            places = self._near[document.file]
            nearest = next((one for near in places if (one := self._services.get((near, key)))), [])
            found = [each.service for one in nearest for each in one.reading.services]
            aliases = [alias.key for one in nearest for alias in one.reading.aliases]
            if not nearest or found or aliases:  # else it could not be read
                ingress.check(route, {one.key: one for one in found[:1]}, aliases, document.log)

    def _join(self, others: Iterable[Document]) -> None:
        by_target: dict[tuple[Hashable, Aim], list[Document]] = defaultdict(list)
        for document in others:
            if document.aim is None:
                continue
            # A right that is given is given to all that use the account; of names, the nearest is meant.
            given = isinstance(document.aim, Naming) and document.aim.what == "account"
            near_by = self._near[document.file]
            if given:
                near_by = (*near_by, ("below", self._below[document.file][0]))
            places = [near for near in near_by if self._aimed(near, document.aim)]
            if not places:
                self._lost.add(id(document))
            for near in places if given else places[:1]:
                by_target[near, document.aim].append(document)
        for (near, aim), found in by_target.items():
            for workload in self._aimed(near, aim):
                known = self._found[id(workload)]
                known.extend(found[: MAX_ABOUT - len(known)])

    def _aimed(self, near: Hashable, aim: Aim) -> Sequence[Document]:
        """The workloads at this place that something is about."""
        if (near, aim) not in self._memo:
            self._memo[near, aim] = list(self._search(near, aim))
        return self._memo[near, aim]

    def _search(self, near: Hashable, aim: Aim) -> Iterator[Document]:
        if isinstance(aim, Selecting):
            lists = [self._workloads.get((near, aim.namespace, label), []) for label in aim.labels]
            fewest = min(lists, key=len, default=self._workloads.get((near, aim.namespace), []))
            yield from (one for one in fewest if one.pods and aim.labels <= one.pods.labels)
        elif aim.what == "service":
            services = (one for key in aim.keys for one in self._services.get((near, key), ()))
            targets = (one for service in services if service.aim for one in self._of(service, service.aim))
            yield from {id(one): one for one in targets}.values()
        else:
            found = (one for key in aim.keys for one in self._workloads.get((near, aim.what, key), ()))
            yield from {id(one): one for one in found}.values()

    def _of(self, service: Document, aim: Aim) -> Sequence[Document]:
        return next(filter(None, (self._aimed(near, aim) for near in self._near[service.file])), ())


def _disks_of_claim(claim: FoundClaim) -> Iterator[tuple[str, str]]:
    """How the PersistentVolume of a claim may be found, as kind and key."""
    if claim.volume:
        yield "PersistentVolume", f"default/{claim.volume}"
    else:
        yield "claim", claim.key
        if claim.claim.kind or claim.classless:
            yield "class", claim.claim.kind or ""


def _disks_of_templates(document: Document) -> Iterator[tuple[str, str]]:
    """The same, of a StatefulSet's machines, with the claims that have their names."""
    for workload in document.reading.workloads:
        for volume in workload.volumes:
            if isinstance(volume.source, Claim) and volume.source.each:
                yield "of", f"{workload.namespace}/{volume.source.name}-{workload.name}"
                if volume.source.kind:
                    yield "class", volume.source.kind


def _needed(workload: Document) -> Iterator[tuple[str, str, Reference | NamedClaim]]:
    """The documents that have to be there, as kind and name."""
    for needs in workload.reading.needs:
        for one in needs.references:
            if not one.optional:
                yield one.kind, one.name, one
        for claim in needs.claims:
            if not claim.made:
                yield "PersistentVolumeClaim", claim.claim, claim


def _above(folder: str, below: str) -> Iterator[str]:
    """A folder and those above it, as far as the one that was named."""
    while len(folder) > len(below):
        yield folder
        folder = folder.rpartition("/")[0]
    yield below


def _stem(claim: str) -> str:
    """What the names of the claims of all machines of a StatefulSet begin with."""
    return claim.rpartition("-")[0]


def _near(file: File) -> tuple[Hashable, ...]:
    """The places where a document looks for what it is about, the nearest first."""
    near: tuple[Hashable, ...] = (("file", file.name), ("folder", file.folder))
    return (*near, "together") if file.together else near


def _of_file(one: _Read, about: _About) -> Iterator[Judgement]:
    ends = () if one.whole else one.log.findings
    others = []
    for document in one.documents:
        if document.pods:
            others_ = _of_others(document, about.about(document), about.used_by(document))
            far = starmap(_borrowed, about.borrowed(document))
            findings = [*_completed(document), *others_, *far, *ends]
            yield Judgement(document.file, document.kind, document.name, _ordered(document.file, findings))
        elif (document.aim is None and not about.is_used(document)) or about.leads_nowhere(document):
            log = Log()
            if one.whole:
                _alone(document, log)
            if found := (*document.log.findings, *log.findings):
                others.append(Judgement(document.file, document.kind, document.name, found))
    yield from others
    if found := one.log.findings:
        yield Judgement(one.file.name, None, None, found)


_INCOMPLETE = re.compile(
    r"`(spec|selector|template|containers|image)` is missing|, but the template's labels "
)


def _completed(document: Document) -> Iterator[Finding]:
    """What is wrong with a document, and what may make it whole."""
    parts = [one for one in document.log.findings if one.refused and _INCOMPLETE.search(one.reason)]
    made = parts and files.is_customized(document.file)
    for one in document.log.findings:
        yield replace(one, hint=files.CUSTOMIZED) if made and one in parts else one


def _of_others(workload: Document, others: Sequence[Document], used: Sequence[Document]) -> Iterator[Finding]:
    """What is wrong in documents about a workload and in those that it is made of, and between it and them.

    Those of one file are looked at together; what two files have in common is no problem.
    """
    by_file: dict[str, list[Document]] = {workload.file: []}
    for one in used:
        yield from one.log.findings
    for other in others:
        yield from other.log.findings
        by_file.setdefault(other.file, []).append(other)
    if not workload.reading.workloads:
        return  # it could not be read, which is known by now
    mine = workload.reading
    scaled = list(mine.workloads)
    for found in by_file.values():
        reading = Reading(
            workloads=list(mine.workloads),
            services=[each for one in found for each in one.reading.services],
            scalers=[*mine.scalers, *(each for one in found for each in one.reading.scalers)],
            accounts=mine.accounts,
            grants=[each for one in found for each in one.reading.grants],
            identities=[each for one in found for each in one.reading.identities],
            tokenless=[each for other in others for each in other.reading.tokenless],
            unsized=mine.unsized,
        )
        log = Log(MAX_PER_DOCUMENT, workload.log.accepted)
        checks.whole(reading, log)
        yield from log.findings
        scaled = max(scaled, reading.workloads, key=lambda found: sum(bool(one.scaling) for one in found))
    made_of = Reading(
        workloads=scaled,
        needs=list(mine.needs),
        configs=[*mine.secrets, *(each for one in used for each in one.reading.configs)],
        claims=[each for one in used for each in one.reading.claims],
        disks={name: disk for one in used for name, disk in one.reading.disks.items()},
        found_disks=[each for one in used for each in one.reading.found_disks],
        complete=mine.complete and all(one.reading.complete for one in used),
    )
    log = Log(MAX_PER_DOCUMENT, workload.log.accepted)
    disks.join(made_of, log)
    resolve(made_of, Beside(demanded=False, customized=files.is_customized), log)
    yield from log.findings


def _borrowed(needed: Reference | NamedClaim, document: Document) -> Finding:
    where = f"{document.kind} `{needed.claim if isinstance(needed, NamedClaim) else needed.name}`"
    message = (
        f"{where} is in another folder, at {document.position}; to deploy, give that too, with another -f"
    )
    return Finding(message, needed.position, needed.path, refused=False)


def _alone(document: Document, log: Log) -> None:
    """What is wrong with a document that is about nothing here."""
    for policy in document.reading.found_policies:
        log.warn(policy.position, policy.path, f"{policies.lost(policy)}, so it needs one that runs already")
    for disk in document.reading.found_disks:
        if disk.disk:
            log.warn(disk.position, "", disks.LEFT)
    reading = Reading(services=document.reading.services, scalers=document.reading.scalers)
    for _, lonely in checks.whole(reading, log):
        assert lonely.position is not None
        log.warn(lonely.position, lonely.path, f"{lonely.reason}, so it needs one that runs already")


def _ordered(file: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By place, those in the workload's own file first; each once."""

    def place(finding: Finding) -> tuple[bool, Position]:
        position = finding.position or Position(file, 1, 1)
        return position.file != file, position

    return tuple(sorted(dict.fromkeys(findings), key=place))


def _finding(problem: Problem) -> Finding:
    return Finding(problem.message, problem.position, hint=problem.hint)
