"""What happens and what is, in words: events, errors, plans and tables as text.

In: events, errors and values. Out: progress on a stream (bars on a terminal, plain lines in a
pipe) and text for the command line to write. Never decides what is done, and never writes to
stdout: that is for the data of the commands, which `cli` writes.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from i2kit.errors import I2kitError, InputError, Position, printable
from i2kit.events import Event, Finished, Note, Progress, Replicas, Started, Warned, Watcher
from i2kit.model import (
    Deployment,
    Instance,
    MachineImage,
    Output,
    PlacedImage,
    Pruned,
    Revision,
    Stock,
    StoredImage,
    Use,
)
from i2kit.providers import Plan

if TYPE_CHECKING:
    from i2kit.manifest.verdicts import Judgement

PROGRESS_EVERY_S = 2.0
"""How often a running step may write a plain line: often enough to see it live, rare in a CI log."""

MOST_ROWS = 20
"""How many machines of a deployment are shown while it changes."""

RED, YELLOW, GREEN, BOLD = "31", "33", "32", "1"


def coloured(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour: a terminal that can, and no NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


# --- events -----------------------------------------------------------------------------------


@contextmanager
def watching(
    stream: TextIO, *, quiet: bool = False, environ: Mapping[str, str] = os.environ
) -> Iterator[Watcher]:
    """A Watcher that writes to `stream` until the block ends: bars on a terminal, else lines.

    `quiet` leaves only the warnings.
    """
    if quiet or not stream.isatty() or environ.get("TERM") == "dumb":
        yield Lines(stream, quiet=quiet, colour=coloured(stream, environ))
        return
    with bars(stream, environ) as watch:
        yield watch


class Lines:
    """A Watcher that writes whole lines and never rewrites one. May be called by several threads."""

    def __init__(
        self,
        stream: TextIO,
        *,
        quiet: bool = False,
        colour: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.quiet = quiet
        self.colour = colour
        self.clock = clock
        self.titles: dict[str, str] = {}
        self.written: dict[str, float] = {}
        self.last: dict[str, str] = {}
        self.before: dict[str, tuple[Instance, ...]] = {}
        self.lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self.lock:
            if line := self.line(event):
                # That nobody can read it is no reason to stop in the middle of a deploy.
                with suppress(OSError):
                    self.stream.write(f"{line}\n")
                    self.stream.flush()

    def line(self, event: Event) -> str | None:
        """The line for an event, None where it is not worth one."""
        if isinstance(event, Warned):
            return f"{paint('warning:', YELLOW, self.colour)} {event.message}"
        if self.quiet:
            return None
        match event:
            case Note(message):
                return message
            case Started(key, title):
                self.titles[key] = title
                self.written[key] = self.clock()
                return title
            case Progress(key, done, total, unit):
                now = self.clock()
                if now - self.written.get(key, now) < PROGRESS_EVERY_S:
                    return None
                self.written[key] = now
                line = f"{self.titles.get(key, key)}: {amount(done, total, unit)}"
                if line == self.last.get(key):
                    return None  # that nothing came further needs no line
                self.last[key] = line
                return line
            case Finished(key, result):
                self.last.pop(key, None)
                return f"{self.titles.pop(key, key)}: {result or 'done'}"
            case Replicas(key, _, instances):
                lines = changes(self.before.get(key, ()), instances)
                self.before[key] = instances
                return "\n".join(lines) or None


def changes(before: Sequence[Instance], after: Sequence[Instance]) -> Sequence[str]:
    """What became of each machine since `before`, as lines."""
    known = {one.id: one for one in before}
    lines = []
    for one in after:
        old = known.pop(one.id, None)
        if old is None or (old.state, old.detail) != (one.state, one.detail):
            state = one.state if old is None or old.state == one.state else f"{old.state} → {one.state}"
            lines.append(f"{one.id}: {state}" + (f" ({one.detail})" if one.detail else ""))
    return [*lines, *(f"{id_}: gone" for id_ in known)]


@contextmanager
def bars(stream: TextIO, environ: Mapping[str, str]) -> Iterator[Watcher]:
    """One bar per running step, and the machines of deployments below; a finished step leaves one line."""
    # Imported here: rich takes 60 ms, which a pipe or `--help` need not pay.
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display
    from rich.text import Text

    console = Console(
        file=stream,
        no_color=not coloured(stream, environ),
        highlight=False,
        soft_wrap=True,
        _environ=environ,
    )
    display = Display(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeElapsedColumn(),
        console=console,
    )
    tasks: dict[str, Any] = {}
    titles: dict[str, str] = {}
    machines: dict[str, tuple[Instance, ...]] = {}

    def shown() -> Group:
        return Group(display, *(Text(replicas(each), no_wrap=True) for each in tuple(machines.values())))

    def say(mark: str, style: str, text: str) -> None:
        console.print(Text.assemble((mark, style), " ", text))

    def watch(event: Event) -> None:
        match event:
            case Started(key, title):
                titles[key] = title
                tasks[key] = display.add_task(title, total=None, amount="")
            case Progress(key, done, total, unit) if key in tasks:
                display.update(tasks[key], completed=done, total=total, amount=amount(done, total, unit))
            case Finished(key, result):
                if key in tasks:
                    display.remove_task(tasks.pop(key))
                machines.pop(key, None)
                live.refresh()
                title = titles.pop(key, key)
                say("✓", "green", f"{title}: {result}" if result else title)
            case Note(message):
                say("·", "dim", message)
            case Warned(message):
                say("warning:", "yellow", message)
            case Replicas(key, _, instances):
                machines[key] = instances

    live = Live(console=console, get_renderable=shown, transient=True, refresh_per_second=10)
    with live:
        yield watch


def replicas(instances: Sequence[Instance]) -> str:
    """The machines of one deployment as rows that fit on a screen, those that are not ready first."""
    ordered = sorted(instances, key=lambda one: one.state == "ready")
    rows = [("  " + one.id, one.state, one.detail) for one in ordered[:MOST_ROWS]]
    text = table(rows)
    more = len(instances) - MOST_ROWS
    return text + (f"  and {more} more\n" if more > 0 else "")


def amount(done: int, total: int | None, unit: str) -> str:
    """`12.5 of 40.0 MB`, `3 of 7`: how far something is."""
    if unit == "bytes":
        mega = f"{done / 1e6:.1f}"
        return f"{mega} of {total / 1e6:.1f} MB" if total is not None else f"{mega} MB"
    return f"{done} of {total}" if total is not None else str(done)


# --- errors -----------------------------------------------------------------------------------


def explained(error: I2kitError, *, colour: bool = False) -> str:
    """An error as the user reads it; all problems of the input at once, each with its place."""
    word, hint = paint("error:", RED, colour), paint("hint:", GREEN, colour)
    if not isinstance(error, InputError):
        said = harmless(error.hint or "")
        return f"{word} {harmless(error.message)}\n" + (f"\n{hint} {said}\n" if said else "")
    text = ""
    for problem in error.problems:
        place = f"{harmless(str(problem.position))}: " if problem.position else ""
        text += f"{place}{word} {harmless(problem.message)}\n"
        text += f"  {hint} {harmless(problem.hint)}\n" if problem.hint else ""
    count = len(error.problems)
    return f"{text}\n{count} problem{'s' if count != 1 else ''} found; nothing was touched\n"


def harmless(text: str) -> str:
    """A text that may quote a stranger's, without what would steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1] for letter in text
    )


