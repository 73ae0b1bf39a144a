"""The use cases, one function each: the only place that joins manifest, image and providers.

In: what the command line was told, as plain values. Out: values to show (`Outcome`, `Deployment`,
`Built`, text). Never prints, never parses options, and touches nothing that runs before the input
of every workload is known to be right and its image is built.
"""

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

from i2kit.errors import I2kitError, InputError, NotReadyError, OperationError, Problem, RolloutError
from i2kit.events import Note, Warned, Watcher, ignore
from i2kit.model import (
    Alias,
    Deployment,
    Ingress,
    MachineImage,
    Manifest,
    NetworkPolicy,
    Output,
    PlacedImage,
    Pruned,
    Release,
    Revision,
    SecretValue,
    Service,
    ServicePort,
    Stock,
    Use,
    Workload,
)
from i2kit.providers import PACES_S, Front, Plan, Provider, Rollback, Scale, Wanted
from i2kit.settings import Settings

if TYPE_CHECKING:
    from i2kit.image.base.lock import Kernel
    from i2kit.image.machine import Builder
    from i2kit.manifest.verdicts import Judgement

Made = TypeVar("Made", covariant=True)

TLS_KEYS = frozenset({"tls.crt", "tls.key"})
"""What a secret for TLS has."""

LOGIN_KEYS = frozenset({".dockerconfigjson", ".dockercfg"})
"""What a secret with logins of registries has."""

# manifest, image and each provider are imported where they are used: `i2kit --help` needs none of them.


@dataclass(frozen=True, slots=True)
class Outcome:
    """A plan and what runs now: after applying it, or, in a dry run, what was found.

    `deployment` is None where nothing runs.
    """

    plan: Plan
    deployment: Deployment | None


@dataclass(frozen=True, slots=True)
class Built:
    """A machine image and its files in the form asked for: in the store, or where they were copied.

    `key` is the workload's, or the name of a LinuxKit template.
    """

    key: str
    image: MachineImage | None
    """None for a template that boots nothing, of which there is a tar only."""
    output: Output

    def sbom(self) -> str:
        """What it is made of, as SPDX JSON."""
        from i2kit import image

        if self.image is None:
            found = image.sbom_of(self.output)
        else:
            found = self.image.sbom.read_text() if self.image.sbom else None
        if found is None:
            raise OperationError(f"{self.key} carries no list of its parts")
        return found


