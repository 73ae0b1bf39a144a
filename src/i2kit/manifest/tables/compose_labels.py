"""The labels of a service in a compose file that count, as kompose has them. Nothing is computed here.

Source: kompose, pkg/loader/compose/utils.go, and its user guide.
"""

from collections.abc import Mapping

PREFIX = "kompose."

TYPE = "kompose.service.type"
NODE_PORT = "kompose.service.nodeport.port"
EXPOSE = "kompose.service.expose"
EXPOSE_TLS = "kompose.service.expose.tls-secret"
LIVENESS = "kompose.service.healthcheck.liveness."
READINESS = "kompose.service.healthcheck.readiness."
SIZE = "kompose.volume.size"
STORAGE_CLASS = "kompose.volume.storage-class-name"
SUB_PATH = "kompose.volume.subpath"
VOLUME_TYPE = "kompose.volume.type"
FS_GROUP = "kompose.security-context.fsgroup"
HPA = "kompose.hpa."
CRON = "kompose.cronjob."
INIT = "kompose.init.containers."
CONTROLLER = "kompose.controller.type"

_PROBE = "GET that must be answered with 200 to 399"

ACCEPTED: Mapping[str, str] = {
    TYPE: "`clusterip`; `nodeport`; `loadbalancer`: public on a cloud; `headless`: nothing is published",
    NODE_PORT: "port of this machine, of a service of type nodeport that has one port",
    EXPOSE: "an Ingress: `true`, or hosts with or without paths, such as `shop.example,shop.example/api`",
    EXPOSE_TLS: "the Secret with tls.crt and tls.key for these hosts",
    f"{LIVENESS}http_get_path": f"path of a {_PROBE}, in place of the healthcheck's test",
    f"{LIVENESS}http_get_port": "its port",
    f"{LIVENESS}tcp_port": "port that must accept connections, in place of the healthcheck's test",
    f"{READINESS}disable": "true: the healthcheck does not decide whether the machine gets requests",
    f"{READINESS}test": "command that does, in place of the healthcheck",
    f"{READINESS}http_get_path": f"path of a {_PROBE}, in place of it",
    f"{READINESS}http_get_port": "its port",
    f"{READINESS}tcp_port": "port that must accept connections, in place of it",
    f"{READINESS}interval": "how often to ask",
    f"{READINESS}timeout": "how long an answer may take",
    f"{READINESS}retries": "how many failures in a row count",
    f"{READINESS}start_period": "when to ask first",
    SIZE: "size of its disks (default: 1Gi); also a label of a volume",
    STORAGE_CLASS: "kind of its disks, on a cloud",
    SUB_PATH: "folder of its volumes that is mounted",
    VOLUME_TYPE: "`persistentVolumeClaim`; `emptyDir`: its volumes go with their machine; `configMap`: files",
    FS_GROUP: "group that its volumes belong to",
    f"{HPA}replicas.min": "the least replicas (default: 1)",
    f"{HPA}replicas.max": "the most replicas (default: 3)",
    f"{HPA}cpu": "processor time that the number of replicas follows, in percent of the reserved (or 50)",
    f"{HPA}memory": "memory, likewise (default: 70)",
    f"{CRON}schedule": "when it runs, in five fields",
    f"{CRON}concurrency_policy": "`Allow`, `Forbid` or `Replace`, where the run before has not ended",
    f"{CRON}backoff_limit": "how often it may fail (default: 6)",
    f"{INIT}image": "image of a container that runs to its end before",
    f"{INIT}command": "its command, as a list in JSON or as text",
    f"{INIT}name": "its name (default: init)",
    CONTROLLER: "`deployment`",
}
SILENT: Mapping[str, str] = {
    "kompose.image-pull-policy": "images are resolved to a digest once, at deploy",
    "kompose.image-pull-secret": "your own logins count",
    "kompose.service.expose.ingress-class-name": "there is one kind of Ingress",
    "kompose.service.external-traffic-policy": "there are no nodes",
    "kompose.controller.port.expose": "all ports of a machine can be reached by others",
}
REFUSED: Mapping[str, tuple[str, str]] = {
    "kompose.service.group": ("is not supported yet", "write a manifest with both containers"),
    "kompose.service.name_override": ("is not supported yet", "call the service so"),
    "kompose.serviceaccount-name": ("is not possible: there is no Kubernetes", "leave it out"),
}