# --- values -----------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces, the first row being the heads; empty cells show as `-`."""
    filled = [[cell or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in filled)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def status(deployments: Sequence[Deployment], *, instances: bool = False) -> str:
    """The table of deployments; with `instances`, each one's VMs below it."""
    rows = [("NAMESPACE", "NAME", "READY", "REVISION", "IMAGE", "ENDPOINTS")]
    rows += [
        (
            deployment.namespace,
            deployment.name,
            deployment.phase or f"{deployment.replicas_ready}/{deployment.replicas_wanted}",
            str(deployment.revision),
            short(deployment.image),
            " ".join(endpoint.url for endpoint in deployment.endpoints),
        )
        for deployment in deployments
    ]
    text = table(rows)
    for deployment in deployments if instances else ():
        machines = [("INSTANCE", "ADDRESS", "STATE", "IMAGE", "STARTED", "DETAIL")]
        machines += [
            (vm.id, vm.address, vm.state, short(vm.image), vm.started_at, vm.detail)
            for vm in deployment.instances
        ]
        text += "\n" + table(machines)
    return text


@contextmanager
def status_watching(
    stream: TextIO, *, instances: bool, environ: Mapping[str, str] = os.environ
) -> Iterator[Callable[[Sequence[Deployment]], None]]:
    """What to call with the deployments whenever they changed: a live table on a terminal, else lines."""
    if not stream.isatty() or environ.get("TERM") == "dumb":
        before: dict[str, Deployment] = {}

        def tell(deployments: Sequence[Deployment]) -> None:
            for line in status_changes(before, deployments):
                stream.write(f"{line}\n")
            stream.flush()
            before.clear()
            before.update({one.key: one for one in deployments})

        yield tell
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream, no_color=not coloured(stream, environ), highlight=False, _environ=environ)
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

        def show(deployments: Sequence[Deployment]) -> None:
            text = status(deployments, instances=instances) if deployments else "nothing runs"
            live.update(Text(text.rstrip("\n"), no_wrap=True), refresh=True)

        yield show


