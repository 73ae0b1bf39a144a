"""The table of what a compose file may say, as `fields` is for manifests. Nothing is computed here.

The verdicts are those of `fields`; a key in no table is an error too. Kompose's mapping to Kubernetes
(pkg/loader/compose and pkg/transformer) is what i2kit goes by, but nothing is dropped without a word.
Keys are those of the Compose specification (github.com/compose-spec/compose-spec).
"""

from i2kit.manifest.compose.types import (
    Command,
    Cores,
    Duration,
    Entries,
    Named,
    Number,
    Several,
    Short,
    Size,
    Switch,
    Word,
    network_mode,
    port_in_short,
    tmpfs_in_short,
    volume_in_short,
)
from i2kit.manifest.tables import names
from i2kit.manifest.tables.scalars import INT32, Anything, Choice
from i2kit.manifest.tables.shape import Either, ListOf, MapOf, Object
from i2kit.manifest.tables.table import LATER, MAX_REPLICAS, accepted, refused, silent, warned

OWN_MACHINE = "each service has machines of its own"
_NO_HOST = "is not possible: there is no host that containers share"

_FILE_PATH = Word(names.directory, "absolute path")

PORT = Object(
    "ComposePort",
    (
        accepted("target", Word(means="port"), "port that the container listens on", required=True),
        accepted(
            "published", Word(means="port"), "port of this machine (provider local) or of the load balancer"
        ),
        accepted("host_ip", Word(), "only 127.0.0.1 is listened on here, whatever this is"),
        accepted("protocol", Choice(("tcp", "udp")), "tcp or udp (default: tcp)"),
        silent("mode", "a load balancer is in front", Word()),
        silent("name", "for people", Word()),
        silent("app_protocol", "for people", Word()),
    ),
)
PORTS = Short(PORT, port_in_short, "8080:80")
VOLUME_OPTIONS = Object(
    "ComposeVolumeOptions",
    (
        accepted("nocopy", Switch(), "true: it begins empty, and not with what the image has there"),
        silent("labels", "for people", Anything()),
        accepted("subpath", Word(), "folder of the volume that is mounted"),
    ),
)
TMPFS_OPTIONS = Object(
    "ComposeTmpfsOptions",
    (accepted("size", Size(), "how much it may hold"), silent("mode", "everybody may write", Anything())),
)
VOLUME = Object(
    "ComposeMount",
    (
        accepted(
            "type",
            Choice(
                ("volume", "bind", "tmpfs"),
                (
                    ("npipe", "is not possible: machines run Linux", None),
                    ("cluster", "is not possible: there is no swarm", "use a named volume"),
                    ("image", LATER, "copy the files into the service's image"),
                ),
            ),
            "volume: a disk; bind: files that are copied into the machine image; tmpfs: memory",
            required=True,
        ),
        accepted("source", Word(), "name of the volume, or path relative to the file"),
        accepted("target", _FILE_PATH, "where the container sees it", required=True),
        accepted("read_only", Switch(), "whether the container cannot write to it"),
        silent("consistency", OWN_MACHINE),
        silent("bind", "files are copied"),
        accepted("volume", VOLUME_OPTIONS, "its parts decide"),
        accepted("tmpfs", TMPFS_OPTIONS, "its parts decide"),
    ),
)
TMPFS = Object(
    "ComposeTmpfs", (accepted("target", _FILE_PATH, "where the container sees it", required=True),)
)
FILE_OF = Object(
    "ComposeFileOf",
    (
        accepted("source", Word(), "name at the top level", required=True),
        accepted(
            "target", Word(), "where the container sees it: a path, or for secrets a name in /run/secrets"
        ),
        accepted("mode", Word(), "permissions (default: 0444)"),
        silent("uid", "files are readable by all", Anything()),
        silent("gid", "files are readable by all", Anything()),
    ),
)
BUILD = Object(
    "ComposeBuild",
    (
        accepted("context", Word(), "folder that the image is made from, relative to the file"),
        accepted("dockerfile", Word(), "Dockerfile, relative to the context (default: Dockerfile)"),
        accepted(
            "args", Entries(names.variable), "build arguments; a name alone is taken from the environment"
        ),
        accepted("target", Word(), "stage of the Dockerfile to stop at"),
        silent("cache_from", "the builder's own cache decides"),
        silent("cache_to", "the builder's own cache decides"),
        silent("labels", "nothing reads them"),
        silent("tags", "the image goes into the machine image only"),
        accepted("pull", Switch(), "whether to look for newer base images"),
        accepted("no_cache", Switch(), "whether to build all steps anew"),
        silent("platforms", "it is built for the machines"),
        accepted("dockerfile_inline", Word(), "what a Dockerfile would hold"),
        accepted(
            "secrets",
            ListOf(Either(Word(means="name"), FILE_OF, "source")),
            "what steps with `--mount=type=secret` may read, never in an image",
        ),
        refused("ssh", LATER, "fetch what needs it before the build"),
        accepted("network", Choice(("host", "none", "default")), "the network of its steps"),
        accepted(
            "extra_hosts", Entries(separators="=:", example="NAME=ADDRESS"), "more lines of its /etc/hosts"
        ),
        accepted(
            "additional_contexts",
            Entries(),
            "folders, relative to the file, and `docker-image://` references, to copy from",
        ),
        accepted("shm_size", Size(), "size of its /dev/shm"),
        refused("ulimits", LATER, "leave it out"),
        refused("privileged", LATER, "leave it out"),
        refused("entitlements", LATER, "leave it out"),
        refused("isolation", "is not possible: machines run Linux", "leave it out"),
    ),
)
ENV_FILE = Object(
    "ComposeEnvFile",
    (
        accepted("path", Word(), "file of NAME=VALUE lines, relative to the compose file", required=True),
        accepted("required", Switch(), "whether it must be there (default: true)"),
        accepted("format", Choice(("raw",)), "raw: quotes and `$` in it mean nothing"),
    ),
)
EXTENDS = Object(
    "ComposeExtends",
    (
        accepted("service", Word(), "service that is gone on with", required=True),
        accepted("file", Word(means="file"), "compose file that has it (default: this one)"),
    ),
)
HEALTHCHECK = Object(
    "ComposeHealthcheck",
    (
        accepted(
            "test",
            Command(),
            "`CMD` and a command, or `CMD-SHELL` (or text) and a line for `/bin/sh -c`; `NONE` for none. It"
            " must succeed before the machine gets requests, within 10 minutes; failing for good later,"
            " it restarts the container",
        ),
        accepted("interval", Duration(), "how often to ask (default: 30s)"),
        accepted("timeout", Duration(), "how long an answer may take (default: 30s)"),
        accepted("retries", Number(0, INT32), "how many failures in a row count (default: 3)"),
        accepted("start_period", Duration(), "how long the first success may take, where that is longer"),
        accepted("start_interval", Duration(), "how often to ask meanwhile (default: as later)"),
        accepted("disable", Switch(), "true for no health check"),
    ),
)
DEPENDENCY = Object(
    "ComposeDependency",
    (
        accepted(
            "condition",
            Choice(("service_started", "service_healthy", "service_completed_successfully")),
            "what is deployed first must be ready, whichever this is; what completes must have ended well",
        ),
        silent("restart", "services are found by name, wherever they are", Switch()),
        accepted("required", Switch(), "whether it must be there (default: true)"),
    ),
)
AMOUNTS = Object(
    "ComposeAmounts",
    (
        accepted("cpus", Cores(), "processor time"),
        accepted("memory", Size(), "memory"),
        silent("pids", OWN_MACHINE, Number(-1, INT32)),
        refused("devices", "is not possible: the machine image has no driver for it", "leave it out"),
        refused("generic_resources", "is not a resource that a machine has", "leave it out"),
    ),
)
RESOURCES = Object(
    "ComposeResources",
    (
        accepted("limits", AMOUNTS, "what the container may use at most (a cgroup limit)"),
        accepted("reservations", AMOUNTS, "what it needs: the machine is made at least as large"),
    ),
)
UPDATE = Object(
    "ComposeUpdate",
    (
        accepted("parallelism", Number(0, MAX_REPLICAS), "how many machines are replaced at a time"),
        accepted(
            "order", Choice(("start-first", "stop-first")), "whether new machines come before old ones go"
        ),
        accepted("delay", Duration(), "how long a new machine must have been ready before an old one goes"),
        silent("monitor", "a new machine must be ready before an old one goes", Duration()),
        silent("failure_action", "what fails is rolled back", Word()),
        silent("max_failure_ratio", "what fails is rolled back"),
    ),
)
RESTART_POLICY = Object(
    "ComposeRestartPolicy",
    (
        accepted("condition", Choice(("any", "on-failure", "none")), "as `restart`"),
        silent("delay", "containers are restarted with growing pauses", Duration()),
        silent("max_attempts", "containers are restarted with growing pauses", Number(0, INT32)),
        silent("window", "containers are restarted with growing pauses", Duration()),
    ),
)
DEPLOY = Object(
    "ComposeDeploy",
    (
        accepted(
            "mode",
            Choice(
                ("replicated",),
                (
                    ("global", "is not possible: there are no nodes", "use replicas"),
                    ("replicated-job", LATER, 'use restart: "no"'),
                    ("global-job", "is not possible: there are no nodes", 'use restart: "no"'),
                ),
            ),
            "replicated",
        ),
        accepted("replicas", Number(0, MAX_REPLICAS), "how many machines"),
        accepted("resources", RESOURCES, "its parts decide"),
        accepted("update_config", UPDATE, "its parts decide"),
        silent("rollback_config", "a rollback is an update", UPDATE),
        accepted("restart_policy", RESTART_POLICY, "its parts decide"),
        silent("labels", "nothing reads them"),
        silent("endpoint_mode", "names lead to the machines", Word()),
        warned("placement", "has no effect: there are no nodes to choose from"),
    ),
)
NETWORK_OF = Object(
    "ComposeNetworkOf",
    (
        accepted("aliases", ListOf(Word(names.container, "name")), "more names of the service"),
        silent("priority", "a machine has one network"),
        silent("gw_priority", "a machine has one network"),
        silent("interface_name", "a machine has one network"),
        refused("ipv4_address", "is not possible: machines come and go", "use the service's name"),
        refused("ipv6_address", "is not possible: machines come and go", "use the service's name"),
        refused("link_local_ips", "is not possible: machines come and go", "use the service's name"),
        refused("mac_address", "is not possible: machines come and go", "leave it out"),
        refused("driver_opts", LATER, "leave it out"),
    ),
)
HOOK = Object(
    "ComposeHook",
    (
        accepted("command", Command(), "command to run in the container", required=True),
        refused("user", LATER, "it runs as the container's user"),
        refused("privileged", LATER, "leave it out"),
        refused("working_dir", LATER, "leave it out"),
        refused("environment", LATER, "leave it out"),
    ),
)
_CPU_SHARES = f"{OWN_MACHINE}, so there is nothing to share"
_PRIVATE = Choice(
    ("private", "shareable"),
    (("host", _NO_HOST, "leave it out: the machine is the service's own"),),
)
SERVICE = Object(
    "ComposeService",
    (
        accepted("image", Word(names.image, "image reference"), "image to run, as in a manifest"),
        accepted(
            "build",
            Either(Word(means="folder"), BUILD, "context"),
            "the image is made by buildah or docker, whichever is there, and needs no registry",
        ),
        accepted("command", Command(), "replaces the image's command"),
        accepted("entrypoint", Command(), "replaces the image's entrypoint (and drops its command)"),
        accepted("environment", Entries(names.variable), "environment; a name alone is taken from yours"),
        accepted(
            "env_file",
            Several(Either(Word(means="file"), ENV_FILE, "path")),
            "more of it, from files; `environment` counts before them",
        ),
        accepted(
            "ports",
            ListOf(PORTS),
            "ports that are reached from outside: at 127.0.0.1 with provider local, at the load balancer's on"
            " a cloud, public only if the manifest says so. They must accept connections before the machine"
            " gets requests",
        ),
        accepted(
            "expose", ListOf(Word(means="port")), "ports for other services; those reach all ports anyway"
        ),
        accepted(
            "volumes",
            ListOf(Short(VOLUME, volume_in_short, "data:/var/lib/data")),
            "named: a disk that outlives machines; a file or a small folder: copied into the machine image",
        ),
        accepted("tmpfs", Several(Short(TMPFS, tmpfs_in_short, "/run")), "folders in memory"),
        accepted(
            "depends_on",
            Named(DEPENDENCY),
            "what is deployed first; a machine that starts again later does not wait",
        ),
        accepted(
            "restart",
            Word(means="`always`, `unless-stopped`, `on-failure` or `no`"),
            "containers are restarted with growing pauses; with `no` and no ports it is a job that runs once",
        ),
        accepted("healthcheck", HEALTHCHECK, "its parts decide"),
        accepted("deploy", DEPLOY, "its parts decide"),
        accepted("scale", Number(0, MAX_REPLICAS), "how many machines"),
        accepted("mem_limit", Size(), "memory that the container may use at most"),
        accepted("mem_reservation", Size(), "memory that it needs"),
        accepted("cpus", Cores(), "processor time that it may use at most"),
        accepted(
            "user",
            Word(names.user, "USER or USER:GROUP"),
            "user of the processes: numbers, or names that the image has in /etc/passwd and /etc/group",
        ),
        accepted("working_dir", _FILE_PATH, "directory that the command starts in"),
        accepted("hostname", Word(names.host_name, "name"), "what containers see as their host's name"),
        accepted("domainname", Word(names.host_name, "name"), "what follows `hostname`"),
        accepted("container_name", Word(), "one more name of the service, where it can be one"),
        accepted("networks", Named(NETWORK_OF), "only services with a network in common can talk"),
        accepted(
            "network_mode",
            Word(network_mode, "`bridge` or `default`"),
            "the usual one",
        ),
        accepted("links", ListOf(Word(means="`SERVICE[:NAME]`")), "more names of another service, for all"),
        accepted(
            "labels",
            Entries(example="NAME=VALUE"),
            "those for kompose count: see [below](#labels-for-kompose)",
        ),
        accepted(
            "cap_add", ListOf(Word(names.capability, "capability")), "capabilities beside the usual ones"
        ),
        accepted(
            "cap_drop", ListOf(Word(names.capability, "capability")), "capabilities that it does not have"
        ),
        accepted("read_only", Switch(), "whether the container cannot write to its own files"),
        accepted("privileged", Switch(), "whether it may do all that root can, in its machine"),
        accepted("security_opt", ListOf(Word()), "`no-new-privileges`, `seccomp:unconfined`"),
        accepted(
            "secrets",
            ListOf(Either(Word(means="name"), FILE_OF, "source")),
            "files in /run/secrets, never in an image",
        ),
        accepted(
            "configs", ListOf(Either(Word(means="name"), FILE_OF, "source")), "files in the machine image"
        ),
        accepted("stop_grace_period", Duration(), "how long containers have to end (default: 30s)"),
        accepted(
            "stop_signal", Word(names.signal, "signal"), "what asks it to end (default: as its image says)"
        ),
        accepted(
            "sysctls", Entries(names.sysctl, example="net.core.somaxconn=1024"), "settings of the kernel"
        ),
        accepted("shm_size", Size(), "size of /dev/shm"),
        accepted("extra_hosts", Entries(separators="=:", example="NAME=ADDRESS"), "more lines of /etc/hosts"),
        accepted("dns", Several(Word(names.address, "IP address")), "more name servers"),
        accepted("dns_search", Several(Word()), "more search domains"),
        accepted("dns_opt", ListOf(Word()), "options of the resolver"),
        accepted(
            "group_add", ListOf(Word(names.group, "GROUP")), "more groups of the processes, by number or name"
        ),
        accepted("post_start", ListOf(HOOK), "one command, after the start"),
        accepted("pre_stop", ListOf(HOOK), "one command, before the end"),
        accepted(
            "extends",
            Either(Word(means="service"), EXTENDS, "service"),
            "goes on with another service's values",
        ),
        accepted("profiles", ListOf(Word()), "left out unless COMPOSE_PROFILES names one of them"),
        accepted(
            "platform",
            Choice(
                ("linux/amd64", "linux/x86_64", "linux/arm64", "linux/arm64/v8", "linux/aarch64", "linux"),
                tuple(
                    (word, "is not an architecture of machines", "use linux/amd64 or linux/arm64")
                    for word in ("linux/386", "linux/arm/v7", "linux/arm/v6", "linux/s390x", "linux/ppc64le")
                ),
            ),
            "the machines' own counts",
        ),
        silent("logging", "what containers write is in `i2kit logs`"),
        silent("init", "orphans are reaped by the container's own process or end with it"),
        silent("stdin_open", "nobody attaches to a container"),
        silent("tty", "nobody attaches to a container"),
        silent("attach", "nobody attaches to a container"),
        silent("pull_policy", "images are resolved to a digest once, at deploy"),
        silent("pull_refresh_after", "images are resolved to a digest once, at deploy"),
        silent("annotations", "nothing reads them"),
        silent("label_file", "nothing reads them"),
        silent("develop", "for docker compose watch"),
        silent("pids_limit", OWN_MACHINE),
        silent("cpu_shares", _CPU_SHARES),
        silent("blkio_config", _CPU_SHARES),
        silent("memswap_limit", "machines do not swap"),
        silent("mem_swappiness", "machines do not swap"),
        silent("oom_score_adj", OWN_MACHINE),
        silent("oom_kill_disable", OWN_MACHINE),
        accepted("ipc", _PRIVATE, "the machine's own"),
        warned("cpuset", "has no effect: `cpus` sizes the machine"),
        warned("ulimits", "has no effect: containers have the limits of the machine"),
        refused("cpu_quota", LATER, "use cpus"),
        refused("cpu_period", LATER, "use cpus"),
        refused("cpu_percent", "is not possible: machines run Linux", "use cpus"),
        refused("cpu_count", "is not possible: machines run Linux", "use cpus"),
        refused("cpu_rt_period", LATER, "leave it out"),
        refused("cpu_rt_runtime", LATER, "leave it out"),
        refused("pid", _NO_HOST, "leave it out"),
        refused("uts", _NO_HOST, "leave it out: the machine's name is the service's own"),
        refused("devices", "is not possible: the machine has none of them", "leave it out"),
        refused("device_cgroup_rules", "is not possible: the machine has no such devices", "leave it out"),
        refused(
            "volumes_from",
            f"is not possible: {OWN_MACHINE}, and so are its disks",
            "name the volumes in one service",
        ),
        refused(
            "external_links",
            "is not possible: containers of docker are not reached",
            "deploy that service too, and use its name",
        ),
        refused("cgroup_parent", _NO_HOST, "leave it out"),
        accepted("cgroup", _PRIVATE, "the machine's own"),
        refused("runtime", "is not possible: runc runs containers", "leave it out"),
        refused("gpus", "is not possible: the machine image has no driver for it", "run this where GPUs are"),
        refused(
            "userns_mode", "is not possible: containers are not in a user namespace", "leave it out", "host"
        ),
        refused("mac_address", "is not possible: machines come and go", "leave it out"),
        refused("isolation", "is not possible: machines run Linux", "leave it out", "default"),
        refused("credential_spec", "is not possible: machines run Linux"),
        refused("storage_opt", LATER, "leave it out"),
        refused("use_api_socket", "is not possible: there is no docker in a machine", "leave it out"),
        refused("provider", "is not possible: i2kit runs containers", "leave this service out"),
        refused("models", "is not possible: i2kit runs containers", "leave it out"),
    ),
)
NETWORK = Object(
    "ComposeNetwork",
    (
        accepted("internal", Switch(), "true: its services reach only each other"),
        accepted(
            "driver",
            Choice(
                ("bridge", "overlay", "default"),
                tuple(
                    (word, "is not possible: machines have a network of their own", "leave it out")
                    for word in ("host", "none", "macvlan", "ipvlan")
                ),
            ),
            "any that joins services",
        ),
        silent("name", "services are found in their namespace", Word()),
        silent("external", "services are found in their namespace"),
        silent("attachable", "services are found in their namespace"),
        silent("enable_ipv4", "machines have IPv4"),
        warned("enable_ipv6", "has no effect: machines have IPv4", False),
        silent("labels", "nothing reads them"),
        warned("ipam", "has no effect: the provider gives addresses"),
        warned("driver_opts", "has no effect: there is one kind of network"),
    ),
)
EXTERNAL = Object(
    "ComposeExternal",
    (accepted("name", Word(), "what it is called there"), accepted("is", Switch(), "always true")),
)
_EXTERNAL = Either(Switch(), EXTERNAL, "is")
TOP_VOLUME = Object(
    "ComposeVolume",
    (
        accepted("name", Word(), "name of the disk (default: the project's and the volume's)"),
        accepted("external", _EXTERNAL, "true: the disk is called as the volume is, without the project"),
        accepted("labels", Entries(), "`kompose.volume.size` is the size of the disk (default: 1Gi)"),
        accepted(
            "driver",
            Choice(("local",)),
            "local: a disk of the provider",
        ),
        refused("driver_opts", "is not possible: a volume is a disk of the provider", "leave it out"),
    ),
)
TOP_FILE = (
    accepted("file", Word(), "file, relative to the compose file"),
    accepted("environment", Word(), "variable that holds it"),
    accepted("external", _EXTERNAL, "true: it comes from elsewhere"),
    accepted("name", Word(), "what it is called there"),
    silent("labels", "nothing reads them"),
    refused("driver", LATER, "give it as a file"),
    refused("driver_opts", LATER, "give it as a file"),
    refused("template_driver", LATER, "give it as a file"),
)
TOP_SECRET = Object("ComposeSecret", TOP_FILE)
TOP_CONFIG = Object("ComposeConfig", (accepted("content", Word(empty=True), "the text itself"), *TOP_FILE))
_AROUND = (
    silent("version", "files of all versions are read alike"),
    accepted("name", Word(), "project: what disks are named after (default: the folder's name)"),
    accepted("networks", Named(NETWORK, listed=False), "who can talk with whom"),
    accepted("volumes", Named(TOP_VOLUME, listed=False), "disks"),
    accepted("secrets", Named(TOP_SECRET, listed=False), "secret values"),
    accepted("configs", Named(TOP_CONFIG, listed=False), "files"),
    refused("models", "is not possible: i2kit runs containers", "leave it out"),
)
AROUND = Object("ComposeAround", _AROUND)
"""A file without its services, which are read one by one."""

INCLUDE = ListOf(
    Either(
        Several(Word(means="file")),
        Object(
            "ComposeInclude",
            (
                accepted(
                    "path",
                    Several(Word(means="file")),
                    "compose file; further ones override it",
                    required=True,
                ),
                accepted(
                    "project_directory",
                    Word(means="folder"),
                    "what paths in it are relative to (default: its own)",
                ),
                accepted(
                    "env_file",
                    Several(Word(means="file")),
                    "files with values for its variables (default: .env beside it)",
                ),
            ),
        ),
        "path",
    )
)
COMPOSE = Object(
    "Compose",
    (
        accepted("services", MapOf(SERVICE), "what runs: each a deployment of this name"),
        accepted("include", INCLUDE, "files whose services and all else become a part of this one"),
        *_AROUND,
    ),
)
