"""Workloads made whole: what they need of ConfigMaps and Secrets, once all documents are there.

In: what was read, and the Secrets that were given beside. Out: the workloads with their environments, the
values of the Secrets that are needed, and problems in the log. The order of documents does not matter. Pure.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from i2kit.errors import Position
from i2kit.expansion import MAX_WORD_BYTES, MAX_WORDS_BYTES, expand, size
from i2kit.manifest.around import NOTHING, Around
from i2kit.manifest.given import Given, Wanted, values
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.reading import (
    Config,
    ConfigKind,
    FoundClaim,
    MadeOf,
    NamedClaim,
    NeededVolume,
    Needs,
    Part,
    Reading,
    Reference,
    Variables,
)
from i2kit.manifest.tables import names
from i2kit.model import (
    SECRET,
    Claim,
    Container,
    File,
    Files,
    Mount,
    Pairs,
    SecretKey,
    SecretValue,
    Volume,
    Workload,
    field_word,
    secret_field,
)

_LOGIN_KEYS = (".dockerconfigjson", ".dockercfg")
MAX_VALUES = 200_000
"""Of all workloads together: as many as keys can be written in a file."""

_TLS_KEYS = ("tls.crt", "tls.key")


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known beside the documents.

    Secrets that are missing are `demanded`, or else told as what a deploy will need. `customized` says of a
    file whether kustomize makes the manifests there.
    """

    given: Sequence[Given] = ()
    demanded: bool = True
    customized: Callable[[str], bool] = lambda file: False
    around: Around = NOTHING
    """What compose files refer to."""


def resolve(reading: Reading, beside: Beside, log: Log) -> tuple[SecretValue, ...]:
    """Complete the workloads of the reading. Gives what the Secrets that they need hold."""
    known = _Known(reading, beside, log)
    disks = _Disks(reading, log)
    reading.workloads[:] = [
        _Resolver(workload.namespace, known, disks, log).workload(workload, needs)
        for workload, needs in zip(reading.workloads, reading.needs, strict=True)
    ]
    for ingress in reading.ingresses:
        for _, secret in ingress.tls:
            if ingress.position:
                for key in _TLS_KEYS:
                    place = Reference("Secret", secret, ingress.position, "spec.tls.secretName", key)
                    known.value(ingress.namespace, place)
    known.tell()
    return known.used()


@dataclass(slots=True)
class _Missing:
    position: Position
    path: str
    keys: dict[str, None] = field(default_factory=dict)
    there: Position | None = None
    """Where the Secret is that lacks them."""
    given: bool = False
    """Whether --secret gives others of it."""


