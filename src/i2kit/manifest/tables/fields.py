"""The one table of what a manifest may say. Reading, messages, JSON Schema and docs/manifest.md come from it.

Nothing is computed here. Four verdicts:
  accepted  i2kit gives it the same effect as Kubernetes;
  silent    it changes nothing, because each pod has a machine of its own, or because it only
            concerns the cluster;
  warned    comfort is lost, but the application runs right;
  refused   ignoring it could lose data, weaken security, break reachability, or start a pod
            without something that it needs.
A key in no table is an error too. Fields are Kubernetes' (API reference, v1.31).
"""

from collections.abc import Sequence

from i2kit.manifest.tables import names
from i2kit.manifest.tables.config_fields import CONFIG_MAP_KEY_REF, CONFIG_NAME, ENV_FROM, SECRET_KEY_REF
from i2kit.manifest.tables.downward_fields import FIELD_REF, RESOURCE_FIELD_REF
from i2kit.manifest.tables.node_terms import NodeTerms
from i2kit.manifest.tables.scalars import INT32, Choice, Flag, NumberOrName, Quantity, Text, Whole
from i2kit.manifest.tables.shape import Field, ListOf, Object
from i2kit.manifest.tables.table import (
    INSTANCE_TYPE,
    LINUX,
    NAME,
    PORT,
    PORT_NAME,
    PROTOCOL,
    VALUE,
    WORDS,
    accepted,
    later,
    refused,
    silent,
    warned,
)
from i2kit.manifest.tables.volume_fields import POD_VOLUME, VOLUME_MOUNTS

NO_DRIVER = "is not possible: the machine image has no driver for it"
ELSEWHERE = "run this pod where GPUs are"
ACCELERATED = (
    "nvidia.com/gpu",
    "amd.com/gpu",
    "google.com/tpu",
    "gpu.intel.com/i915",
    "aws.amazon.com/neuron",
)
"""Resources that only nodes with special devices have."""

ACCELERATORS = (
    "cloud.google.com/gke-accelerator",
    "cloud.google.com/gke-tpu-accelerator",
    "cloud.google.com/gke-tpu-topology",
    "accelerator",
    "k8s.amazonaws.com/accelerator",
    "eks.amazonaws.com/instance-gpu-name",
    "nvidia.com/gpu",
    "nvidia.com/gpu.present",
    "nvidia.com/gpu.product",
)
"""Labels of such nodes."""

AMOUNTS = Object(
    "Amounts",
    (
        accepted("cpu", Quantity("cpu", zero=True), "processor time, in cores; as a limit, 0 is none"),
        accepted("memory", Quantity("memory", zero=True), "memory, in bytes; as a limit, 0 is none"),
        accepted(
            "ephemeral-storage",
            Quantity("memory", zero=True),
            "as a limit, how much fits into emptyDirs that have no sizeLimit; what is written elsewhere is in"
            " the machine's memory, and a warning says so where there is no emptyDir",
        ),
        *(refused(word, NO_DRIVER, ELSEWHERE, 0, "0") for word in ACCELERATED),
    ),
    others=refused("", "is not a resource that a machine has", "the resources are cpu and memory"),
)
RESOURCES = Object(
    "Resources",
    (
        accepted("requests", AMOUNTS, "what the container needs: the machine is made at least as large"),
        accepted("limits", AMOUNTS, "what the container may use at most (a cgroup limit)"),
        later("claims"),
    ),
)