def deploy(
    paths: Sequence[str],
    *,
    settings: Settings,
    provider_name: str,
    watch: Watcher,
    dry_run: bool = False,
    stdin: IO[bytes] | None = None,
    secrets: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> tuple[Outcome, ...]:
    """Make what the files say true, workload by workload in their order; with `dry_run`, only plan it,
    as exactly as the provider can tell.

    Services of the files come in front of deployments that run already, too. Raises InputError (nothing
    was touched), OperationError or RolloutError (what had been deployed before the failure stays, and was
    told to `watch`).
    """
    manifest = read(paths, watch=watch, stdin=stdin, secrets=secrets, accept=accept, others=True)
    provider = load(provider_name, settings)
    provider.ask = dry_run
    fronts = in_front_of_others(manifest, provider)
    for note in for_others_too(manifest, provider):
        watch(Note(note))
    for workload in manifest.workloads[:1]:
        provider.observe(workload.key)  # what cannot be reached says so before minutes of building
    with ExitStack() as until_applied:
        with building(settings, watch):
            wanted = releases(manifest, provider, settings=settings, watch=watch)
            if not dry_run:
                until_applied.enter_context(kept(wanted, provider_name, settings))
        plans = planned(provider, [*((one.workload.key, one) for one in wanted), *fronts])
        if dry_run:
            return tuple(Outcome(plan, plan.found) for plan in plans)
        return apply(provider, plans, watch)


def destroy(
    names: Sequence[str],
    paths: Sequence[str] = (),
    *,
    settings: Settings,
    provider_name: str,
    watch: Watcher,
    volumes: bool = False,
    hurry: bool = False,
    stdin: IO[bytes] | None = None,
    accept: Sequence[str] = (),
) -> tuple[Outcome, ...]:
    """Take down the named deployments and those that the files name. What does not run is no error.

    Services of the files go from in front of deployments that stay. The disks that outlive machines stay,
    unless `volumes` says that these go as well, also those of deployments that do not run any more. In a
    `hurry` machines are not given their time to end.
    """
    keys = [key_of(name) for name in names]
    services: Sequence[Service] = ()
    if paths:
        manifest = read(paths, watch=ignore, stdin=stdin, others=True, secrets=None, accept=accept)
        keys += [workload.key for workload in manifest.workloads]
        services = manifest.services
    provider = load(provider_name, settings)
    provider.volumes, provider.hurry = volumes, hurry
    provider.together = tuple(dict.fromkeys(keys))
    wanted: list[tuple[str, Wanted | None]] = [(key, None) for key in dict.fromkeys(keys)]
    for found in provider.list() if services else ():
        there = {service.key for service in found.services}
        gone = tuple(service.key for service in services if service.key in there)
        if gone and found.key not in keys:
            wanted.append((found.key, Front(without=gone)))
    return apply(provider, planned(provider, wanted), watch)


def rollback(name: str, to: int | None, *, settings: Settings, provider_name: str, watch: Watcher) -> Outcome:
    """Make an earlier revision of a deployment run again, the one before where none is named."""
    return change(name, Rollback(to), settings=settings, provider_name=provider_name, watch=watch)


def scale(name: str, replicas: int, *, settings: Settings, provider_name: str, watch: Watcher) -> Outcome:
    """Run more or fewer machines of a deployment; those that run and stay are not touched."""
    return change(name, Scale(replicas), settings=settings, provider_name=provider_name, watch=watch)


def change(
    name: str, wanted: Rollback | Scale, *, settings: Settings, provider_name: str, watch: Watcher
) -> Outcome:
    provider = load(provider_name, settings)
    found = running(provider, key_of(name))
    (outcome,) = apply(provider, [provider.plan(found.key, wanted, found)], watch)
    return outcome


def history(name: str, *, settings: Settings, provider_name: str) -> Sequence[Revision]:
    """The revisions of a deployment, oldest first."""
    provider = load(provider_name, settings)
    return provider.history(running(provider, key_of(name)).key)


def status(name: str | None, *, settings: Settings, provider_name: str) -> tuple[Deployment, ...]:
    """What runs: everything, or one deployment. Raises OperationError when the named one does not run."""
    provider = load(provider_name, settings)
    return tuple(provider.list()) if name is None else (running(provider, key_of(name)),)


def follow_status(
    name: str | None, *, settings: Settings, provider_name: str, sleep: Callable[[float], object] = time.sleep
) -> Iterator[tuple[Deployment, ...]]:
    """What `status` tells, now and after every change, without end. A named deployment may come and go."""
    provider = load(provider_name, settings)
    found = status(name, settings=settings, provider_name=provider_name)
    while True:
        yield found
        before = found
        while found == before:
            sleep(PACES_S[provider_name])
            everything = provider.list() if name is None else (provider.observe(key_of(name)),)
            found = tuple(one for one in everything if one)


def logs(
    name: str,
    *,
    container: str | None,
    replica: int | None,
    follow: bool,
    settings: Settings,
    provider_name: str,
) -> Iterator[tuple[str, str, str]]:
    """The log lines of a deployment as (instance id, container, line), oldest first."""
    provider = load(provider_name, settings)
    found = running(provider, key_of(name))
    if container is not None and container not in found.containers:
        raise OperationError(
            f"{found.key} has no container `{container}`", hint=f"it has {', '.join(found.containers)}"
        )
    return provider.logs(found.key, container=container, replica=replica, follow=follow)


def build(
    paths: Sequence[str],
    *,
    format_: str,
    sbom: bool = True,
    builder: "Builder" = "i2kit",
    settings: Settings,
    watch: Watcher,
    output: Path | None = None,
    stdin: IO[bytes] | None = None,
    secrets: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> tuple[Built, ...]:
    """Build the machine image of every workload in the form `format_`; with `output`, copy its files there.

    One workload's files go right into `output`, those of several into `output`/NAMESPACE/NAME.
    """
    from i2kit import image

    def step(
        workload: Workload, /, *, settings: Settings, watch: Watcher
    ) -> tuple[MachineImage | None, Output]:
        return image.output(workload, format_, settings=settings, sbom=sbom, builder=builder, watch=watch)

    manifest = read(paths, watch=watch, stdin=stdin, secrets=secrets, accept=accept)
    must_be_writable(output)
    built = []
    with building(settings, watch):
        for workload, (made, files) in of_each(manifest, step, settings=settings, watch=watch):
            if output is not None:
                files = copied(files, output if len(manifest.workloads) == 1 else output / workload.key)
            built.append(Built(workload.key, made, files))
    return tuple(built)


def build_linuxkit(
    paths: Sequence[str],
    *,
    format_: str | None = None,
    sbom: bool = True,
    builder: "Builder" = "i2kit",
    settings: Settings,
    watch: Watcher,
    output: Path | None = None,
    stdin: IO[bytes] | None = None,
) -> Built:
    """The same of a LinuxKit template, which may be spread over several files.

    Without a format it is LinuxKit's own, or a tar where there is no kernel.
    """
    from i2kit import image, manifest

    template = image.parse_linuxkit(manifest.texts(paths, given(paths, stdin)))
    must_be_writable(output)
    form = format_ or ("kernel+initrd" if template.kernel else "tar")
    with building(settings, watch):
        made, files = image.output(template, form, settings=settings, sbom=sbom, builder=builder, watch=watch)
        return Built(template.name, made, copied(files, output) if output else files)


def render_linuxkit(
    paths: Sequence[str],
    *,
    settings: Settings,
    watch: Watcher,
    stdin: IO[bytes] | None = None,
    secrets: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> str:
    """The LinuxKit templates of all workloads as one YAML stream."""
    from i2kit import image

    manifest = read(paths, watch=watch, stdin=stdin, secrets=secrets, accept=accept)
    with building(settings, watch):
        texts = of_each(manifest, image.render, settings=settings, watch=watch)
    return "---\n".join(text for _, text in texts)


def render_cloudformation(
    paths: Sequence[str],
    *,
    settings: Settings,
    watch: Watcher,
    stdin: IO[bytes] | None = None,
    secrets: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> str:
    """The CloudFormation templates of all workloads, one after the other."""
    from i2kit.providers import aws

    manifest = read(paths, watch=watch, stdin=stdin, secrets=secrets, accept=accept)
    provider = aws.AwsProvider(settings)
    with building(settings, watch):
        return "".join(
            provider.render(one) for one in releases(manifest, provider, settings=settings, watch=watch)
        )


def build_kernel(*, settings: Settings, watch: Watcher) -> "Kernel":
    """Compile a kernel of our own, unless the store has it; machine images have it from then on."""
    from i2kit.image.base import kernel_build
    from i2kit.image.store import Store

    store = Store(settings.store_dir, watch)
    return kernel_build.build(
        store=store,
        lock_file=settings.lock_file,
        locked=settings.locked,
        hold=lambda: building(settings, watch),
        watch=watch,
    )


def images(*, settings: Settings, watch: Watcher) -> Stock:
    """What the store holds, and which deployments use it, as far as that can be told."""
    from i2kit.image import upkeep

    found, unknown = used(settings)
    for error in unknown:
        watch(Warned(error.message))
    return upkeep.look(settings, found)


def prune(words: Sequence[str], *, settings: Settings, watch: Watcher, dry_run: bool = False) -> Pruned:
    """Remove from the store what nothing needs; with `words`, the machine images that these name.

    Raises OperationError, and removes nothing, where one of them is in use or where it cannot be told
    what is.
    """
    from i2kit.image import upkeep

    def uses() -> Sequence[Use]:
        found, unknown = used(settings)
        if unknown:
            raise unknown[0]
        return found

    return upkeep.clean(words, settings=settings, uses=uses, dry_run=dry_run, watch=watch)


def placed_images(*, settings: Settings, provider_name: str) -> Sequence[PlacedImage]:
    """The machine images that a provider keeps outside of the store, oldest first."""
    return load(provider_name, settings).images()


def prune_placed(
    words: Sequence[str], *, settings: Settings, provider_name: str, watch: Watcher, dry_run: bool = False
) -> tuple[Sequence[PlacedImage], Sequence[str], Sequence[PlacedImage]]:
    """Remove those that nothing uses; with `words`, those that these name.

    Also returns the words that name none, and without words those that stay because they are used.
    Raises OperationError, and removes nothing, where one of those that were named is in use.
    """
    provider = load(provider_name, settings)
    found = provider.images()
    chosen = [one for one in found if not one.used_by] if not words else []
    unknown = []
    for word in words:
        named = [one for one in found if is_named(one, word)]
        for one in named:
            if one.used_by:
                raise OperationError(
                    f"{one.id} is in use by {', '.join(one.used_by)}", hint="destroy or update that first"
                )
        chosen += [one for one in named if one not in chosen]
        if not named:
            unknown.append(word)
    for one in () if dry_run else chosen:
        provider.remove_image(one, watch)
    return chosen, unknown, [one for one in found if one.used_by] if not words else []


def is_named(image: PlacedImage, word: str) -> bool:
    """Whether a word is an image's id there, begins its machine image's, or names its deployment."""
    begins = len(word) >= 12 and image.image.startswith(word)
    return word == image.id or begins or (bool(word) and key_of(word) in image.keys)


def schema() -> dict[str, Any]:
    """The JSON Schema of the i2kit manifest."""
    from i2kit import manifest

    return manifest.schema()


# --- the steps of the use cases ---------------------------------------------------------------


def read(
    paths: Sequence[str],
    *,
    watch: Watcher,
    stdin: IO[bytes] | None,
    others: bool = False,
    secrets: Sequence[str] | None = (),
    accept: Sequence[str] = (),
) -> Manifest:
    """Read every file and pass its warnings on; InputError carries the problems of all of them.

    With `others`, services may be meant for deployments that run already. `secrets` are what the user gives
    beside the files, None where it makes no difference; refusals at the paths to `accept` are warnings.
    """
    from i2kit import manifest

    found = manifest.read(paths, stdin=given(paths, stdin), others=others, secrets=secrets, accept=accept)
    for warning in found.warnings:
        watch(Warned(warning))
    return found


def check(
    paths: Sequence[str], *, stdin: IO[bytes] | None = None, accept: Sequence[str] = ()
) -> "tuple[Judgement, ...]":
    """Whether each workload of these files would deploy, by itself, and if not, why. Touches nothing."""
    from i2kit import manifest

    return manifest.check(paths, given(paths, stdin), accept=accept)


def given(paths: Sequence[str], stdin: IO[bytes] | None) -> bytes | None:
    """What was piped in, where a path says so."""
    from i2kit.manifest.source import MAX_BYTES

    # One byte more than is accepted, so that it is refused as too large rather than cut off.
    return stdin.read(MAX_BYTES + 1) if stdin and "-" in paths else None


@contextmanager
def building(settings: Settings, watch: Watcher) -> Iterator[None]:
    """Whatever builds does it in here: nothing is pruned meanwhile."""
    from i2kit.image import upkeep

    with upkeep.using(settings, watch=watch):
        yield


@contextmanager
def kept(wanted: Sequence[Release], provider_name: str, settings: Settings) -> Iterator[None]:
    """Keep the images of these releases until the provider has noted that it needs them."""
    from i2kit import providers
    from i2kit.image import upkeep

    place = providers.place(provider_name, settings)
    upkeep.register(settings, provider_name, place)
    uses = [
        Use(one.image.id, provider_name, one.workload.key, str(place), "is about to start") for one in wanted
    ]
    with upkeep.leased(settings, uses):
        yield


def used(settings: Settings) -> tuple[Sequence[Use], Sequence[OperationError]]:
    """Who uses which machine image, and why that cannot be told of some places."""
    from i2kit import providers
    from i2kit.image import upkeep

    # First who is about to deploy: whoever ends meanwhile is found in its provider's place.
    found, unknown = list(upkeep.leases(settings)), []
    places = {(name, providers.place(name, settings)) for name in providers.NAMES}
    try:
        places |= set(upkeep.places(settings))
    except OperationError as error:
        unknown.append(error)
    for name, place in sorted(places):
        try:
            found += providers.uses(name, place)
        except OperationError as error:
            unknown.append(error)
    return tuple(dict.fromkeys(found)), unknown


def load(provider_name: str, settings: Settings) -> Provider:
    from i2kit import providers

    return providers.load(provider_name, settings)


def releases(
    manifest: Manifest, provider: Provider, *, settings: Settings, watch: Watcher
) -> tuple[Release, ...]:
    """Build the image of every workload as the provider needs it, and join it with all services."""
    from i2kit import image

    def step(
        workload: Workload, /, *, settings: Settings, watch: Watcher
    ) -> tuple[MachineImage, Path | None]:
        settings = replace(settings, architecture=provider.architecture(workload))
        if provider.form == "kernel+root":
            return image.build(workload, settings=settings, watch=watch), None
        made, output = image.output(workload, provider.form, settings=settings, watch=watch)
        assert made, "the image of a workload has a kernel"
        return made, output.files[0].path

    made = of_each(manifest, step, settings=settings, watch=watch)
    in_front = {workload.key: services_of(workload, manifest.services) for workload in manifest.workloads}
    everyones = dict.fromkeys(service for services in in_front.values() for service in services)
    found = []
    for workload, (built, disk) in made:
        services = in_front[workload.key]
        ingresses = tuple(one for one in manifest.ingresses if leads_to(one, services))
        policies = tuple(one for one in manifest.policies if one.selects(workload))
        aliases = aliases_of(workload, manifest)
        found.append(
            Release(
                workload,
                built,
                services,
                neighbours=tuple(each for each in everyones if each not in services),
                disk=disk,
                manifest=hash_of(workload, (*services, *ingresses, *policies, *aliases)),
                ingresses=ingresses,
                policies=policies,
                aliases=aliases,
                secrets=secrets_of(workload, ingresses, manifest.secrets),
            )
        )
    return tuple(found)


def leads_to(ingress: Ingress, services: Iterable[Service]) -> bool:
    """Whether an Ingress has a route to one of these services. Pure."""
    names = {(ingress.namespace, route.service) for route in ingress.routes}
    return any((service.namespace, service.name) in names for service in services)


def aliases_of(workload: Workload, manifest: Manifest) -> tuple[Alias, ...]:
    """The names that come with a workload: the first of a namespace brings all of them. Pure."""

    def bringer(alias: Alias) -> Workload:
        near = [one for one in manifest.workloads if one.namespace == alias.namespace]
        return (near or manifest.workloads)[0]

    return tuple(one for one in manifest.aliases if bringer(one) is workload)


def secrets_of(
    workload: Workload, ingresses: Iterable[Ingress], secrets: Iterable[SecretValue]
) -> tuple[SecretValue, ...]:
    """The values that its machines and its Ingresses need. Pure."""
    keys = {(workload.namespace, one.secret, one.key) for one in workload.secrets}
    ends = {(ingress.namespace, secret) for ingress in ingresses for _, secret in ingress.tls}
    return tuple(
        one
        for one in secrets
        if (one.namespace, one.secret, one.key) in keys
        or ((one.namespace, one.secret) in ends and one.key in TLS_KEYS)
    )


def hash_of(workload: Workload, around: Sequence[Service | Ingress | NetworkPolicy | Alias]) -> str:
    """A hash of what was asked for, wherever it was written. Never of a secret's value. Pure."""

    def told(value: object) -> object:
        if is_dataclass(value):
            return {one.name: told(getattr(value, one.name)) for one in fields(value) if one.compare}
        if isinstance(value, bytes):
            return value.hex()
        return [told(one) for one in value] if isinstance(value, tuple) else value

    text = json.dumps([told(workload), [told(one) for one in around]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def in_front_of_others(manifest: Manifest, provider: Provider) -> Sequence[tuple[str, Front]]:
    """What the files' services mean for deployments that run and are not in the files.

    Raises InputError with all services that lead nowhere, neither here nor there.
    """
    if not manifest.services:
        return ()
    ours = {workload.key for workload in manifest.workloads}
    others = [found for found in provider.list() if found.key not in ours]
    nowhere = [
        problem for service, problem in manifest.lonely if not any(service.selects(one) for one in others)
    ]
    if nowhere:
        raise InputError(nowhere)
    selecting = (
        (one.key, tuple(service for service in manifest.services if service.selects(one))) for one in others
    )
    return [(key, Front(services)) for key, services in selecting if services]


def for_others_too(manifest: Manifest, provider: Provider) -> Sequence[str]:
    """What to know of network policies that also hold for deployments that these files leave alone."""
    ours = {workload.key for workload in manifest.workloads}
    running = [found for found in provider.list() if found.key not in ours] if manifest.policies else []
    return [
        f"network policy {policy.key} also holds for what runs already: {', '.join(others)}"
        for policy in manifest.policies
        if (others := [one.key for one in running if policy.selects(one)])
    ]


class Step(Protocol[Made]):
    """A function of the image stage."""

    def __call__(self, workload: Workload, /, *, settings: Settings, watch: Watcher) -> Made: ...


def of_each(
    manifest: Manifest, step: Step[Made], *, settings: Settings, watch: Watcher
) -> tuple[tuple[Workload, Made], ...]:
    """Each workload with what the step makes of it; the InputErrors of all workloads become one."""
    made: list[tuple[Workload, Made]] = []
    problems: list[Problem] = []
    for workload in manifest.workloads:
        own = replace(settings, logins=logins_of(workload, manifest.secrets))
        try:
            made.append((workload, step(workload, settings=own, watch=watch)))
        except InputError as error:
            problems += error.problems
    if problems:
        # What is wrong with the base is wrong for each of them, and said once.
        raise InputError(dict.fromkeys(problems))
    return tuple(made)


def logins_of(workload: Workload, secrets: Iterable[SecretValue]) -> tuple[tuple[str, bytes], ...]:
    """The docker configurations that its images are pulled with, in its own order. Pure."""
    known = {
        one.secret: one.value
        for one in secrets
        if one.namespace == workload.namespace and one.key in LOGIN_KEYS
    }
    return tuple((name, known[name]) for name in workload.logins if name in known)


def services_of(workload: Workload, services: Sequence[Service]) -> tuple[Service, ...]:
    """The services in front of a workload. Pure.

    A deployment is always found by its name: where no service of that name is written, it gets
    one with the ports of its containers, which is public only if the workload says so. One that is numbered
    and has services needs no more of them, and a job is not called.
    """
    selecting = tuple(service for service in services if service.selects(workload))
    if workload.job or (workload.stateful and selecting):
        return selecting
    if not workload.ports or any(service.key == workload.key for service in services):
        return selecting
    implicit = Service(
        name=workload.name,
        namespace=workload.namespace,
        selector=workload.labels,
        ports=tuple(
            ServicePort(port.number, port.number, port.name, port.protocol) for port in workload.ports
        ),
        public=workload.public,
    )
    return (implicit, *selecting)


def planned(provider: Provider, wanted: Sequence[tuple[str, Wanted | None]]) -> tuple[Plan, ...]:
    """A plan for each key; the InputErrors of all become one."""
    made: list[Plan] = []
    problems: list[Problem] = []
    for key, one in wanted:
        try:
            made.append(provider.plan(key, one, provider.observe(key)))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(dict.fromkeys(problems))
    return tuple(made)


def apply(provider: Provider, plans: Sequence[Plan], watch: Watcher) -> tuple[Outcome, ...]:
    """Apply the plans in order. A failure stops, after telling which deployments were not reached.

    What does not become ready is tried once more after the others: it may need one of them, as a web
    server its database. What is as wanted but not ready yet, as after an interrupted deploy, is
    waited for.
    """
    found: dict[str, Deployment | None] = {}
    waiting: list[Plan] = []

    def attempt(plan: Plan, later: Sequence[Plan]) -> None:
        try:
            found[plan.key] = provider.apply(plan, watch)
        except I2kitError as error:
            if later and isinstance(error, NotReadyError | RolloutError):
                watch(Warned(f"{error.message}\n{plan.key} is tried again after the others"))
                waiting.append(plan)
                return
            done = [one.key for one in plans if one.actions and one.key in found]
            left = [one.key for one in (*waiting, *later) if one.key != plan.key]
            if done:
                watch(Warned(f"done before the failure: {', '.join(done)}"))
            if left:
                watch(Warned(f"not done because of the failure: {', '.join(left)}"))
            raise

    for number, plan in enumerate(plans):
        if not plan.actions and (plan.found is None or is_settled(plan.found)):
            found[plan.key] = plan.found
        else:
            attempt(plan, [one for one in plans[number + 1 :] if one.actions])
    for plan in tuple(waiting):
        waiting.remove(plan)
        attempt(provider.plan(plan.key, plan.wanted, provider.observe(plan.key)), ())
    for plan in plans if len(plans) > 1 else ():
        if plan.again:
            later = provider.plan(plan.key, plan.wanted, provider.observe(plan.key))
            if later.actions:
                watch(Note(f"{plan.key} once more: now it is known where the others are"))
                attempt(later, ())
    return tuple(Outcome(plan, found[plan.key]) for plan in plans)


def is_settled(found: Deployment) -> bool:
    """Whether all machines that should serve do, and no others are there, as in a rollout. Pure."""
    machines = found.instances
    if found.phase:
        return found.phase in ("succeeded", "scheduled", "suspended")
    return len(machines) == found.replicas_wanted and all(
        one.ready and one.image == found.image for one in machines
    )


def must_be_writable(folder: Path | None) -> None:
    """Raise OperationError for a folder that nothing can be copied to, before minutes of building."""
    if folder is not None:
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not there.is_dir():
            raise unwritable(folder, OSError(errno.ENOTDIR, f"{there} is no folder"))
        if not os.access(there, os.W_OK | os.X_OK):
            raise unwritable(folder, OSError(errno.EACCES, os.strerror(errno.EACCES)))


def unwritable(folder: Path, error: OSError) -> OperationError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return OperationError(
        f"cannot write to {folder}: {error.strerror or error}",
        hint="give another folder with -o, or make room there" if full else "give another folder with -o",
    )


def copied(output: Output, folder: Path) -> Output:
    """Copy an output's files into a folder: whole ones, and all of them or none; holes stay holes."""
    from i2kit.image import AT_TIMES

    asides: dict[Path, Path] = {}
    try:
        with occupied(folder):
            try:
                for file in output.files:
                    # A hidden name first: an interrupted copy never looks like an image.
                    aside, target = folder / f".{file.name}.part", folder / file.name
                    if target.is_dir():
                        raise IsADirectoryError(errno.EISDIR, f"{file.name} is a folder")
                    aside.unlink(missing_ok=True)
                    asides[aside] = target
                    copy_sparse(file.path, aside)
                for aside, target in asides.items():
                    aside.replace(target)
                for name in AT_TIMES.get(output.format, frozenset()) - {file.name for file in output.files}:
                    # A kernel that comes without one must not be started with another's.
                    if not (folder / name).is_dir():
                        (folder / name).unlink(missing_ok=True)
            finally:
                for aside in asides:
                    aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    files = (replace(file, path=folder / file.name) for file in output.files)
    return replace(output, files=tuple(files))


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Make a folder and keep others like this one out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # NFS locks no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file to a new one that takes no more room on disk, and sync it."""
    with source.open("rb") as reading, target.open("xb") as writing:
        size, position = source.stat().st_size, 0
        writing.truncate(size)
        while position < size:
            try:
                start = os.lseek(reading.fileno(), position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # only a hole is left
            position = os.lseek(reading.fileno(), start, os.SEEK_HOLE)
            os.lseek(writing.fileno(), start, os.SEEK_SET)
            while start < position:
                start += os.sendfile(writing.fileno(), reading.fileno(), start, position - start)
        os.fsync(writing.fileno())


def running(provider: Provider, key: str) -> Deployment:
    """The deployment of this key; OperationError naming what does run otherwise."""
    if found := provider.observe(key):
        return found
    names = [deployment.key for deployment in provider.list()]
    raise OperationError(
        f"nothing named {key} runs on provider {provider.name}",
        hint=f"these run: {', '.join(names)}" if names else "nothing runs there: see i2kit deploy --help",
    )


def key_of(name: str) -> str:
    """NAME or NAMESPACE/NAME as the provider's key."""
    namespace, slash, rest = name.rpartition("/")
    if not rest or "/" in namespace or (slash and not namespace):
        problem = f"`{name}` does not name a deployment"
        raise InputError([Problem(problem, hint="write NAME or NAMESPACE/NAME")])
    return f"{namespace or 'default'}/{rest}"
