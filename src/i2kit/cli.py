"""The command line: words in, an exit code out.

In: arguments. Out: data on stdout, everything else on stderr, and the exit code: 0 done, 1 failed,
2 wrong input or usage, 3 the rollout failed and the previous revision, if any, serves, 10 `plan` found
changes, 130 interrupted.
Never joins stages itself: each command calls one use case of `app` and shows what comes back.
"""

import errno
import io
import json
import os
import signal
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO, TypeVar

import click

from i2kit import __version__, app, providers, report, settings
from i2kit.errors import I2kitError, InputError, OperationError
from i2kit.events import Watcher
from i2kit.model import FORMATS, Architecture, Deployment

INTERRUPTED = 130
READER_GONE = 128 + 13  # as a program that SIGPIPE ends
CHANGES = 10  # of plan: something would change

PHASES = {
    "running": "runs: i2kit status shows how far it is",
    "succeeded": "has done its work",
    "failed": "has failed: i2kit logs shows why",
    "scheduled": "runs at its times",
    "suspended": "is suspended, and does not run",
}
"""What is said of a job."""


@dataclass(slots=True)
class Tone:
    """How much to say. The only state that outlives the parsing of an option."""

    verbose: bool = False
    quiet: bool = False


Command = TypeVar("Command", bound=Callable[..., Any])


def tone_options(command: Command) -> Command:
    """-v and -q, understood before and after the command's name."""

    def choose(field: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(context: click.Context, parameter: click.Parameter, given: bool) -> None:
            if given:
                setattr(context.find_object(Tone), field, True)

        return callback

    for flags, field, text in (
        (("-q", "--quiet"), "quiet", "Say only what needs attention."),
        (("-v", "--verbose"), "verbose", "Show the traceback behind an error."),
    ):
        option = click.option(*flags, is_flag=True, expose_value=False, callback=choose(field), help=text)
        command = option(command)
    return command


class Folder(click.Path):
    """Where files go: no folder by the name of an empty variable, and none called `-` in place of stdout."""

    name = "directory"

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        if value == "-":
            self.fail("files are not written to stdout; a folder of this name is ./-", param, ctx)
        if value == "":
            self.fail("an empty word names no folder; the current one is .", param, ctx)
        return super().convert(value, param, ctx)


def files_option(required: bool) -> Callable[[Command], Command]:
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=required,
        metavar="FILE|DIR|-",
        help="A manifest, a folder of them, or - for stdin. Repeatable.",
    )


accept_option = click.option(
    "--accept",
    multiple=True,
    metavar="PATH",
    help="A refused field, by its path, or a kind, that is left out with a warning. Repeatable.",
)