class _Known:
    """ConfigMaps and Secrets by namespace and name, and which values of them were asked for."""

    def __init__(self, reading: Reading, beside: Beside, log: Log) -> None:
        self._reading, self._beside, self._log = reading, beside, log
        self._configs: dict[tuple[ConfigKind, str, str], Config] = {}
        for one in (*reading.configs, *reading.secrets):
            self._configs.setdefault((one.kind, one.namespace, one.name), one)
        for (namespace, name), held in values(beside.given, _wanted(reading), log).items():
            key: tuple[ConfigKind, str, str] = ("Secret", namespace, name)
            before = self._configs.get(key)
            merged = {**(before.values if before else {}), **held}
            self._configs[key] = (
                replace(before, values=merged) if before else Config("Secret", namespace, name, merged)
            )
        self._used: dict[tuple[str, str, str], bytes] = {}
        self._missing: dict[tuple[str, str], _Missing] = {}
        self._count = 0
        self._texts: dict[tuple[str, str, str | None], str] = {}
        self._told: set[tuple[str, str, str | None]] = set()
        """Namespace, name, and key of what is missing of ConfigMaps."""

    def config(self, namespace: str, reference: Reference) -> Config | None:
        """What is referred to; where it is missing and has to be there, that is told."""
        found = self._configs.get((reference.kind, namespace, reference.name))
        if found is None and not reference.optional:
            if reference.kind == "Secret":
                self._lacks(namespace, reference, None)
            else:
                self._no_config_map(namespace, reference)
        return found

    def value(self, namespace: str, reference: Reference) -> bytes | None:
        """The value of one key; where it is missing and has to be there, that is told."""
        found, key = self.config(namespace, reference), reference.key
        if found is None or key is None:
            return None
        if key not in found.values:
            if not reference.optional and found.whole:
                if found.kind == "Secret":
                    self._lacks(namespace, reference, found.position, given=True)
                else:
                    self._no_key(found, reference)
            return None
        self._count += 1
        if self._count > MAX_VALUES:
            if self._count == MAX_VALUES + 1:
                message = f"more than {MAX_VALUES:,} variables and files of ConfigMaps and Secrets"
                self._log.problem(
                    reference.position, reference.path, message, "name the keys that are needed"
                )
            return None
        if found.kind == "Secret":
            self.use(namespace, reference.name, key)
        return found.values[key]

    def text(self, namespace: str, reference: Reference, value: bytes) -> str:
        """What stands in an image for a variable of a ConfigMap: nothing in it is expanded."""
        at = namespace, reference.name, reference.key
        if at not in self._texts:
            self._texts[at] = value.decode().replace("$", "$$")
        return self._texts[at]

    def use(self, namespace: str, secret: str, key: str) -> None:
        """Remember that a value is needed."""
        held = self._configs["Secret", namespace, secret].values[key]
        self._used.setdefault((namespace, secret, key), held)

    def login(self, namespace: str, reference: Reference) -> None:
        """A Secret with the password of a registry, which the user may have instead."""
        found = self._configs.get(("Secret", namespace, reference.name))
        keys = [key for key in _LOGIN_KEYS if found and key in found.values]
        for key in keys[:1]:
            self.use(namespace, reference.name, key)
        if not keys and (found is None or found.whole):
            message = f"Secret `{reference.name}` is in none of these files: what docker login left is used"
            if found:
                message = f"Secret `{reference.name}` has no {_LOGIN_KEYS[0]}: what docker login left is used"
            self._log.warn(reference.position, reference.path, message)

    def used(self) -> tuple[SecretValue, ...]:
        """All values that were asked for."""
        return tuple(SecretValue(*at, value) for at, value in sorted(self._used.items()))

    def tell(self) -> None:
        """Say which Secrets are missing, each once."""
        if not self._reading.complete:
            return
        for (namespace, name), one in self._missing.items():
            keys = ", ".join(f"`{key}`" for key in one.keys)
            holder = f"{namespace}/{name}" if namespace != "default" else name
            if len(one.keys) > 1 or one.there or one.given:
                words = " ".join(f"--secret {holder}:{key}=FILE" for key in one.keys)
            else:
                words = f"--secret {holder}=FILE"
            if one.there:
                message = f"Secret `{name}` (at {one.there}) has no key {keys}"
            elif one.given:
                message = f"what --secret gives of `{name}` has no key {keys}"
            else:
                message = f"Secret `{name}` is in none of these files"
                message += f"; needed of it: {keys}" if one.keys else ""
            if self._beside.demanded:
                self._log.problem(one.position, one.path, message, f"give it with {words}")
            else:
                self._log.warn(one.position, one.path, f"{message}; to deploy, give it with {words}")

    def _lacks(
        self, namespace: str, reference: Reference, there: Position | None, *, given: bool = False
    ) -> None:
        place = reference.key_place if given else (reference.position, reference.path)
        missing = _Missing(*place, there=there, given=given)
        one = self._missing.setdefault((namespace, reference.name), missing)
        if reference.key is not None:
            one.keys[reference.key] = None

    def _no_config_map(self, namespace: str, reference: Reference) -> None:
        if not self._reading.complete or self._log.full:
            return
        name = reference.name
        if (namespace, name, None) in self._told:
            return
        self._told.add((namespace, name, None))
        others = [one for one in self._reading.configs if one.kind == "ConfigMap"]
        elsewhere = next((one.namespace for one in others if one.name == name), None)
        near = did_you_mean(name, [one.name for one in others if one.namespace == namespace][:100])
        if elsewhere:
            hint = f"the one at hand is in namespace `{elsewhere}`"
        elif self._beside.customized(reference.position.file):
            hint = "kustomize may make it: kustomize build DIR | i2kit deploy -f -"
        else:
            hint = near or "give its file too, with another -f"
        message = f"there is no ConfigMap `{name}` in namespace `{namespace}` of these files"
        self._log.problem(reference.position, reference.path, message, hint)

    def _no_key(self, config: Config, reference: Reference) -> None:
        key = reference.key or ""
        if self._log.full:
            return
        if (config.namespace, config.name, key) in self._told:
            return
        self._told.add((config.namespace, config.name, key))
        hint = did_you_mean(key, list(config.values)[:100])
        if hint is None and config.values:
            hint = f"its keys: {', '.join(sorted(config.values)[:10])}"
        message = f"ConfigMap `{config.name}` has no key `{key}`"
        self._log.problem(*reference.key_place, message, hint)