def status_changes(before: Mapping[str, Deployment], after: Sequence[Deployment]) -> Sequence[str]:
    """What became of each deployment and each of its machines, as lines that begin with its key."""
    lines = []
    for one in after:
        old = before.get(one.key)
        if old is None or heading(old) != heading(one):
            lines.append(f"{one.key}: {heading(one)}")
        lines += [f"{one.key}: {line}" for line in changes(old.instances if old else (), one.instances)]
    gone = before.keys() - {one.key for one in after}
    return [*lines, *(f"{key}: gone" for key in sorted(gone))]


def heading(deployment: Deployment) -> str:
    """A deployment in a few words."""
    ready, wanted = deployment.replicas_ready, deployment.replicas_wanted
    if deployment.phase:
        return f"revision {deployment.revision}, {deployment.phase}"
    return f"revision {deployment.revision}, {ready} of {wanted} ready"


def short(image: str) -> str:
    """Enough of an image's id to tell it from the others."""
    return image.removeprefix("sha256:")[:12]


def status_json(deployment: Deployment) -> dict[str, Any]:
    """A deployment in the shape that `status --output json` promises: fields are added, never changed."""
    return {
        "name": deployment.name,
        "namespace": deployment.namespace,
        "provider": deployment.provider,
        "revision": deployment.revision,
        "image": deployment.image,
        "endpoints": [{"url": endpoint.url, "public": endpoint.public} for endpoint in deployment.endpoints],
        "replicas": {"wanted": deployment.replicas_wanted, "ready": deployment.replicas_ready},
        "instances": [
            {
                "id": vm.id,
                "address": vm.address,
                "ready": vm.ready,
                "image": vm.image,
                "started_at": vm.started_at,
                "state": vm.state,
                "detail": vm.detail,
            }
            for vm in deployment.instances
        ],
        "phase": deployment.phase or None,
        "volumes": list(deployment.volumes),
    }