SECCOMP = Object(
    "SeccompProfile",
    (
        accepted(
            "type",
            Choice(("RuntimeDefault", "Unconfined", "Localhost")),
            "RuntimeDefault: the container runtimes' profile, with the calls that added capabilities are for;"
            " Unconfined: no filter; Localhost: RuntimeDefault, with a warning",
            required=True,
            hint="write type: RuntimeDefault",
        ),
        silent("localhostProfile", "there is no node that holds profiles", Text()),
    ),
)
CAPABILITY = Text(names.capability, "[A-Za-z_]+", means="capability such as `NET_ADMIN`, or `ALL`")
_CAPABILITIES = ListOf(CAPABILITY, hint="write a list: [NET_ADMIN]")
ADDED_CAPABILITIES = Object(
    "Capabilities",
    (
        accepted(
            "add",
            _CAPABILITIES,
            "what the container has beside the container runtimes' default set; a user other than root has"
            " them only through the capabilities of a program's file (none is ambient)",
        ),
        accepted("drop", _CAPABILITIES, "what it does not have; `ALL` counts before what is added"),
    ),
)
_ID = Whole(0, INT32)
_SECURITY = (
    accepted("runAsUser", _ID, "user of the processes (default: the image's USER)"),
    accepted("runAsGroup", _ID, "their group (default: the user's in the image's /etc/passwd, or 0)"),
    accepted(
        "runAsNonRoot",
        Flag(),
        "whether the build is refused where the container would run as root; names of users are looked up in"
        " the image",
    ),
    accepted("seccompProfile", SECCOMP, "filter of system calls (default: RuntimeDefault)"),
    warned("seLinuxOptions", "has no effect: the machine runs no SELinux"),
    warned("appArmorProfile", "has no effect: the machine runs no AppArmor"),
    refused("windowsOptions", "is not possible: machines run Linux"),
)
CONTAINER_SECURITY = Object(
    "ContainerSecurity",
    (
        *_SECURITY,
        accepted(
            "readOnlyRootFilesystem",
            Flag(),
            "whether nothing can be written but to what is mounted, such as /dev/shm (default: false)",
        ),
        accepted(
            "allowPrivilegeEscalation",
            Flag(),
            "false: no program gives more rights than its caller has, not even a setuid one (default: true)",
        ),
        accepted("capabilities", ADDED_CAPABILITIES, "what root may do in the container"),
        accepted(
            "privileged",
            Flag(),
            "all capabilities, all devices, /sys and /proc to write, no filter of system calls: all of the"
            " machine, which is the pod's own (default: false)",
        ),
        accepted(
            "procMount",
            Choice(("Default", "Unmasked")),
            "Unmasked: all of /proc can be seen and written (default: Default)",
        ),
    ),
)
SYSCTL = Object(
    "Sysctl",
    (
        accepted(
            "name",
            Text(names.sysctl, names.SYSCTL, 253, "name"),
            "kernel.shm…, kernel.msg…, kernel.sem, fs.mqueue.… or net.…, as in Kubernetes",
            required=True,
        ),
        accepted("value", Text(names.one_line), "its value", required=True),
    ),
    hint='write - name: NAME and value: "VALUE"',
)
POD_SECURITY = Object(
    "PodSecurity",
    (
        *_SECURITY,
        accepted("fsGroup", _ID, "one more of the processes' groups, which volumes belong to"),
        silent(
            "fsGroupChangePolicy",
            "it decides how long it takes, and nothing else",
            Choice(("OnRootMismatch", "Always")),
        ),
        accepted("supplementalGroups", ListOf(_ID, hint="write a list: [1000]"), "more of their groups"),
        accepted(
            "supplementalGroupsPolicy",
            Choice(("Merge", "Strict")),
            "Strict: the groups of the image's /etc/group do not count (default: Merge)",
        ),
        accepted(
            "sysctls",
            ListOf(SYSCTL, hint="write a list of name and value"),
            "settings of the kernel, made before the first container starts; a machine whose kernel does not"
            " take one goes off and says why",
        ),
    ),
)