def _wanted(reading: Reading) -> Mapping[tuple[str, str], Wanted]:
    """What is needed of each Secret."""
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    every: set[tuple[str, str]] = set()
    for workload, needs in zip(reading.workloads, reading.needs, strict=True):
        for one in needs.references:
            at = workload.namespace, one.name
            if one.kind == "Secret" and one.key is None:
                every.add(at)
                keys[at] |= set()
            elif one.kind == "Secret" and one.key is not None:
                keys[at].add(one.key)
        for one in needs.logins:
            keys[workload.namespace, one.name].add(_LOGIN_KEYS[0])
    for ingress in reading.ingresses:
        for _, secret in ingress.tls:
            keys[ingress.namespace, secret] |= set(_TLS_KEYS)
    return {at: Wanted(frozenset(found), at in every) for at, found in keys.items()}


class _Disks:
    """The claims at hand, and who has them: a disk is in one machine at a time."""

    def __init__(self, reading: Reading, log: Log) -> None:
        self._reading, self._log = reading, log
        self._claims = {one.key: one for one in reading.claims}
        self._users: dict[str, Position] = {}

    def claim(self, needed: NamedClaim, workload: Workload) -> Claim:
        """The disk of a workload; problems where it cannot have it are in the log."""
        key = f"{workload.namespace}/{needed.claim}"
        place = needed.position, needed.path
        if first := self._users.get(key):
            message = f"claim `{needed.claim}` is used already, at {first}, and a disk is in one machine"
            self._log.problem(*place, message, "give each workload a claim of its own")
        self._users.setdefault(key, needed.position)
        job = workload.job
        most = workload.scaling.most if workload.scaling else job.parallelism if job else workload.replicas
        if most > 1:
            message = f"claim `{needed.claim}` would be in {most} machines, and a disk is in one machine"
            hint = "write replicas: 1, or a StatefulSet with volumeClaimTemplates: each machine gets a disk"
            self._log.problem(*place, message, hint)
        found = self._claims.get(key)
        if needed.made:
            if found:
                message = f"there is a claim `{needed.claim}` already, at {found.position}"
                self._log.problem(*place, message, "give it another name")
            return needed.made
        if found is None:
            self._no_claim(needed, workload.namespace)
            return Claim(needed.claim, 0)
        return replace(found.claim, source=self._source(found))

    def _source(self, found: FoundClaim) -> str | None:
        """The cloud's disk that a claim is meant for."""
        if found.volume is None:
            return None
        if found.volume not in self._reading.disks and self._reading.complete:
            message = f"there is no PersistentVolume `{found.volume}` in these files"
            hint = "give its file too, or leave volumeName out for a new and empty disk"
            self._log.problem(found.volume_position, found.volume_path, message, hint)
        return self._reading.disks.get(found.volume)

    def _no_claim(self, needed: NamedClaim, namespace: str) -> None:
        if not self._reading.complete or self._log.full:
            return
        others = [one for one in self._reading.claims if one.namespace == namespace]
        hint = did_you_mean(needed.claim, [one.claim.name for one in others][:100])
        elsewhere = (one.namespace for one in self._reading.claims if one.claim.name == needed.claim)
        if other := next(elsewhere, None):
            hint = f"the one at hand is in namespace `{other}`"
        message = (
            f"there is no PersistentVolumeClaim `{needed.claim}` in namespace `{namespace}` of these files"
        )
        self._log.problem(needed.position, needed.path, message, hint or "give its file too, with another -f")


