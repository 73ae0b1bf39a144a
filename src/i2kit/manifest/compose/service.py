"""One service of a compose file → a Workload, and the Services in front of it.

In: its record of the table, and what the project says around it. Out: values, gathered in its own Reading,
and problems in its own log. Pure.

What others reach at `SERVICE:PORT` is any port of its machines, as with docker: a headless Service. What is
published is a second Service, in front of the machines, with the port that the file names first. A service
without others has only that one: nobody calls it by its name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from i2kit.errors import Position
from i2kit.manifest.around import Around, Kind, TooMuch, contents
from i2kit.manifest.compose.disks import Disks, files_of, unique_paths, why
from i2kit.manifest.compose.interpolation import BadText, plain_variables, variables
from i2kit.manifest.compose.labels import Labels
from i2kit.manifest.compose.networks import DEFAULT, Networks
from i2kit.manifest.compose.ports import Published, exposed, published
from i2kit.manifest.compose.project import Project, label
from i2kit.manifest.compose.types import Entry
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.pods.pod import SMALLEST_MEMORY_LIMIT_BYTES
from i2kit.manifest.pods.security import sysctl_path
from i2kit.manifest.reading import FoundService, Needs, Reading, Variables
from i2kit.manifest.source import MappingNode
from i2kit.manifest.tables import names
from i2kit.manifest.tables.compose_labels import FS_GROUP, NODE_PORT
from i2kit.manifest.tables.scalars import INT32
from i2kit.manifest.tables.shape import Record
from i2kit.model import (
    Amount,
    Build,
    Container,
    Dns,
    Exec,
    HttpGet,
    Job,
    Pairs,
    Port,
    Probe,
    Resources,
    Security,
    Service,
    ServicePort,
    Strategy,
    TcpSocket,
    Workload,
)

FIRST_S = 600
"""How long a container has at least until its healthcheck succeeds for the first time."""

FIRST_HOST_PORT = 1024
PUBLISHED = "-published"
"""What the Service in front of published ports is called, after the name of its service."""


@dataclass(slots=True)
class Found:
    """A service as read: its values, and what it has to do with others. `reading` holds its documents."""

    name: str
    position: Position
    log: Log
    record: Record | None = None
    workload: Workload | None = None
    reading: Reading = field(default_factory=Reading)
    ports: tuple[Published, ...] = ()


class Reader:
    """One service: its record becomes a Workload, its Services and its network policies."""

    def __init__(
        self,
        one: Project,
        around: Around,
        found: Found,
        record: Record,
        everyone: Sequence[Found],
        networks: Networks,
        disks: Disks,
    ) -> None:
        self.project = one
        self.around = around
        self.found = found
        self.record = record
        self.everyone = {each.name: each for each in everyone}
        self.networks = networks
        self.disks = disks
        self.name = found.name
        self.label = label(found.name, names.LABEL_LENGTH)
        """What it is deployed as, as with kompose."""
        self.log = found.log
        self.labels = Labels(record.items("labels"), self.log)

    def read(self) -> None:
        record, name = self.record, self.label
        self._check_name()
        ports = published(record, self.log)
        self.found.ports = ports
        mounts = self.disks.of(record, self.labels, self.around, self.log)
        files = files_of(self.project, record, self.around, self.log)
        self.found.reading.secrets.extend(files.secrets)
        job = self.labels.job(self._job(bool(ports) or bool(record.items("expose"))))
        self._check_others()
        unique_paths([*mounts.placed, *files.placed], self.log)
        startup, probe = self._probes()
        before = self.labels.before()
        command, arguments = self._command()
        container = Container(
            name=name,
            image=self._image(),
            command=command,
            args=arguments,
            working_dir=record.text("working_dir"),
            ports=tuple(dict.fromkeys(Port(port.target, protocol=port.protocol) for port in ports)),
            resources=self._resources(),
            startup=startup,
            liveness=probe,
            readiness=self.labels.readiness(probe),
            post_start=self._hook("post_start"),
            pre_stop=self._hook("pre_stop"),
            mounts=(*mounts.mounts, *files.mounts),
            build=self._build(),
            security=self._security(),
            stop_signal=record.text("stop_signal") or "",
            position=record.places.get("image") or record.place("build"),
        )
        replicas = self._replicas()
        if mounts.claims and replicas > 1:
            place = record.place("volumes"), record.at("volumes")
            message = f"a disk is in one machine only, and there are {replicas} of this service"
            self.log.problem(*place, message, "leave the volume out, or use one replica")
        workload = Workload(
            name=name,
            containers=(container,),
            init=before,
            replicas=replicas,
            labels=(("app", name), *self.networks.labels(self.name)),
            strategy=self._strategy(),
            min_ready_s=self._update_delay(),
            grace_s=30 if (grace := record.whole("stop_grace_period")) is None else grace,
            hosts=self._hosts(),
            sysctls=tuple((sysctl_path(one.name), one.value or "") for one in record.items("sysctls")),
            volumes=(*mounts.volumes, *files.volumes),
            hostname=self._hostname(),
            dns=Dns(record.items("dns"), record.items("dns_search"), record.items("dns_opt")),
            job=job,
            position=self.found.position,
        )
        self.found.workload = workload
        env = tuple((key, value.replace("$", "$$")) for key, value in self._environment().items())
        variables_ = (*(Variables() for _ in before), Variables(each=env))
        self.found.reading.add(workload, Needs(variables_, keys=tuple(files.needed)))
        self.labels.scale(name, self.found.reading)
        self._services(ports)
        self.found.reading.policies.extend(
            self.networks.policies(self.name, name, ports, self.found.position)
        )

    def _check_name(self) -> None:
        """It becomes the name of machines; as it is written it is one more name to be found by."""
        if complaint := names.container(self.name) or names.dns_label(self.label):
            self.log.problem(self.found.position, self.record.path, *complaint)

    # --- what the container runs ---

    def _image(self) -> str:
        record = self.record
        if image := record.text("image"):
            return image
        if record.record("build"):
            return f"{self.project.name}-{self.label}"
        if not (record.is_wrong("image") or record.is_wrong("build")):
            hint = "such as image: nginx:1.27, or build: ."
            self.log.problem(self.found.position, record.path, "has neither `image` nor `build`", hint)
        return ""

    def _build(self) -> Build | None:
        build = self.record.record("build")
        if build is None:
            return None
        context = build.text("context") or "."
        place = build.place("context"), build.at("context")
        if "://" in context or context.startswith(("git@", "github.com/")):
            message = f"`{shown(context)}` is not a folder beside the file"
            self.log.problem(*place, message, "get the sources first, and name their folder")
            return None
        folder = str(PurePosixPath(self.project.folder, context))
        kind = self.around.kind(folder)
        if kind != "folder":
            why = "is not a folder" if kind != "none" else "does not exist"
            self.log.problem(*place, f"`{shown(context)}` {why}", "name it relative to the compose file")
            return None
        dockerfile, inline = build.text("dockerfile") or "", build.text("dockerfile_inline") or ""
        if dockerfile and inline:
            place = build.place("dockerfile"), build.at("dockerfile")
            self.log.problem(*place, "is beside dockerfile_inline", "leave one of them out")
        there = [
            str(PurePosixPath(folder, one))
            for one in ([dockerfile] if dockerfile else ["Dockerfile", "Containerfile"])
        ]
        if not inline and all(self.around.kind(one) == "none" for one in there):
            place = build.place("dockerfile"), build.at("dockerfile")
            message = f"there is no {shown(dockerfile or 'Dockerfile')} in `{shown(context)}`"
            self.log.problem(*place, message, "name it relative to the context")
        args = []
        for one in build.items("args"):
            value = self.project.lookup(one.name) if one.value is None else one.value
            if value is not None:
                args.append((one.name, value))
        return Build(
            folder,
            dockerfile,
            build.text("target") or "",
            tuple(args),
            inline,
            self._build_secrets(build),
            self._build_contexts(build),
            self._build_options(build),
        )

    def _kind(self, path: str) -> Kind:
        return self.around.kind(str(PurePosixPath(self.project.folder, path)))

    def _absolute(self, path: str) -> str:
        return str(PurePosixPath(self.around.folder, self.project.folder, path))

    def _build_secrets(self, build: Record) -> Pairs:
        found = []
        known: dict[str, Record] = dict(self.project.top.named("secrets"))
        for each in build.items("secrets"):
            name = each.text("source") or ""
            top = known.get(name)
            file = top.text("file") if top else None
            variable = top.text("environment") if top else None
            if file is not None:
                source = f"src={self._absolute(file)}" if self._kind(file) == "file" else ""
            else:
                source = f"env={variable}" if variable in self.around.environ else ""
            if source and "," not in source:
                found.append((each.text("target") or name, source))
                continue
            message = f"there is no file and no variable of your environment for the secret `{shown(name)}`"
            hint = "write it at the top level: secrets: {NAME: {file: PATH}}"
            self.log.problem(each.place("source"), each.path, message, hint)
        return tuple(found)

    def _build_contexts(self, build: Record) -> Pairs:
        found = []
        for one in build.items("additional_contexts"):
            value = one.value or ""
            if value.startswith("docker-image://"):
                found.append((one.name, value))
            elif value and self._kind(value) == "folder":
                found.append((one.name, self._absolute(value)))
            else:
                message = f"`{shown(value)}` is no folder beside the file, and no image"
                self.log.problem(one.position, one.path, message, "such as ./lib or docker-image://alpine")
        return tuple(found)

    def _build_options(self, build: Record) -> tuple[str, ...]:
        found = [word for word in ("no_cache", "pull") if build.flag(word)]
        options = [f"--{word.replace('_', '-')}" for word in found]
        network = build.text("network")
        options += [f"--network={network}"] if network in ("host", "none") else []
        options += [f"--shm-size={size}"] if (size := build.whole("shm_size")) else []
        for one in build.items("extra_hosts"):
            address = (one.value or "").strip("[]")
            if complaint := names.address(address) or names.dns_name(one.name):
                self.log.problem(one.position, one.path, *complaint)
            options.append(f"--add-host={one.name}:{address}")
        return tuple(options)

    def _command(self) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """What replaces the image's entrypoint and its command; an empty command says nothing (as docker)."""
        record = self.record
        words = tuple(one.replace("$", "$$") for one in record.items("command"))
        entry = tuple(one.replace("$", "$$") for one in record.items("entrypoint"))
        if entry or "entrypoint" not in record.values:
            return entry or None, words or None
        if not words:
            place = record.place("entrypoint"), record.at("entrypoint")
            hint = "write the whole command into `command`"
            self.log.problem(*place, "is empty, so there is nothing to run", hint)
        return words or None, None

    def _environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for record in self.record.items("env_file"):
            found.update(self._env_file(record))
        for one in self.record.items("environment"):
            value = self._given(one)
            if value is not None:
                found[one.name] = value
        return found

    def _given(self, one: Entry) -> str | None:
        value = self.project.lookup(one.name) if one.value is None else one.value
        if value is None:
            message = "has no value, and your environment has none for it: it is left out"
            self.log.warn(one.position, one.path, message, kind=one.name)
        return value

    def _env_file(self, record: Record) -> Pairs:
        path = record.text("path")
        if path is None:
            return ()
        full = str(PurePosixPath(self.project.folder, path))
        place = record.place("path"), record.path
        if self.around.kind(full) == "none":
            if record.flag("required") is not False:
                hint = "name it relative to the compose file, or write required: false"
                self.log.problem(*place, f"the file `{shown(path)}` does not exist", hint)
            return ()
        try:
            text = contents(full, self.around)[1].decode()
            raw = record.text("format") == "raw"
            read = plain_variables(text) if raw else variables(text, self.project.lookup)
        except BadText as bad:
            self.log.problem(Position(full, bad.line or 1, 1), "", bad.message, bad.hint)
            return ()
        except UnicodeDecodeError:
            self.log.problem(*place, f"the file `{shown(path)}` is not UTF-8 text")
            return ()
        except (OSError, TooMuch) as error:
            self.log.problem(*place, f"the file `{shown(path)}` {why(error)}")
            return ()
        found = []
        for name, value in read:
            if (complaint := names.variable(name)) or (complaint := names.no_nul(value or "")):
                self.log.problem(*place, complaint[0], complaint[1])
                continue
            value = self.project.lookup(name) if value is None else value
            if value is not None:
                found.append((name, value))
        return tuple(found)

    def _hook(self, key: str) -> Exec | None:
        hooks = self.record.items(key)
        if len(hooks) > 1:
            place = self.record.place(key), self.record.at(key)
            self.log.problem(
                *place, "has several commands, which is not supported yet", "join them: [sh, -c, …]"
            )
        command = hooks[0].items("command") if hooks else ()
        return Exec(command) if command else None

    def _probes(self) -> tuple[Probe | None, Probe | None]:
        """What is asked until it starts to be well, and from then on."""
        check = self.record.record("healthcheck")
        test = check.items("test") if check else ()
        handler: HttpGet | TcpSocket | Exec | None = self.labels.liveness()
        if check is None:
            return None, Probe(handler) if handler else None
        if not handler and (not test or check.flag("disable")):
            if not (test or check.flag("disable") or check.is_wrong("test")):
                hint = 'such as test: ["CMD", "healthy"]'
                self.log.problem(
                    check.position, check.path, "has no `test`, and the image's is not known", hint
                )
            return None, None
        handler = handler or self._test(check, test)
        if handler is None:
            return None, None
        interval = check.whole("interval") or 30
        usual = Probe(
            handler,
            period_s=interval,
            timeout_s=check.whole("timeout") or 30,
            failure_threshold=check.whole("retries") or 3,
        )
        period = check.whole("start_interval") or min(interval, 5)
        patience = check.whole("start_period") or 0
        startup = Probe(
            handler,
            period_s=period,
            timeout_s=usual.timeout_s,
            # Docker ends nothing that is not well yet, such as a database that is being made.
            failure_threshold=-(-max(patience + interval * usual.failure_threshold, FIRST_S) // period),
        )
        return startup, usual

    def _test(self, check: Record, test: tuple[str, ...]) -> Exec | None:
        place = check.place("test"), check.at("test")
        match test:
            case ("NONE", *_):
                return None
            case ("CMD", *words) if words:
                return Exec(tuple(words))
            case ("CMD-SHELL", line):
                return Exec(("/bin/sh", "-c", line))
        if text := self._line_of_test():
            return Exec(("/bin/sh", "-c", text))
        hint = 'write ["CMD", PROGRAM, …] or ["CMD-SHELL", LINE]'
        self.log.problem(*place, "begins with neither CMD nor CMD-SHELL", hint)
        return None

    def _line_of_test(self) -> str | None:
        """The test where it is one text, which is a line for a shell."""
        _, node = self.project.services[self.name]
        check = node.get("healthcheck")
        test = check.get("test") if isinstance(check, MappingNode) else None
        value = getattr(test, "value", None)
        return value if isinstance(value, str) else None

    # --- what it may use and do ---

    def _amounts(self, key: str) -> Record | None:
        deploy = self.record.record("deploy")
        resources = deploy.record("resources") if deploy else None
        return resources.record(key) if resources else None

    def _resources(self) -> Resources:
        record = self.record
        limits, reserved = self._amounts("limits"), self._amounts("reservations")

        def of(part: Record | None, name: str, other: str | None) -> int | None:
            found = part.whole(name) if part else None
            return found if found is not None or other is None else record.whole(other)

        memory = of(limits, "memory", "mem_limit")
        if memory is not None and memory < SMALLEST_MEMORY_LIMIT_BYTES:
            place = (
                (limits.place("memory"), limits.at("memory"))
                if limits and limits.has("memory")
                else (record.place("mem_limit"), record.at("mem_limit"))
            )
            message = f"{memory:,} bytes are below what a container needs to start (6m)"
            self.log.problem(*place, message, "such as 128m")
        return Resources(
            cpu_request_millis=of(reserved, "cpus", None),
            cpu_limit_millis=of(limits, "cpus", "cpus"),
            memory_request_bytes=of(reserved, "memory", "mem_reservation"),
            memory_limit_bytes=memory,
        )

    def _security(self) -> Security:
        record = self.record
        user, group, user_name = self._user()
        options = record.items("security_opt")
        no_new = False
        unconfined = False
        for option in options:
            word = option.replace("=", ":")
            if word in ("no-new-privileges", "no-new-privileges:true"):
                no_new = True
            elif word == "seccomp:unconfined":
                unconfined = True
            elif word not in ("no-new-privileges:false", "apparmor:unconfined") and not word.startswith(
                "label:"
            ):
                message = f"`{shown(option)}` is not supported"
                self.log.problem(
                    record.place("security_opt"), record.at("security_opt"), message, "leave it out"
                )
        groups = record.items("group_add")
        fs_group = self.labels.whole(FS_GROUP, 0, INT32)
        return Security(
            user=user,
            user_name=user_name,
            group=group,
            groups=tuple(int(one) for one in groups if _is_id(one)),
            group_names=tuple(one for one in groups if not _is_id(one)),
            fs_group=fs_group,
            readonly_root=record.flag("read_only") or False,
            no_new_privileges=no_new,
            add=_capabilities(record.items("cap_add")),
            drop=_capabilities(record.items("cap_drop")),
            privileged=record.flag("privileged") or False,
            unconfined=unconfined,
        )

    def _user(self) -> tuple[int | None, int | None, str]:
        """Its number and its group's, or all of it as written where a name has to be looked up."""
        text = self.record.text("user")
        if text is None:
            return None, None, ""
        parts = [("0" if part == "root" else part) for part in text.split(":")]
        if not all(map(_is_id, parts)):
            return None, None, text
        return int(parts[0]), int(parts[1]) if len(parts) == 2 else None, ""

    # --- how many, how long ---

    def _replicas(self) -> int:
        deploy = self.record.record("deploy")
        asked = deploy.whole("replicas") if deploy else None
        found = self.record.whole("scale") if asked is None else asked
        return 1 if found is None else found

    def _strategy(self) -> Strategy:
        """As kompose has it: only where the order is written."""
        deploy = self.record.record("deploy")
        update = deploy.record("update_config") if deploy else None
        order = update.text("order") if update else None
        if update is None or order is None:
            return Strategy()
        count = update.whole("parallelism")
        amount = Amount(1) if count is None else Amount(count) if count else Amount(100, percent=True)
        none = Amount(0)
        first = order == "start-first"
        return Strategy(max_surge=amount if first else none, max_unavailable=none if first else amount)

    def _update_delay(self) -> int:
        deploy = self.record.record("deploy")
        update = deploy.record("update_config") if deploy else None
        return (update.whole("delay") or 0) if update else 0

    def _job(self, serves: bool) -> Job | None:
        """Of a service that is meant to end: it says so, or others wait for that."""
        record = self.record
        deploy = record.record("deploy")
        policy = deploy.record("restart_policy") if deploy else None
        condition = policy.text("condition") if policy else None
        restart = {"none": "no", "any": "always"}.get(condition or "", condition) or record.text("restart")
        word, _, tries = (restart or "").partition(":")
        if word not in ("", "always", "unless-stopped", "on-failure", "no", "false"):
            message = f"`{shown(word)}` is not known"
            hint = "use always, unless-stopped, on-failure or no"
            self.log.problem(record.place("restart"), record.at("restart"), message, hint)
        ends = any(
            dependency.text("condition") == "service_completed_successfully"
            for each in self.everyone.values()
            if each.record
            for name, dependency in each.record.named("depends_on")
            if name == self.name
        )
        place = (record.place("restart"), record.at("restart"))
        if ends or (word in ("no", "false") and not (serves or record.has("healthcheck"))):
            again = word == "on-failure"
            most = int(tries) if tries.isdecimal() and len(tries) < 6 else 6
            return Job(most_failures=most if again else 0, retry=again)
        if word in ("no", "false"):
            self.log.warn(*place, "it serves others, and so it is restarted when it ends", kind="")
        elif word == "on-failure":
            self.log.warn(*place, "it is restarted also when it ends well", kind="")
        return None

    # --- how others reach it ---

    def _services(self, ports: Sequence[Published]) -> None:
        record, name = self.record, self.label
        exposed(record, self.log)
        kind = self.labels.type
        selector = (("app", name),)
        alone = len(self.everyone) == 1
        called = self._names()
        for alias, place in () if alone else called.items():
            service = Service(alias, selector, (), headless=True, position=place)
            self.found.reading.services.append(FoundService(service, place, ()))
        reading = self.found.reading
        if not ports or kind == "headless":
            self.labels.expose(name, None, 0, reading)
            return
        chosen = self.labels.whole(NODE_PORT, FIRST_HOST_PORT, 65535)
        if chosen and (len(ports) > 1 or kind != "nodeport"):
            message = "is for services of type nodeport with one port"
            self.log.problem(*self.labels.place(NODE_PORT), message, "name it in ports")
        numbered = []
        for port in ports:
            number = port.target if port.published is None else port.published
            node_port = chosen or (port.published if kind != "clusterip" else None)
            if node_port is not None and node_port < FIRST_HOST_PORT:
                message = (
                    "provider local publishes it at another port: those below"
                    f" {FIRST_HOST_PORT} are the system's"
                )
                self.log.warn(port.position, port.path, message)
                node_port = None
            port_name = f"{port.protocol.lower()}-{number}"
            numbered.append(ServicePort(number, port.target, port_name, port.protocol, node_port))
        service = Service(
            name if alone else f"{name[: names.LABEL_LENGTH - len(PUBLISHED)]}{PUBLISHED}",
            selector,
            tuple(numbered),
            public=kind == "loadbalancer",
            position=self.found.position,
        )
        places = tuple(port.position for port in ports)
        reading.services.append(FoundService(service, self.found.position, places))
        self.labels.expose(name, service.name, service.ports[0].number, reading)

    def _names(self) -> dict[str, Position]:
        """All names of this service, its own first, and where each is written."""
        record = self.record
        found = dict.fromkeys((self.label, self.name.lower()), self.found.position)
        taken = {one for name in self.everyone for one in (name.lower(), label(name, names.LABEL_LENGTH))}
        container = (record.text("container_name") or "").lower()
        if container and container not in taken and not names.container(container):
            found.setdefault(container, record.place("container_name"))
        for network, more in record.named("networks"):
            if network != DEFAULT and network not in self.networks.known:
                hint = (
                    did_you_mean(network, list(self.networks.known))
                    or f"write it at the top level: networks: {{{shown(network)}: }}"
                )
                self.log.problem(more.position, more.path, f"there is no network `{shown(network)}`", hint)
            for alias in map(str.lower, more.items("aliases")):
                if alias not in taken:
                    found.setdefault(alias, more.place("aliases"))
        for each in self.everyone.values():
            for index, link in enumerate(each.record.items("links") if each.record else ()):
                target, colon, alias = link.partition(":")
                alias = alias.lower()
                if target != self.name or not colon or alias in taken:
                    continue
                assert each.record
                if complaint := names.container(alias):
                    each.log.problem(
                        each.record.place("links"), f"{each.record.at('links')}[{index}]", *complaint
                    )
                else:
                    found.setdefault(alias, each.record.place("links"))
        return found

    def _hostname(self) -> str | None:
        """What containers see, where that is not the name of the machine."""
        own, domain = self.record.text("hostname"), self.record.text("domainname")
        whole = ".".join(part for part in (own or (self.label if domain else None), domain) if part)
        if whole and (complaint := names.host_name(whole)):
            self.log.problem(self.record.place("domainname"), self.record.at("domainname"), *complaint)
        return whole if whole not in ("", self.label) else None

    def _hosts(self) -> Pairs:
        found = []
        for one in self.record.items("extra_hosts"):
            address = (one.value or "").strip("[]")
            if address == "host-gateway":
                message = "`host-gateway` is not possible: there is no host that containers share"
                self.log.problem(
                    one.position, one.path, message, "deploy what runs there too, and use its name"
                )
            elif complaint := names.address(address) or names.dns_name(one.name):
                self.log.problem(one.position, one.path, *complaint)
            else:
                found.append((address, one.name))
        return tuple(found)

    def _check_others(self) -> None:
        """Services that it names must be there."""
        record = self.record
        known = set(self.everyone) | self.project.left_out
        for name, more in record.named("depends_on"):
            if more.flag("required") is False:
                continue
            if name in self.project.left_out:
                hint = "ask for its profile with COMPOSE_PROFILES, or write required: false"
                self.log.problem(
                    more.position, more.path, f"`{shown(name)}` is left out by its profiles", hint
                )
            elif name not in known:
                near = did_you_mean(name, list(known))
                self.log.problem(more.position, more.path, f"there is no service `{shown(name)}`", near)
        for index, link in enumerate(record.items("links")):
            target = link.partition(":")[0]
            if target not in known:
                near = did_you_mean(target, list(known))
                message = f"there is no service `{shown(target)}`"
                self.log.problem(record.place("links"), f"{record.at('links')}[{index}]", message, near)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _capabilities(words: Iterable[str]) -> tuple[str, ...]:
    """Whole names, each once, in one order."""
    upper = {word.upper() for word in words}
    return tuple(sorted({one if one == "ALL" else f"CAP_{one.removeprefix('CAP_')}" for one in upper}))