HEADER = Object(
    "HttpHeader",
    (
        accepted("name", Text(names.header, names.HEADER, means="name"), "name of the header", required=True),
        accepted("value", Text(names.one_line, null=True), "its value"),
    ),
    hint="write - name: NAME and value: VALUE",
)
_HOST = Text(names.host, f"({names.HOST})?", means="host name or address")
_PROBE_PORT = accepted(
    "port", NumberOrName(), "port, by number or by the container's name for it", required=True
)
HTTP_GET = Object(
    "HttpGet",
    (
        _PROBE_PORT,
        accepted("path", Text(), "what to ask for (default: `/`)"),
        accepted("scheme", Choice(("HTTP", "HTTPS")), "HTTPS looks at no certificate (default: HTTP)"),
        accepted("host", _HOST, "whom to ask (default: the machine's own address)"),
        accepted(
            "httpHeaders",
            ListOf(HEADER, hint="write a list of name and value"),
            "headers of the request; `Host` replaces its host",
        ),
    ),
)
TCP_SOCKET = Object(
    "TcpSocket",
    (_PROBE_PORT, accepted("host", _HOST, "whom to connect to (default: the machine's own address)")),
)
EXEC = Object(
    "Exec",
    (
        accepted(
            "command",
            ListOf(Text(names.no_nul), least=1, hint="write one item per argument: [sh, -c, …]"),
            "command to run in the container; no shell is in between",
            required=True,
            hint="such as command: [test, -f, /ready]",
        ),
    ),
)
GRPC = Object(
    "Grpc",
    (
        accepted("port", PORT, "port, by number", required=True),
        accepted("service", Text(names.one_line), "which service to ask for (default: the whole server)"),
    ),
)
_SECONDS = Whole(0, INT32)
_HANDLERS = (
    accepted("httpGet", HTTP_GET, "healthy when a GET is answered with 200 to 399"),
    accepted("tcpSocket", TCP_SOCKET, "healthy when a connection is accepted"),
    accepted("exec", EXEC, "healthy when a command ends with 0"),
    accepted("grpc", GRPC, "healthy when grpc.health.v1.Health/Check answers SERVING"),
    accepted("initialDelaySeconds", _SECONDS, "how long to wait first (default: 0)"),
    accepted("periodSeconds", _SECONDS, "how often to ask (default: 10)"),
    accepted("timeoutSeconds", _SECONDS, "how long an answer may take (default: 1)"),
    accepted("failureThreshold", _SECONDS, "how many failures in a row count (default: 3)"),
)
PROBE = Object(
    "Probe",
    (
        *_HANDLERS,
        accepted(
            "successThreshold",
            Whole(0, 1, "only a readinessProbe can ask for several: leave it out"),
            "how many successes count: 1",
        ),
        accepted(
            "terminationGracePeriodSeconds",
            Whole(1, INT32),
            "how long the container has to end when it is restarted (default: as the pod)",
        ),
    ),
)
READINESS_PROBE = Object(
    "ReadinessProbe",
    (
        *_HANDLERS,
        accepted("successThreshold", _SECONDS, "how many successes in a row count (default: 1)"),
        refused(
            "terminationGracePeriodSeconds",
            "is not possible: a failed readinessProbe stops no container",
            "give it to the livenessProbe or the startupProbe",
        ),
    ),
)