def _above(path: str) -> Iterator[str]:
    """The folders that a path is in."""
    while path := posixpath.dirname(path):
        yield path


class _Resolver:
    """Completes one workload."""

    def __init__(self, namespace: str, known: _Known, disks: "_Disks", log: Log) -> None:
        self._namespace, self._known, self._disks, self._log = namespace, known, disks, log
        self._secrets: dict[SecretKey, None] = {}
        self._sizes: dict[str, int] = {}
        """The bytes of the values of Secrets, by what stands in their place."""

    def workload(self, workload: Workload, needs: Needs) -> Workload:
        every = (*workload.init, *workload.containers)
        volumes = tuple(self._volume(one, workload) for one in needs.volumes)
        protected = {one.name for one in needs.claims if one.read_only}
        completed = []
        all_expressions = needs.expressions or ((),) * len(every)
        for container, variables, expressions in zip(every, needs.variables, all_expressions, strict=True):
            env = self._env(variables)
            if self._is_too_large(container, env):
                completed.append(container)
                continue
            mounts = tuple(self._mount(one, protected) for one in container.mounts)
            for index in expressions:
                path = self._sub_path(mounts[index].sub_path, env, container)
                mounts = (*mounts[:index], replace(mounts[index], sub_path=path), *mounts[index + 1 :])
            completed.append(replace(container, env=env, mounts=mounts))
        for one in needs.keys:
            if one.key is not None and self._known.value(self._namespace, one) is not None:
                self._secrets[SecretKey(one.name, one.key)] = None
        for one in needs.logins:
            self._known.login(self._namespace, one)
        count = len(workload.init)
        return replace(
            workload,
            init=tuple(completed[:count]),
            containers=tuple(completed[count:]),
            volumes=(*workload.volumes, *volumes),
            secrets=tuple(sorted(self._secrets, key=lambda one: (one.secret, one.key))),
            logins=tuple(dict.fromkeys(one.name for one in needs.logins)),
        )

    def _is_too_large(self, container: Container, env: Pairs) -> bool:
        """Whether no program can be started with its variables and arguments, which is in the log then."""
        sizes = dict(self._sizes)
        words = []
        for name, value in env:
            sizes[name] = size(value, sizes)
            words.append((f"variable `{shown(name)}`", len(name) + 2 + sizes[name]))
        for name, given in (("command", container.command), ("args", container.args)):
            words += [(f"{name}[{at}]", size(word, sizes) + 1) for at, word in enumerate(given or ())]
        place = container.position, f"container `{container.name}`"
        what, most = max(words, key=lambda one: one[1], default=("", 0))
        if most > MAX_WORD_BYTES:
            message = (
                f"{what} has {most:,} bytes, and no program starts with more than {MAX_WORD_BYTES:,} in one"
            )
            self._log.problem(*place, message, "mount a file instead")
        elif (total := sum(found for _, found in words)) > MAX_WORDS_BYTES:
            message = f"variables and arguments have {total:,} bytes, and no program starts with more than"
            self._log.problem(*place, f"{message} {MAX_WORDS_BYTES:,}", "mount files instead")
        else:
            return False
        return True

    def _volume(self, needed: NeededVolume, workload: Workload) -> Volume:
        match needed:
            case MadeOf(name, parts):
                files: dict[str, File] = {}
                for part in parts:
                    found = self._files(part) if isinstance(part, Part) else (part,)
                    files.update((posixpath.normpath(one.path), one) for one in found)
                self._check_folders(files, parts)
                return Volume(name, Files(tuple(files.values())))
            case NamedClaim(name):
                return Volume(name, self._disks.claim(needed, workload))
            case _:
                return needed

    def _check_folders(self, files: Mapping[str, File], parts: Sequence[Part | File]) -> None:
        """A path is that of a file or of a folder."""
        both = (path for path in files for above in _above(path) if above in files)
        place = next((part.reference for part in parts if isinstance(part, Part)), None)
        if place and (path := next(both, None)):
            folder = next(above for above in _above(path) if above in files)
            message = f"has a file `{shown(folder)}`, and `{shown(path)}` below it"
            self._log.problem(place.position, place.path, message, "use another path")

    def _files(self, part: Part) -> Iterator[File]:
        reference = part.reference
        config = self._known.config(self._namespace, reference)
        keys = () if config is None else config.values if reference.key is None else (reference.key,)
        for key in keys:
            value = self._known.value(self._namespace, replace(reference, key=key))
            if value is None:
                continue
            path = part.path or key
            if reference.kind == "Secret":
                secret = SecretKey(reference.name, key)
                self._secrets[secret] = None
                yield File(path, part.mode, secret=secret)
            else:
                yield File(path, part.mode, data=value)

    def _mount(self, mount: Mount, protected: Set[str]) -> Mount:
        return replace(mount, read_only=True) if mount.volume in protected else mount

    def _sub_path(self, text: str, env: Pairs, container: Container) -> str:
        """What a subPathExpr means with these variables; fields of the pod are for the machine to fill in."""
        known: dict[str, str] = {}
        for name, value in env:
            known[name] = expand(value, known)
        path = expand(text, known)
        told = container.position, f"container `{container.name}`: subPathExpr"
        if field_word(SECRET)[:-1] in path:
            self._log.problem(*told, "has the value of a Secret in it", "use another variable")
        elif match := re.search(r"\$\((?!i2kit:)[^)]*\)", path):
            self._log.problem(*told, f"there is no variable for `{match[0]}`", "give it in `env`")
        elif complaint := names.sub_path(path):
            self._log.problem(*told, *complaint)
        return path

    def _env(self, variables: Variables) -> Pairs:
        found: dict[str, str] = {}
        for prefix, reference in variables.every:
            found.update(self._every(prefix, reference))
        return (*found.items(), *self._each(variables.each))

    def _every(self, prefix: str, reference: Reference) -> Iterator[tuple[str, str]]:
        """A variable for each key; those that cannot be variables are left out, as in Kubernetes."""
        config = self._known.config(self._namespace, reference)
        if config is None:
            return
        strange = {key for key in config.values.keys() - config.binary if names.variable(prefix + key)}
        for key in config.values:
            if key in strange or key in config.binary:
                continue
            one = replace(reference, key=key)
            value = self._known.value(self._namespace, one)
            if value is not None:
                yield prefix + key, self._word(one, key, value)
        if strange:
            keys = ", ".join(f"`{key}`" for key in sorted(strange)[:5])
            message = f"these keys of {config.kind} `{config.name}` cannot be names of variables: {keys}"
            self._log.warn(reference.position, reference.path, message)

    def _each(self, pairs: Iterable[tuple[str, str | Reference]]) -> Iterator[tuple[str, str]]:
        for name, value in pairs:
            if isinstance(value, str):
                yield name, value
            elif value.key is not None and (held := self._known.value(self._namespace, value)) is not None:
                yield name, self._word(value, value.key, held)

    def _word(self, reference: Reference, key: str, value: bytes) -> str:
        """What stands in the image for a value; that of a ConfigMap itself, with nothing in it expanded."""
        if b"\0" in value:
            message = f"the value of `{key}` of {reference.kind} `{reference.name}` has a NUL character in it"
            hint = "no variable can hold one: mount it as a file"
            self._log.problem(*reference.key_place, message, hint)
            return ""
        try:
            text = value.decode()
        except UnicodeDecodeError:
            # No runtime takes it: what a container is to be is written in JSON, and CRI in text.
            message = f"the value of `{key}` of {reference.kind} `{reference.name}` is no text"
            hint = "mount it as a file"
            if reference.kind == "Secret":
                hint += "; what is written plainly belongs into stringData, where data is base64"
            self._log.problem(*reference.key_place, message, hint)
            return ""
        if reference.kind == "Secret":
            self._secrets[SecretKey(reference.name, key)] = None
            word = field_word(secret_field(reference.name, key))
            self._sizes[word.removeprefix("$(").removesuffix(")")] = len(value)
            return word
        return self._known.text(self._namespace, replace(reference, key=key), text.encode())