def built_json(key: str, image: MachineImage | None, output: Output) -> dict[str, Any]:
    """A built image in the shape that `build --output json` promises: fields are added, never changed.

    The name of a LinuxKit template, unlike that of a workload, is in no namespace.
    """
    namespace, _, name = key.rpartition("/")
    return {
        "name": name,
        "namespace": namespace or None,
        "id": output.id,
        "format": output.format,
        "files": [
            {"path": str(file.path), "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in output.files
        ],
        "cmdline": image.cmdline if image else "",
        "containers": dict(image.containers) if image else {},
        "cached": output.cached,
    }


def stock(stock: Stock, now: datetime) -> str:
    """The table of machine images, and below it what takes how much room in the store."""
    rows = [("IMAGE", "BUILT FOR", "CONTAINERS", "SIZE", "SHARED", "FORMATS", "AGE", "USED BY")]
    rows += [
        (
            short(image.id),
            " ".join(image.names),
            " ".join(f"{name}={short_reference(reference)}" for name, reference in image.containers),
            megabytes(image.own_bytes),
            megabytes(image.shared_bytes),
            " ".join(form.format for form in image.forms),
            age(image.created_at, now) if image.created_at else "unreadable",
            " ".join(dict.fromkeys(user(use) for use in image.used_by)),
        )
        for image in stock.images
    ]
    everything = [("STORE", "COUNT", "SIZE")]
    everything += [
        (share.kind, str(share.count), megabytes(share.disk_bytes)) for share in stock.shares if share.count
    ]
    everything.append(("total", "", megabytes(sum(share.disk_bytes for share in stock.shares))))
    return (f"{table(rows)}\n" if stock.images else "") + table(everything)


def stock_json(stock: Stock) -> dict[str, Any]:
    """The shape that `images ls --output json` promises: fields are added, never changed."""
    return {
        "images": [image_json(image) for image in stock.images],
        "store": [asdict(share) for share in stock.shares],
    }


def image_json(image: StoredImage) -> dict[str, Any]:
    return {
        "id": image.id,
        "names": list(image.names),
        "containers": dict(image.containers),
        "images": list(image.images),
        "size_bytes": image.size_bytes,
        "own_bytes": image.own_bytes,
        "shared_bytes": image.shared_bytes,
        "created_at": image.created_at or None,
        "formats": [form.format for form in image.forms],
        "outputs": [asdict(form) for form in image.forms],
        "used_by": [
            {
                "name": use.key.rpartition("/")[2],
                "namespace": use.key.rpartition("/")[0],
                "provider": use.provider,
                "place": use.place,
                "why": use.why,
                "revision": use.revision or None,
            }
            for use in image.used_by
        ],
    }


def user(use: Use) -> str:
    return f"{use.key} (revision {use.revision})" if use.revision else use.key


def kept(images: Sequence[StoredImage]) -> str:
    """Why machine images stay, a line for each."""
    return "\n".join(
        f"image {short(image.id)}{of(image.names)} stays: "
        + ", ".join(
            dict.fromkeys(
                f"{use.key} {use.why} it{f' (revision {use.revision})' * bool(use.revision)}"
                for use in image.used_by
            )
        )
        for image in images
    )


def of(names: Sequence[str]) -> str:
    return f" of {', '.join(names)}" if names else ""


def pruned(pruned: Pruned, *, dry_run: bool) -> str:
    """What went from the store, or would go, and the room that makes."""
    verb = "would remove" if dry_run else "removed"
    text = ""
    for image, room in zip(pruned.images, pruned.room, strict=True):
        text += f"{verb} image {short(image.id)}{of(image.names)}: {megabytes(room)}\n"
    for share in pruned.others:
        files = f"{share.count} file{'s' if share.count != 1 else ''}"
        text += f"{verb} {files} of {share.kind}: {megabytes(share.disk_bytes)}\n"
    if not text:
        return ""
    return f"{text}{megabytes(pruned.freed_bytes)} {'would become' if dry_run else 'became'} free\n"


def pruned_json(pruned: Pruned, *, dry_run: bool) -> dict[str, Any]:
    """The shape that `images prune --output json` promises: fields are added, never changed."""
    return {
        "dry_run": dry_run,
        "images": [
            {**image_json(image), "freed_bytes": room}
            for image, room in zip(pruned.images, pruned.room, strict=True)
        ],
        "others": [
            {"kind": share.kind, "files": share.count, "freed_bytes": share.disk_bytes}
            for share in pruned.others
        ],
        "freed_bytes": pruned.freed_bytes,
        "unknown": list(pruned.unknown),
        "kept": [image_json(image) for image in pruned.kept],
    }


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"


def short_reference(pinned: str) -> str:
    """An image as people name it, with the beginning of its digest: `nginx@0123456789ab`."""
    name, _, digest = pinned.partition("@")
    return f"{name.removeprefix('docker.io/').removeprefix('library/')}@{short(digest)}"


def age(created_at: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in its largest unit: `5 minutes`, `3 days`."""
    seconds = max(0, int((now - datetime.fromisoformat(created_at)).total_seconds()))
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    unit, length = next((one for one in units if seconds >= one[1]), units[-1])
    count = seconds // length
    return f"{count} {unit}{'' if count == 1 else 's'}"


VERDICTS = {"deploys": "deploys", "warns": "deploys with warnings", "refused": "refused"}


def judgements(judgements: Sequence["Judgement"], *, quiet: bool = False) -> str:
    """Whether each workload deploys and why not, then a table; with `quiet`, without those that just do."""
    text = ""
    for one in judgements:
        if one.findings or not quiet:
            subject = " ".join(filter(None, (one.kind, one.name)))
            text += printable(": ".join(filter(None, (one.file, subject, VERDICTS[one.verdict])))) + "\n"
        for finding in one.findings:
            place = f"{finding.position}: " if finding.position else ""
            word = "error" if finding.refused else "warning"
            text += f"  {place}{word}: {printable(finding.problem.message)}\n"
            text += f"    hint: {printable(finding.hint)}\n" if finding.hint else ""
    return (f"{text}\n" if text else "") + judged(judgements)


def judged(judgements: Sequence["Judgement"]) -> str:
    """The table of how many workloads of each kind deploy."""
    workloads = [one for one in judgements if one.workload]
    kinds = Counter(one.kind for one in workloads)
    rows: list[Sequence[str]] = [("WORKLOADS", "ALL", "DEPLOY", "WITH WARNINGS", "REFUSED")]
    for kind in (*(name for name, _ in kinds.most_common()), None):
        found = [str(one.verdict) for one in workloads if kind is None or one.kind == kind]
        rows.append((kind or "total", str(len(found)), *(str(found.count(word)) for word in VERDICTS)))
    others = sum(not one.workload and one.verdict == "refused" for one in judgements)
    also = f"\n{others} other document{' is' if others == 1 else 's are'} refused\n" if others else ""
    return table(rows) + also


def judgement_json(judgement: "Judgement") -> dict[str, Any]:
    """The shape that `check --output json` promises. A problem has a `file` where it is in another one."""
    return {
        "file": judgement.file,
        "kind": judgement.kind,
        "name": judgement.name,
        "verdict": judgement.verdict,
        "problems": [
            {
                **({"file": place.file} if place.file != judgement.file else {}),
                "path": finding.path,
                "line": place.line,
                "column": place.column,
                "verdict": "refused" if finding.refused else "warns",
                "reason": finding.reason,
                "hint": finding.hint,
            }
            for finding in judgement.findings
            for place in [finding.position or Position(judgement.file, 1, 1)]
        ],
    }


def plan(plan: Plan) -> str:
    """A plan as one line per action, or one that says that there is none; then images, cost and notes."""
    text = f"{plan.key}:\n" if plan.actions else f"{plan.key}: nothing to change\n"
    for action in plan.actions:
        reason = f" ({action.reason})" if action.reason else ""
        text += f"  {action.verb} {action.subject}{reason}\n"
    for line in plan.images:
        text += f"  {line}\n"
    if plan.cost:
        text += f"  costs {plan.cost}\n"
        text += "".join(f"    {line}\n" for line in plan.cost.lines)
    return text + "".join(f"  note: {note}\n" for note in plan.notes)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The shape that `plan --output json` promises: fields are added, never changed."""
    namespace, name = plan.key.split("/", 1)
    cost = plan.cost
    return {
        "name": name,
        "namespace": namespace,
        "actions": [asdict(action) for action in plan.actions],
        "images": list(plan.images),
        "cost": cost
        and {
            "usd_per_month": cost.usd,
            "complete": cost.complete,
            "lines": [asdict(line) for line in cost.lines],
            "as_of": cost.as_of,
            "region": cost.region,
            "source": cost.source,
            "not_counted": cost.not_counted,
        },
        "notes": list(plan.notes),
    }


def history(revisions: Sequence[Revision]) -> str:
    """The table of revisions, oldest first."""
    rows = [("REVISION", "CREATED", "IMAGE", "CONTAINERS", "MANIFEST", "OUTCOME")]
    rows += [
        (
            str(one.number),
            one.created_at,
            short(one.image),
            " ".join(f"{name}={short_reference(reference)}" for name, reference in one.containers),
            short(one.manifest),
            f"{one.outcome}: {one.reason}" if one.reason else one.outcome,
        )
        for one in revisions
    ]
    return table(rows)


def revision_json(revision: Revision) -> dict[str, Any]:
    """The shape that `history --output json` promises: fields are added, never changed."""
    return {
        "revision": revision.number,
        "created_at": revision.created_at,
        "image": revision.image,
        "containers": dict(revision.containers),
        "manifest": revision.manifest,
        "outcome": revision.outcome,
        "reason": revision.reason,
        "kept": revision.kept,
    }


def placed(images: Sequence[PlacedImage], now: datetime) -> str:
    """The table of machine images that a provider keeps."""
    rows = [("ID", "IMAGE", "BUILT FOR", "ARCH", "SIZE", "AGE", "USED BY")]
    rows += [
        (
            one.id,
            short(one.image),
            " ".join(one.keys),
            one.architecture,
            megabytes(one.size_bytes),
            age(one.created_at, now),
            " ".join(one.used_by),
        )
        for one in images
    ]
    return table(rows)


def placed_json(image: PlacedImage) -> dict[str, Any]:
    """The shape that `images ls --provider aws --output json` promises: fields are added, never changed."""
    return asdict(image)


def pruned_placed(images: Sequence[PlacedImage], *, dry_run: bool) -> str:
    verb = "would remove" if dry_run else "removed"
    return "".join(f"{verb} {one.id}{of(one.keys)}: {megabytes(one.size_bytes)}\n" for one in images)


def kept_placed(images: Sequence[PlacedImage]) -> str:
    """Why images stay, a line for each."""
    return "\n".join(f"{one.id}{of(one.keys)} stays: needed by {', '.join(one.used_by)}" for one in images)


def pruned_placed_json(
    images: Sequence[PlacedImage], unknown: Sequence[str], kept: Sequence[PlacedImage], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "images": [placed_json(one) for one in images],
        "unknown": list(unknown),
        "kept": [placed_json(one) for one in kept],
    }