_HOOK = Object(
    "Hook",
    (
        accepted("exec", EXEC, "a command in the container, which has to end with 0"),
        accepted("httpGet", HTTP_GET, "a GET, which has to be answered with less than 400"),
        accepted(
            "sleep",
            Object(
                "Sleep",
                (accepted("seconds", Whole(0, INT32), "how long", required=True, hint="such as seconds: 5"),),
            ),
            "a pause",
        ),
        refused(
            "tcpSocket", "is not possible: Kubernetes itself takes it and then fails", "use httpGet or exec"
        ),
    ),
)
_LIFECYCLE = Object(
    "Lifecycle",
    (
        accepted(
            "postStart",
            _HOOK,
            "done as soon as the container was started; where it fails, the container is restarted",
        ),
        accepted(
            "preStop", _HOOK, "done before the container is asked to end, in terminationGracePeriodSeconds"
        ),
        accepted(
            "stopSignal",
            Text(names.signal, means="signal"),
            "what asks it to end (default: as its image says)",
        ),
    ),
)
CONTAINER_FIELDS = (
    accepted(
        "image",
        Text(names.image, means="image reference"),
        "image to run, from a registry, or from `oci:FOLDER`, `oci-archive:FILE` or `docker-archive:FILE`"
        " (with `:NAME` where it holds several); pinned to its digest at deploy",
        required=True,
        hint="name an image, such as image: nginx:1.27",
    ),
    accepted("command", WORDS, "replaces the image's entrypoint (and drops its command)"),
    accepted("args", WORDS, "replaces the image's command"),
    accepted(
        "workingDir",
        Text(names.directory, "/.*", means="absolute path"),
        "directory that the command starts in",
    ),
    accepted("resources", RESOURCES, "what the container needs and may use"),
    silent(
        "imagePullPolicy",
        "images are resolved to a digest once, at deploy",
        Choice(("Always", "IfNotPresent", "Never")),
    ),
    silent("stdin", "nobody attaches to a container", Flag()),
    silent("stdinOnce", "nobody attaches to a container", Flag()),
    silent("tty", "nobody attaches to a container", Flag()),
    silent("terminationMessagePath", "there is no API that would show it"),
    silent("terminationMessagePolicy", "there is no API that would show it"),
    accepted(
        "startupProbe",
        PROBE,
        "until it succeeds, the other probes wait and the pod is not ready; when it fails for good, the"
        " container is restarted",
    ),
    accepted("livenessProbe", PROBE, "when it fails, the container is restarted"),
    accepted(
        "readinessProbe",
        READINESS_PROBE,
        "while it fails, the machine gets no requests (without any in the pod: until all ports accept"
        " connections)",
    ),
    accepted("lifecycle", _LIFECYCLE, "its parts decide"),
    ENV_FROM,
    VOLUME_MOUNTS,
    refused("volumeDevices", "is not possible: a disk is mounted, never given as it is", "use volumeMounts"),
    accepted("securityContext", CONTAINER_SECURITY, "its parts decide"),
    refused("restartPolicy", "is not possible: the pod decides", "leave it out"),
    later("restartPolicyRules"),
    silent("resizePolicy", "a machine is replaced, never resized"),
)
FIRST_FIELDS = (
    accepted(
        "restartPolicy",
        Choice(
            ("Always",),
            tuple(
                (word, "is not possible: the pod decides", "leave it out") for word in ("Never", "OnFailure")
            ),
        ),
        "Always: it runs on beside those that follow (a sidecar), which wait for its startupProbe; else it"
        " has to end well before they start",
    ),
)
"""What containers that come first have in place of the fields of these names."""


def first(fields: Sequence[Field]) -> tuple[Field, ...]:
    """The fields of a container that comes first, of those of others."""
    own = {one.name: one for one in FIRST_FIELDS}
    return tuple(own.get(one.name, one) for one in fields)


PORT_FIELDS = (
    accepted(
        "containerPort",
        PORT,
        "port that the container listens on",
        required=True,
        hint="such as containerPort: 80",
    ),
    accepted("name", PORT_NAME, "name that a Service can use as its targetPort"),
    accepted("protocol", PROTOCOL, "protocol (default: TCP)"),
    silent("hostPort", "each pod has a machine of its own", PORT),
    refused("hostIP", "is not possible: a machine has one address", "leave it out"),
)