def gaps_options(command: Command) -> Command:
    """--secret and --accept: what the files leave open."""
    for option in (
        accept_option,
        click.option(
            "--secret",
            "secrets",
            multiple=True,
            metavar="NAME=FILE",
            help="A Secret that is not in the files: a folder with a file for each key, a file of KEY=VALUE"
            " lines or, as NAME:KEY=FILE, one value. NAME may begin with NAMESPACE/. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def place_options(command: Command) -> Command:
    """--provider and --env."""
    for option in (
        click.option(
            "--env",
            metavar="NAME",
            help="An environment of i2kit.toml, with its provider and settings.  [env var: I2KIT_ENV]",
        ),
        click.option(
            "--provider",
            type=click.Choice(providers.NAMES),
            help="Where the virtual machines run.  [default: by I2KIT_PROVIDER or i2kit.toml, else local]",
        ),
    ):
        command = option(command)
    return command


locked_option = click.option(
    "--locked", is_flag=True, help="Fail rather than take newer base packages than i2kit.lock records."
)
images_option = click.option(
    "--images",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="An OCI layout or an image archive, looked into by name before any registry. Repeatable.",
)
output_option = click.option(
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="The form of what is written to stdout.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="i2kit %(version)s")
@tone_options
def cli() -> None:
    """Deploy containers as immutable virtual machines, with no cluster to run.

    \b
    Examples:
      i2kit deploy -f app.yml      build its image, start its VMs, wait until they answer
      i2kit status                 what runs, and where it answers
      i2kit destroy app            take it down
    """


@cli.command()
@files_option(required=True)
@gaps_options
@place_options
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@images_option
@locked_option
@output_option
@tone_options
@click.pass_obj
def deploy(
    tone: Tone,
    files: tuple[str, ...],
    secrets: tuple[str, ...],
    accept: tuple[str, ...],
    provider: str | None,
    env: str | None,
    dry_run: bool,
    images: tuple[Path, ...],
    locked: bool,
    output: str,
) -> None:
    """Make the manifests true, wait for an answer, and print where.

    Running it again changes nothing unless a manifest or an image has changed.

    \b
    Examples:
      i2kit deploy -f examples/nginx.yml
      i2kit deploy -f web.yml -f workers/ --dry-run
      i2kit deploy -f web.yml --provider aws
      i2kit deploy -f shop/ --secret database=database.env --secret tls:tls.key=key.pem
      kustomize build | i2kit deploy -f - --env staging
    """
    given = settings.load(env=env, provider=provider, locked=locked, images=images)
    with told(tone) as watch:
        outcomes = app.deploy(
            files,
            settings=given,
            provider_name=given.provider,
            watch=watch,
            dry_run=dry_run,
            stdin=sys.stdin.buffer,
            secrets=secrets,
            accept=accept,
        )
    if dry_run:
        show_plans(outcomes, output)
        return
    show_outcomes(tone, outcomes, output)


@cli.command()
@files_option(required=True)
@gaps_options
@place_options
@images_option
@locked_option
@output_option
@tone_options
@click.pass_obj
def plan(
    tone: Tone,
    files: tuple[str, ...],
    secrets: tuple[str, ...],
    accept: tuple[str, ...],
    provider: str | None,
    env: str | None,
    images: tuple[Path, ...],
    locked: bool,
    output: str,
) -> int:
    """Say what deploy would change, and what it would cost a month where that is known.

    Exits with 0 when there is nothing to change and with 10 when there is. Changes nothing, except that
    machine images are built into the store.

    \b
    Examples:
      i2kit plan -f examples/nginx.yml
      i2kit plan -f web.yml --provider aws
      i2kit plan -f web.yml --env production --output json | jq '.[].cost.usd_per_month'
    """
    given = settings.load(env=env, provider=provider, locked=locked, images=images)
    with told(tone) as watch:
        outcomes = app.deploy(
            files,
            settings=given,
            provider_name=given.provider,
            watch=watch,
            dry_run=True,
            stdin=sys.stdin.buffer,
            secrets=secrets,
            accept=accept,
        )
    show_plans(outcomes, output)
    return CHANGES if any(outcome.plan.actions for outcome in outcomes) else 0


@cli.command()
@click.argument("names", nargs=-1, metavar="[[NAMESPACE/]NAME]...")
@files_option(required=False)
@click.option("--volumes", is_flag=True, help="Remove their volumes too, and all data in them.")
@click.option("--now", is_flag=True, help="On this machine: end VMs without volumes without a grace period.")
@accept_option
@place_options
@tone_options
@click.pass_obj
def destroy(
    tone: Tone,
    names: tuple[str, ...],
    files: tuple[str, ...],
    volumes: bool,
    now: bool,
    accept: tuple[str, ...],
    provider: str | None,
    env: str | None,
) -> None:
    """Take deployments down: their machines, addresses and names.

    What does not run is said and is no error, so that it can be repeated. Machines have their grace period to
    end, as containers in Kubernetes do, and this waits for them. Volumes stay, and a later deploy
    finds them again, unless --volumes is given; that may also be given later.

    \b
    Examples:
      i2kit destroy nginx-deployment
      i2kit destroy shop/web shop/worker
      i2kit destroy -f examples/nginx.yml
      i2kit destroy database --volumes
    """
    if not names and not files:
        raise click.UsageError("name a deployment, or give its manifest with -f")
    given = settings.load(env=env, provider=provider)
    with told(tone) as watch:
        outcomes = app.destroy(
            names,
            files,
            settings=given,
            provider_name=given.provider,
            watch=watch,
            volumes=volumes,
            hurry=now,
            stdin=sys.stdin.buffer,
            accept=accept,
        )
    for outcome in outcomes:
        if not outcome.plan.actions:
            say(tone, f"nothing named {outcome.plan.key} runs")
        for note in outcome.plan.notes:
            say(tone, note)
    if not outcomes:
        say(tone, "no service of these files is in front of what runs")


@cli.command()
@click.argument("name", required=False, metavar="[[NAMESPACE/]NAME]")
@click.option("-w", "--watch", "keep", is_flag=True, help="Show every change, until interrupted.")
@place_options
@output_option
@tone_options
@click.pass_obj
def status(
    tone: Tone, name: str | None, keep: bool, provider: str | None, env: str | None, output: str
) -> int | None:
    """Show what runs and where; of one deployment, its machines too.

    With --watch every change is shown as it happens: on a terminal the table stays up to date, a pipe gets
    a line for each machine whose state changes (with --output json all of it, on one line).

    \b
    Examples:
      i2kit status
      i2kit status nginx-deployment
      i2kit status nginx-deployment --watch
      i2kit status --output json | jq '.[].endpoints[].url'
    """
    given = settings.load(env=env, provider=provider)
    if keep:
        found = app.follow_status(name, settings=given, provider_name=given.provider)
        return watch_status(found, instances=name is not None, output=output)
    deployments = app.status(name, settings=given, provider_name=given.provider)
    if output == "json":
        write_json([report.status_json(deployment) for deployment in deployments])
    elif deployments:
        write(report.status(deployments, instances=name is not None))
    else:
        say(tone, "nothing runs")
    return None


def watch_status(found: Iterator[Sequence[Deployment]], *, instances: bool, output: str) -> int:
    """Show all that comes. It ends by an interruption, as meant."""
    try:
        if output == "json":
            for deployments in found:
                write_json([report.status_json(one) for one in deployments], indent=None)
                sys.stdout.flush()
        else:
            with report.status_watching(sys.stdout, instances=instances) as show:
                for deployments in found:
                    show(deployments)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


@cli.command()
@click.argument("name", metavar="[NAMESPACE/]NAME")
@click.argument("container", required=False)
@click.option("-f", "--follow", is_flag=True, help="Wait for further lines, until interrupted.")
@click.option("--replica", type=click.IntRange(min=0), metavar="I", help="Only this replica, from 0.")
@place_options
@output_option
@tone_options
def logs(
    name: str,
    container: str | None,
    follow: bool,
    replica: int | None,
    provider: str | None,
    env: str | None,
    output: str,
) -> int | None:
    """Print what the containers wrote, oldest first.

    Each line begins with its instance and container, unless one container of one replica is asked for.

    \b
    Examples:
      i2kit logs nginx-deployment
      i2kit logs nginx-deployment nginx --replica 0
      i2kit logs nginx-deployment -f --output json
    """
    given = settings.load(env=env, provider=provider)
    lines = app.logs(
        name,
        container=container,
        replica=replica,
        follow=follow,
        settings=given,
        provider_name=given.provider,
    )
    alone = container is not None and replica is not None
    try:
        for instance, source, line in lines:
            if output == "json":
                write_json({"instance": instance, "container": source, "line": line}, indent=None)
            else:
                write(f"{line}\n" if alone else f"{instance} {source} | {line}\n")
    except KeyboardInterrupt:
        if not follow:
            raise
        return INTERRUPTED  # the way to end --follow: nothing to explain
    return None


@cli.command()
@click.argument("name", metavar="[NAMESPACE/]NAME")
@place_options
@output_option
@tone_options
@click.pass_obj
def history(tone: Tone, name: str, provider: str | None, env: str | None, output: str) -> None:
    """List the revisions of a deployment: what ran when, from which images, and what came of it.

    \b
    Examples:
      i2kit history nginx-deployment
      i2kit history nginx-deployment --output json | jq '.[] | select(.kept) | .revision'
    """
    given = settings.load(env=env, provider=provider)
    revisions = app.history(name, settings=given, provider_name=given.provider)
    if output == "json":
        write_json([report.revision_json(revision) for revision in revisions])
    elif revisions:
        write(report.history(revisions))
    else:
        say(tone, "no revisions are kept")


@cli.command()
@click.argument("name", metavar="[NAMESPACE/]NAME")
@click.option(
    "--to", type=click.IntRange(min=1), metavar="N", help="A revision of history.  [default: the one before]"
)
@place_options
@output_option
@tone_options
@click.pass_obj
def rollback(
    tone: Tone, name: str, to: int | None, provider: str | None, env: str | None, output: str
) -> None:
    """Make an earlier revision run again, as a new one. Nothing is built; as many replicas stay.

    \b
    Examples:
      i2kit rollback nginx-deployment
      i2kit rollback nginx-deployment --to 3
    """
    given = settings.load(env=env, provider=provider)
    with told(tone) as watch:
        outcome = app.rollback(name, to, settings=given, provider_name=given.provider, watch=watch)
    show_outcomes(tone, (outcome,), output)


@cli.command(context_settings={"ignore_unknown_options": True})  # -1 is a number that is too low
@click.argument("name", metavar="[NAMESPACE/]NAME")
@click.argument("replicas", type=click.IntRange(min=0), metavar="N")
@place_options
@output_option
@tone_options
@click.pass_obj
def scale(tone: Tone, name: str, replicas: int, provider: str | None, env: str | None, output: str) -> None:
    """Run N machines of a deployment, until the next deploy of its manifest. Replaces none.

    \b
    Examples:
      i2kit scale nginx-deployment 5
      i2kit scale shop/web 0
    """
    given = settings.load(env=env, provider=provider)
    with told(tone) as watch:
        outcome = app.scale(name, replicas, settings=given, provider_name=given.provider, watch=watch)
    show_outcomes(tone, (outcome,), output)


@cli.command()
@click.argument("templates", nargs=-1, metavar="[TEMPLATE]...")
@files_option(required=False)
@gaps_options
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="What to write.  [default: kernel+root; of a LinuxKit template kernel+initrd, tar without a kernel]",
)
@click.option(
    "-o",
    "directory",
    type=Folder(),
    help="Copy the files here; those of several workloads into DIRECTORY/NAMESPACE/NAME.",
)
@click.option(
    "--sbom/--no-sbom",
    "sbom",
    default=None,
    help="Print what is in it, as SPDX JSON, instead of paths; or leave that list out of the image.",
)
@click.option(
    "--builder",
    type=click.Choice(("i2kit", "linuxkit")),
    default="i2kit",
    show_default=True,
    help="What puts the images together: i2kit, or the real linuxkit where it is installed.",
)
@click.option(
    "--arch",
    type=click.Choice(("amd64", "arm64")),
    help="Of the machines.  [default: by I2KIT_ARCHITECTURE or i2kit.toml, else amd64]",
)
@images_option
@locked_option
@output_option
@tone_options
@click.pass_obj
def build(
    tone: Tone,
    templates: tuple[str, ...],
    files: tuple[str, ...],
    secrets: tuple[str, ...],
    accept: tuple[str, ...],
    form: str | None,
    directory: Path | None,
    sbom: bool | None,
    builder: Literal["i2kit", "linuxkit"],
    arch: Architecture | None,
    images: tuple[Path, ...],
    locked: bool,
    output: str,
) -> None:
    """Build machine images, of manifests or of a LinuxKit template.

    Prints where its files are. The same inputs give the same bytes. With --output json, each
    machine image is one JSON object on a line. Several templates are merged into one, as by LinuxKit.

    \b
    The formats:
      kernel+root    kernel, initrd, a read-only root filesystem (erofs), the kernel's arguments
      kernel+initrd  the same with the root in the initrd: all in memory, no disk
      raw            a disk that boots by UEFI and by BIOS, as it is uploaded to a cloud
      qcow2, vhd     the same disk as QEMU has it, and as Azure and Hyper-V do
      tar            all files of the machine, as LinuxKit's

    \b
    Examples:
      i2kit build -f examples/nginx.yml -o out
      i2kit build -f examples/nginx.yml --output json | jq .id
      i2kit build -f examples/nginx.yml --format raw -o out
      i2kit build -f examples/nginx.yml --format raw --arch arm64 -o out
      i2kit build -f examples/nginx.yml --sbom | jq '.packages[].name'
      i2kit build linuxkit.yml --images components/ -o out
    """
    if bool(templates) == bool(files):
        raise click.UsageError("give manifests with -f, or LinuxKit templates as arguments")
    with told(tone) as watch:
        shared: dict[str, Any] = {
            "sbom": sbom is not False,
            "builder": builder,
            "settings": settings.load(architecture=arch, locked=locked, images=images),
            "watch": watch,
            "output": directory,
            "stdin": sys.stdin.buffer,
        }
        built = (
            (app.build_linuxkit(templates, format_=form, **shared),)
            if templates
            else app.build(files, format_=form or "kernel+root", secrets=secrets, accept=accept, **shared)
        )
    for one in built:
        if sbom:
            write(one.sbom())
        elif output == "json":
            write_json(report.built_json(one.key, one.image, one.output), indent=None)
        else:
            say(tone, f"{one.key}: image {one.output.id}")
            write("".join(f"{file.path}\n" for file in one.output.files))


@cli.command()
@files_option(required=True)
@gaps_options
@click.option(
    "--as",
    "form",
    type=click.Choice(("linuxkit", "cloudformation")),
    required=True,
    help="What to render.",
)
@click.option("--env", metavar="NAME", help="An environment of i2kit.toml.  [env var: I2KIT_ENV]")
@images_option
@locked_option
@tone_options
@click.pass_obj
def render(
    tone: Tone,
    files: tuple[str, ...],
    secrets: tuple[str, ...],
    accept: tuple[str, ...],
    form: str,
    env: str | None,
    images: tuple[Path, ...],
    locked: bool,
) -> None:
    """Print what the manifests become on their way to virtual machines.

    \b
    linuxkit        the LinuxKit template of each workload's machine image
    cloudformation  the template of each workload's stack on AWS; where AWS cannot be asked for the network
                    and the machine image, with made-up ids for them

    \b
    Examples:
      i2kit render -f examples/nginx.yml --as linuxkit
      i2kit render -f app.yml --as linuxkit > app.linuxkit.yml
      i2kit render -f examples/nginx.yml --as cloudformation | jq .Resources
    """
    use_case = app.render_linuxkit if form == "linuxkit" else app.render_cloudformation
    given = settings.load(env=env, locked=locked, images=images)
    with told(tone) as watch:
        text = use_case(
            files,
            settings=given,
            watch=watch,
            stdin=sys.stdin.buffer,
            secrets=secrets,
            accept=accept,
        )
    write(text)


@cli.group()
def kernel() -> None:
    """Make a smaller kernel than the distribution's.

    \b
    Examples:
      i2kit kernel build
    """


@kernel.command("build")
@locked_option
@tone_options
@click.pass_obj
def build_kernel(tone: Tone, locked: bool) -> None:
    """Compile a small kernel of the distribution's kernel source, and use it from then on.

    It holds what a machine needs and no modules: images are smaller by half, VMs start twice as
    fast and take two thirds of the memory. It takes some minutes, once per machine: the
    result is kept, and recorded in i2kit.lock. What to install for it is said before anything is done.

    \b
    Examples:
      i2kit kernel build
    """
    with told(tone) as watch:
        made = app.build_kernel(settings=settings.load(locked=locked), watch=watch)
    say(tone, f"kernel of {made.source.name} {made.source.version}")
    write(f"{made.image}\n")


@cli.group()
def images() -> None:
    """List the machine images that were built, and prune them.

    \b
    Examples:
      i2kit images ls
      i2kit images prune --dry-run
    """


@images.command("ls")
@place_options
@output_option
@tone_options
@click.pass_obj
def list_images(tone: Tone, provider: str | None, env: str | None, output: str) -> None:
    """List machine images, and what takes how much room.

    Locally those of the store: SIZE is what an image takes on disk with its other formats, SHARED what it
    has in common with others. With --provider aws the AMIs that i2kit has made.

    \b
    Examples:
      i2kit images ls
      i2kit images ls --output json | jq '.images[] | select(.used_by == []) | .id'
      i2kit images ls --provider aws
    """
    given = settings.load(env=env, provider=provider)
    if given.provider != "local":
        placed = app.placed_images(settings=given, provider_name=given.provider)
        if output == "json":
            write_json([report.placed_json(image) for image in placed])
        elif placed:
            write(report.placed(placed, datetime.now(UTC)))
        else:
            say(tone, "there are none")
        return
    with told(tone) as watch:
        stock = app.images(settings=given, watch=watch)
    if output == "json":
        write_json(report.stock_json(stock))
    else:
        write(report.stock(stock, datetime.now(UTC)))


@images.command()
@click.argument("words", nargs=-1, metavar="[IMAGE]...")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@place_options
@output_option
@tone_options
@click.pass_obj
def prune(
    tone: Tone,
    words: tuple[str, ...],
    dry_run: bool,
    provider: str | None,
    env: str | None,
    output: str,
) -> None:
    """Remove what no deployment uses and nothing else needs.

    What a deployment runs, and what it ran before and could go back to, stays; so do the packages
    that lock files name. IMAGE is an id, its first 12 or more digits, or what it was built for: then
    only that is removed, unless it is in use. What is missing later is fetched and built again.
    With --provider aws it is about AMIs and their snapshots.

    \b
    Examples:
      i2kit images prune --dry-run
      i2kit images prune
      i2kit images prune shop/web 0123456789ab
      i2kit images prune --provider aws --dry-run
    """
    given = settings.load(env=env, provider=provider)
    if given.provider != "local":
        with told(tone) as watch:
            gone, unknown, kept = app.prune_placed(
                words, settings=given, provider_name=given.provider, watch=watch, dry_run=dry_run
            )
        if kept:
            say(tone, report.kept_placed(kept))
        for word in unknown:
            say(tone, f"no machine image there is named {word}")
        if output == "json":
            write_json(report.pruned_placed_json(gone, unknown, kept, dry_run=dry_run))
        elif gone:
            write(report.pruned_placed(gone, dry_run=dry_run))
        elif not unknown:
            say(tone, "nothing to remove")
        return
    with told(tone) as watch:
        pruned = app.prune(words, settings=given, watch=watch, dry_run=dry_run)
    if pruned.kept:
        say(tone, report.kept(pruned.kept))
    for word in pruned.unknown:
        say(tone, f"no machine image is named {word}, or has an id that begins so in 12 digits or more")
    if output == "json":
        write_json(report.pruned_json(pruned, dry_run=dry_run))
    elif text := report.pruned(pruned, dry_run=dry_run):
        write(text)
    elif not pruned.unknown:
        say(tone, "nothing to remove")


@cli.command()
@output_option
@tone_options
def doctor(output: str) -> int:
    """Check what this machine has and lacks for i2kit.

    Exits with 1 when something needed is missing.

    \b
    Examples:
      i2kit doctor
      i2kit doctor --output json | jq '.[] | select(.state != "ok")'
    """
    from i2kit import doctor as examination

    checks = examination.examine(settings.load())
    if output == "json":
        write_json([asdict(check) for check in checks])
    else:
        rows = [(check.state, check.name, check.detail) for check in checks]
        write(report.table([("STATE", "CHECK", "FOUND"), *rows]))
        for check in checks:
            if check.hint:
                mutter(f"\n{check.name}: {check.detail}\nhint: {check.hint}\n")
        if line := examination.mend(checks, root=os.geteuid() == 0):
            mutter(f"\nhint: install what is missing with\n  {line}\n")
    return 1 if any(check.state == "missing" for check in checks) else 0


@cli.command()
@files_option(required=True)
@accept_option
@output_option
@tone_options
@click.pass_obj
def check(tone: Tone, files: tuple[str, ...], accept: tuple[str, ...], output: str) -> int:
    """Say which workloads would deploy, and why not the others.

    The verdicts are: deploys, deploys with warnings, refused. Each workload is judged by itself, with the
    documents about it (Services, autoscalers, Ingresses) in its file, or else in its folder, or else in
    what a deploy with the same -f would read. Files need not belong together: the same name in two of them
    is no problem, and one that cannot be read hides no other. Folders are searched with all below them.
    It takes no provider, no network and no images.

    Exits with 0 when all would deploy, also with warnings, and with 2 when something is refused. With
    --output json, a list with {file, kind, name, verdict, problems} for each: first the workloads of a
    file, then what else is wrong in it (kind is null where that cannot be told).

    \b
    Examples:
      i2kit check -f app.yml
      i2kit check -f kubernetes/ -q
      helm template . | i2kit check -f -
      i2kit check -f examples/ --output json | jq '.[] | select(.verdict == "refused") | .name'
    """
    judgements = app.check(files, stdin=sys.stdin.buffer, accept=accept)
    if output == "json":
        write_json_list(report.judgement_json(one) for one in judgements)
    else:
        write(report.judgements(judgements, quiet=tone.quiet))
    return InputError.exit_code if any(one.verdict == "refused" for one in judgements) else 0


@cli.command()
@tone_options
def schema() -> None:
    """Print the JSON Schema of manifests, for editors.

    \b
    Examples:
      i2kit schema > i2kit.schema.json
      i2kit schema | jq '."$defs" | keys'
    """
    write_json(app.schema())


# --- what several commands show -----------------------------------------------------------------


def show_plans(outcomes: Sequence[app.Outcome], output: str) -> None:
    if output == "json":
        write_json([report.plan_json(outcome.plan) for outcome in outcomes])
    else:
        write("".join(report.plan(outcome.plan) for outcome in outcomes))


def show_outcomes(tone: Tone, outcomes: Sequence[app.Outcome], output: str) -> None:
    """Where what was deployed answers: addresses on stdout, the rest for people."""
    if output == "json":
        write_json(
            [
                {**report.status_json(outcome.deployment), **report.plan_json(outcome.plan)}
                for outcome in outcomes
                if outcome.deployment
            ]
        )
        return
    for outcome in outcomes:
        if not outcome.plan.actions:
            say(tone, f"{outcome.plan.key}: nothing to change")
        if outcome.deployment is None:
            continue
        if outcome.deployment.phase:
            say(tone, f"{outcome.plan.key} {PHASES[outcome.deployment.phase]}")
            continue
        if not outcome.deployment.replicas_wanted:
            say(tone, f"{outcome.plan.key} has no replicas, so nothing answers")
            continue
        if not outcome.deployment.endpoints:
            say(tone, f"{outcome.plan.key} runs; it has no ports to answer on")
        for endpoint in outcome.deployment.endpoints:
            name = endpoint.service.removeprefix(f"{outcome.deployment.namespace}/")
            say(tone, f"{outcome.plan.key} answers as {name}:{endpoint.port} at")
            write(f"{endpoint.url}\n")


# --- writing ----------------------------------------------------------------------------------


def write(text: str) -> None:
    """Write data to stdout; ends the command quietly when nobody reads it any more (`… | head`)."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        forget(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(READER_GONE) from None
        raise OperationError(f"cannot write to stdout: {error.strerror}") from None


def write_json(value: object, indent: int | None = 2) -> None:
    write(json.dumps(value, indent=indent) + "\n")


def write_json_list(values: Iterable[object]) -> None:
    """As `write_json` of a list, but one value after the other: they can be a hundred thousand."""
    comma = ""
    write("[")
    for value in values:
        write(comma + "\n" + textwrap.indent(json.dumps(value, indent=2), "  "))
        comma = ","
    write("\n]\n" if comma else "]\n")


def say(tone: Tone, text: str) -> None:
    """One line for people, on stderr."""
    if not tone.quiet:
        mutter(f"{text}\n")


def mutter(text: str) -> None:
    """Write to stderr; where nobody can read that, it changes nothing about what was done."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        forget(sys.stderr)


def forget(stream: TextIO) -> None:
    """Drop what a stream could not write; else the interpreter tries again at its end, and fails."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def told(tone: Tone) -> Iterator[Watcher]:
    with report.watching(sys.stderr, quiet=tone.quiet) as watch:
        yield watch


# --- the way out ------------------------------------------------------------------------------


def main() -> NoReturn:
    # As Ctrl-C: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    open_standard_streams()
    # Names and log lines can hold what the terminal's encoding cannot: that is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    mutter("")  # what progress could not write is dropped here
    sys.exit(code)


def open_standard_streams() -> None:
    """Give what a caller has closed (`<&-`, some cron and init scripts) to /dev/null.

    Python has None for such a stream, and the next file that is opened would get its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def run(arguments: Sequence[str]) -> int:
    """Run one command line. Returns its exit code; every failure has been explained on stderr."""
    tone = Tone()
    if not arguments:
        mutter(cli.get_help(click.Context(cli, info_name="i2kit", **cli.context_settings)) + "\n")
        return click.UsageError.exit_code
    try:
        # Not cli.main(): it takes every broken pipe for a reader that went away, and says nothing.
        with cli.make_context("i2kit", list(arguments), obj=tone) as context:
            code = cli.invoke(context)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "i2kit"
        complain(OperationError(error.format_message(), hint=f"see {where} --help"))
        return error.exit_code
    except I2kitError as error:
        if tone.verbose:
            traceback.print_exc()
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        mutter("interrupted; safe to run again\n")
        return INTERRUPTED
    except OSError as error:
        if tone.verbose:
            traceback.print_exc()
        complain(of_system(error))
        return 1
    except Exception as error:
        complain(of_bug(error, tone))
        return 1


def complain(error: I2kitError) -> None:
    mutter(report.explained(error, colour=report.coloured(sys.stderr)))


def of_system(error: OSError) -> OperationError:
    """What the operating system refused, such as a full disk: the user's to mend, wherever it happens."""
    hints = {
        errno.ENOSPC: "free some space, or keep i2kit's files elsewhere with I2KIT_STORE_DIR",
        errno.EDQUOT: "free some space, or keep i2kit's files elsewhere with I2KIT_STORE_DIR",
        errno.EACCES: "check the owner and the permissions; i2kit keeps apart what root and others run",
        errno.EPERM: "check the owner and the permissions; i2kit keeps apart what root and others run",
        errno.EROFS: "keep i2kit's files elsewhere with I2KIT_STORE_DIR and I2KIT_STATE_DIR",
        errno.EMFILE: "raise the limit on open files, for example: ulimit -n 4096",
    }
    what = error.strerror or str(error)
    place = f"{error.filename}: " if error.filename is not None else ""
    return OperationError(
        f"{place}{what}", hint=hints.get(error.errno or 0, "run it again with -v to see where")
    )


def of_bug(error: Exception, tone: Tone) -> OperationError:
    """An error that nobody explained. Its traceback is kept in a file, or shown with -v."""
    what = f"this is a bug in i2kit: {type(error).__name__}: {error}"
    if tone.verbose:
        traceback.print_exception(error)
        return OperationError(what, hint="report it with the traceback above")
    with tempfile.NamedTemporaryFile("w", prefix="i2kit-bug-", suffix=".txt", delete=False) as file:
        file.write(f"i2kit {__version__}, Python {sys.version}\n{sys.argv}\n\n")
        traceback.print_exception(error, file=file)
    return OperationError(what, hint=f"report it with the traceback in {file.name}")
