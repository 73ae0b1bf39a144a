"""The command line: words in, an exit code out.

In: arguments. Out: data on stdout, everything else on stderr, and the exit code: 0 done, 1 failed,
2 wrong input or usage, 3 the rollout failed and the previous revision serves, 130 interrupted.
Never joins stages itself: each command calls one use case of `app` and shows what comes back.
"""

import errno
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO, TypeVar

import click

from i2kit import __version__, app, providers, report, settings
from i2kit.errors import I2kitError, OperationError
from i2kit.events import Watcher
from i2kit.model import FORMATS

INTERRUPTED = 130
READER_GONE = 128 + 13  # as a program that SIGPIPE ends


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


provider_option = click.option(
    "--provider",
    type=click.Choice(providers.NAMES),
    default=providers.NAMES[0],
    show_default=True,
    help="Where the virtual machines run.",
)
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
@provider_option
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@images_option
@locked_option
@output_option
@tone_options
@click.pass_obj
def deploy(
    tone: Tone,
    files: tuple[str, ...],
    provider: str,
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
      kustomize build | i2kit deploy -f -
    """
    with told(tone) as watch:
        outcomes = app.deploy(
            files,
            settings=settings.load(locked=locked, images=images),
            provider_name=provider,
            watch=watch,
            dry_run=dry_run,
            stdin=sys.stdin.buffer,
        )
    if dry_run:
        if output == "json":
            write_json([report.plan_json(outcome.plan) for outcome in outcomes])
        else:
            write("".join(report.plan(outcome.plan) for outcome in outcomes))
        return
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
        if not outcome.deployment.replicas_wanted:
            say(tone, f"{outcome.plan.key} has no replicas, so nothing answers")
            continue
        if not outcome.deployment.endpoints:
            say(tone, f"{outcome.plan.key} runs; it has no ports to answer on")
        for endpoint in outcome.deployment.endpoints:
            name = endpoint.service.removeprefix(f"{outcome.deployment.namespace}/")
            say(tone, f"{outcome.plan.key} answers as {name}:{endpoint.port} at")
            write(f"{endpoint.url}\n")


@cli.command()
@click.argument("names", nargs=-1, metavar="[[NAMESPACE/]NAME]...")
@files_option(required=False)
@provider_option
@tone_options
@click.pass_obj
def destroy(tone: Tone, names: tuple[str, ...], files: tuple[str, ...], provider: str) -> None:
    """Take deployments down: their machines, addresses and names.

    What does not run is said and is no error, so that it can be repeated.

    \b
    Examples:
      i2kit destroy nginx-deployment
      i2kit destroy shop/web shop/worker
      i2kit destroy -f examples/nginx.yml
    """
    if not names and not files:
        raise click.UsageError("name a deployment, or give its manifest with -f")
    with told(tone) as watch:
        outcomes = app.destroy(
            names,
            files,
            settings=settings.load(),
            provider_name=provider,
            watch=watch,
            stdin=sys.stdin.buffer,
        )
    for outcome in outcomes:
        if not outcome.plan.actions:
            say(tone, f"nothing named {outcome.plan.key} runs")


@cli.command()
@click.argument("name", required=False, metavar="[[NAMESPACE/]NAME]")
@provider_option
@output_option
@tone_options
@click.pass_obj
def status(tone: Tone, name: str | None, provider: str, output: str) -> None:
    """Show what runs and where; of one deployment, its machines too.

    \b
    Examples:
      i2kit status
      i2kit status nginx-deployment
      i2kit status --output json | jq '.[].endpoints[].url'
    """
    deployments = app.status(name, settings=settings.load(), provider_name=provider)
    if output == "json":
        write_json([report.status_json(deployment) for deployment in deployments])
    elif deployments:
        write(report.status(deployments, instances=name is not None))
    else:
        say(tone, "nothing runs")


@cli.command()
@click.argument("name", metavar="[NAMESPACE/]NAME")
@click.argument("container", required=False)
@click.option("-f", "--follow", is_flag=True, help="Wait for further lines, until interrupted.")
@click.option("--replica", type=click.IntRange(min=0), metavar="I", help="Only this replica, from 0.")
@provider_option
@output_option
@tone_options
def logs(
    name: str, container: str | None, follow: bool, replica: int | None, provider: str, output: str
) -> int | None:
    """Print what the containers wrote, oldest first.

    Each line begins with its instance and container, unless one container of one replica is asked for.

    \b
    Examples:
      i2kit logs nginx-deployment
      i2kit logs nginx-deployment nginx --replica 0
      i2kit logs nginx-deployment -f --output json
    """
    lines = app.logs(
        name,
        container=container,
        replica=replica,
        follow=follow,
        settings=settings.load(),
        provider_name=provider,
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
@click.argument("templates", nargs=-1, metavar="[TEMPLATE]...")
@files_option(required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="What to write.  [default: kernel+root; of a LinuxKit template kernel+initrd, tar without a kernel]",
)
@click.option(
    "-o",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
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
@images_option
@locked_option
@output_option
@tone_options
@click.pass_obj
def build(
    tone: Tone,
    templates: tuple[str, ...],
    files: tuple[str, ...],
    form: str | None,
    directory: Path | None,
    sbom: bool | None,
    builder: Literal["i2kit", "linuxkit"],
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
      i2kit build -f examples/nginx.yml --sbom | jq '.packages[].name'
      i2kit build linuxkit.yml --images components/ -o out
    """
    if bool(templates) == bool(files):
        raise click.UsageError("give manifests with -f, or LinuxKit templates as arguments")
    with told(tone) as watch:
        shared: dict[str, Any] = {
            "sbom": sbom is not False,
            "builder": builder,
            "settings": settings.load(locked=locked, images=images),
            "watch": watch,
            "output": directory,
            "stdin": sys.stdin.buffer,
        }
        built = (
            (app.build_linuxkit(templates, format_=form, **shared),)
            if templates
            else app.build(files, format_=form or "kernel+root", **shared)
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
@click.option("--as", "form", type=click.Choice(("linuxkit",)), required=True, help="What to render.")
@images_option
@locked_option
@tone_options
@click.pass_obj
def render(tone: Tone, files: tuple[str, ...], form: str, images: tuple[Path, ...], locked: bool) -> None:
    """Print what the manifests become on their way to virtual machines.

    linuxkit: the LinuxKit template of each workload's machine image.

    \b
    Examples:
      i2kit render -f examples/nginx.yml --as linuxkit
      i2kit render -f app.yml --as linuxkit > app.linuxkit.yml
    """
    with told(tone) as watch:
        text = app.render_linuxkit(
            files,
            settings=settings.load(locked=locked, images=images),
            watch=watch,
            stdin=sys.stdin.buffer,
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
@output_option
@tone_options
@click.pass_obj
def list_images(tone: Tone, output: str) -> None:
    """List machine images, and what takes how much room.

    SIZE is what an image takes on disk with its other formats, SHARED what it has in common with others.

    \b
    Examples:
      i2kit images ls
      i2kit images ls --output json | jq '.images[] | select(.used_by == []) | .id'
    """
    with told(tone) as watch:
        stock = app.images(settings=settings.load(), watch=watch)
    if output == "json":
        write_json(report.stock_json(stock))
    else:
        write(report.stock(stock, datetime.now(UTC)))


@images.command()
@click.argument("words", nargs=-1, metavar="[IMAGE]...")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@output_option
@tone_options
@click.pass_obj
def prune(tone: Tone, words: tuple[str, ...], dry_run: bool, output: str) -> None:
    """Remove what no deployment uses and nothing else needs.

    What a deployment runs, and what it ran before and could go back to, stays; so do the packages
    that lock files name. IMAGE is an id, its first 12 or more digits, or what it was built for: then
    only that is removed, unless it is in use. What is missing later is fetched and built again.

    \b
    Examples:
      i2kit images prune --dry-run
      i2kit images prune
      i2kit images prune shop/web 0123456789ab
    """
    with told(tone) as watch:
        pruned = app.prune(words, settings=settings.load(), watch=watch, dry_run=dry_run)
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
@tone_options
def schema() -> None:
    """Print the JSON Schema of manifests, for editors.

    \b
    Examples:
      i2kit schema > i2kit.schema.json
      i2kit schema | jq '."$defs" | keys'
    """
    write_json(app.schema())


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