VALUE_FROM = Object(
    "ValueFrom",
    (
        accepted("configMapKeyRef", CONFIG_MAP_KEY_REF, "a value of a ConfigMap"),
        accepted(
            "secretKeyRef",
            SECRET_KEY_REF,
            "a value of a Secret: each machine is told it when it starts, and no image holds it",
        ),
        accepted("fieldRef", FIELD_REF, "a field of the pod, as each machine has it"),
        accepted("resourceFieldRef", RESOURCE_FIELD_REF, "what a container asks for or may use"),
        later("fileKeyRef"),
    ),
)
VARIABLE = Object(
    "Variable",
    (
        accepted(
            "name", Text(names.variable, names.VARIABLE, means="name"), "name of the variable", required=True
        ),
        accepted(
            "value", VALUE, "its value; `$(NAME)` is replaced by a variable before it, `$$` is a dollar"
        ),
        accepted("valueFrom", VALUE_FROM, "its parts decide"),
    ),
    hint="write - name: NAME and value: VALUE",
)
CONTAINER_PORT = Object("ContainerPort", PORT_FIELDS, hint="write - containerPort: 80")
CONTAINER = Object(
    "Container",
    (
        accepted("name", NAME, "name within the pod", required=True, hint="such as name: web"),
        accepted(
            "env",
            ListOf(VARIABLE, hint="write a list of name and value"),
            "environment, on top of the image's own",
        ),
        accepted(
            "ports",
            ListOf(CONTAINER_PORT, hint="write a list: - containerPort: 80"),
            "ports that the container listens on",
        ),
        *CONTAINER_FIELDS,
    ),
)

INIT_CONTAINER = Object("InitContainer", first(CONTAINER.fields))

AFFINITY = Object(
    "Affinity",
    (
        accepted(
            "nodeAffinity",
            NodeTerms(dict.fromkeys(ACCELERATORS, (NO_DRIVER, ELSEWHERE))),
            "warned about: there are no nodes to choose from; refused where it asks for what no machine is,"
            " such as Windows or a GPU",
        ),
        warned("podAffinity", "has no effect: each pod has a machine of its own"),
        silent("podAntiAffinity", "each pod has a machine of its own"),
    ),
)
NODE_SELECTOR = Object(
    "NodeSelector",
    (
        silent(
            "kubernetes.io/os",
            "machines run Linux",
            LINUX,
        ),
        silent(
            "beta.kubernetes.io/os",
            "machines run Linux",
            LINUX,
        ),
        accepted(
            "kubernetes.io/arch",
            Text(),
            "whose processors it runs on: another than amd64 has no effect, with a warning, but beside an"
            " instance type",
        ),
        accepted("beta.kubernetes.io/arch", Text(), "the same, by its old name"),
        accepted("node.kubernetes.io/instance-type", INSTANCE_TYPE, "which machines a cloud takes"),
        accepted("beta.kubernetes.io/instance-type", INSTANCE_TYPE, "the same, by its old name"),
        *(refused(word, NO_DRIVER, ELSEWHERE) for word in ACCELERATORS),
    ),
    others=warned("", "has no effect: there are no nodes to choose from"),
)
HOST_ALIAS = Object(
    "HostAlias",
    (
        accepted(
            "ip",
            Text(names.address, means="IP address"),
            "address",
            required=True,
            hint="such as ip: 192.0.2.1",
        ),
        accepted(
            "hostnames",
            ListOf(Text(names.dns_name, names.DNS_NAME, 253, "DNS name")),
            "names that lead to it",
        ),
    ),
    hint="write - ip: 192.0.2.1 and hostnames: [NAME]",
)
_RESTART = Choice(
    ("Always",),
    (
        ("Never", "is not possible: containers of a deployment are restarted", "use Always"),
        ("OnFailure", "is not possible: containers of a deployment are restarted", "use Always"),
    ),
)
GRACE = accepted(
    "terminationGracePeriodSeconds",
    Whole(0, INT32),
    "how long a machine that leaves has to finish its requests and its containers to end (default: 30)",
)
_DNS_OPTION = Object(
    "DnsOption",
    (
        accepted("name", Text(names.word), "such as ndots", required=True),
        accepted("value", Text(names.word), "its value"),
    ),
    hint='write - name: ndots and value: "2"',
)
_DNS_CONFIG = Object(
    "DnsConfig",
    (
        accepted(
            "nameservers", ListOf(Text(names.address, means="IP address")), "servers to ask, three at most"
        ),
        accepted(
            "searches",
            ListOf(Text(names.search, means="DNS name")),
            "what is put after a name that is not found, 32 at most",
        ),
        accepted("options", ListOf(_DNS_OPTION), "options of resolv.conf"),
    ),
)
POD_COMMON = (
    accepted(
        "imagePullSecrets",
        ListOf(Object("PullSecret", (CONFIG_NAME,)), hint="write a list: - name: NAME"),
        "Secrets with the passwords of registries; what docker login left is used where there are none",
    ),
    accepted("hostname", NAME, "the host's name in the pod (default: the machine's)"),
    accepted(
        "dnsPolicy",
        Choice(("ClusterFirst", "Default", "ClusterFirstWithHostNet", "None")),
        "None: names are looked up as dnsConfig says and in no other way; else names of services are found",
    ),
    accepted("dnsConfig", _DNS_CONFIG, "more servers and words for looking up names"),
    accepted(
        "shareProcessNamespace", Flag(), "whether containers see each other's processes (default: false)"
    ),
    accepted("hostPID", Flag(), "whether containers see all processes of the machine (default: false)"),
)
POD = Object(
    "Pod",
    (
        accepted(
            "containers",
            ListOf(CONTAINER, least=1, hint="a pod needs a container"),
            "the programs of the pod; they share localhost",
            required=True,
        ),
        accepted("restartPolicy", _RESTART, "containers are restarted with growing pauses"),
        GRACE,
        *POD_COMMON,
        accepted("volumes", ListOf(POD_VOLUME, hint="write a list of volumes"), "what containers can mount"),
        accepted(
            "initContainers",
            ListOf(INIT_CONTAINER, hint="write a list of containers"),
            "what runs before the containers, one after the other, each until it ended well",
        ),
        accepted("securityContext", POD_SECURITY, "its parts decide"),
        silent(
            "serviceAccountName",
            "there is no Kubernetes API to log in to (refused where a binding grants it rights)",
            Text(),
        ),
        silent("serviceAccount", "the old name of serviceAccountName", Text()),
        silent("automountServiceAccountToken", "there is no Kubernetes API to log in to", Flag()),
        silent("hostNetwork", "each pod has a machine of its own", Flag()),
        silent("hostIPC", "each pod has a machine of its own", Flag()),
        silent("hostUsers", "each pod has a machine of its own", Flag()),
        accepted("affinity", AFFINITY, "its parts decide"),
        silent("topologySpreadConstraints", "each pod has a machine of its own"),
        silent("tolerations", "there are no nodes"),
        accepted("nodeSelector", NODE_SELECTOR, "its parts decide"),
        silent("enableServiceLinks", "services are found by name", Flag()),
        accepted(
            "hostAliases",
            ListOf(HOST_ALIAS, hint="write a list of ip and hostnames"),
            "more lines of /etc/hosts, the same in all containers",
        ),
        accepted(
            "subdomain",
            NAME,
            "the headless Service below whose name the pod has a name of its own: HOSTNAME.SUBDOMAIN",
        ),
        warned("setHostnameAsFQDN", "has no effect: the host's name is the short one", False, type_=Flag()),
        warned("priorityClassName", "has no effect: pods do not compete for nodes"),
        warned("priority", "has no effect: pods do not compete for nodes"),
        silent("preemptionPolicy", "pods do not compete for nodes"),
        warned("schedulerName", "has no effect: there is no scheduler", "default-scheduler"),
        warned("runtimeClassName", "has no effect: every pod is isolated by a virtual machine"),
        warned("nodeName", "has no effect: there are no nodes to choose from"),
        refused("activeDeadlineSeconds", "is not possible: a deployment runs until it is destroyed"),
        refused("readinessGates", "is not possible: there is no controller that would set conditions"),
        refused("ephemeralContainers", "is not possible in a manifest"),
        warned("overhead", "has no effect: there are no nodes"),
        refused("schedulingGates", "is not possible: there is no controller that would remove them"),
        refused("resourceClaims", "is not possible: there is no controller that would serve them"),
        later("resources", "give them per container"),
        silent(
            "os",
            "machines run Linux",
            Object("OperatingSystem", (silent("name", "machines run Linux", LINUX),)),
        ),
    ),
)
