"""The part of the table in `fields` for Ingresses, in all of their versions, and for what their notes say.

Notes that change what callers get are refused where they cannot be had; those that make it faster, larger
or longer are warned about. Nothing is computed here either.
"""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.meta_fields import META, OTHER_NAME, document
from i2kit.manifest.tables.scalars import Choice, NumberOrName, Text
from i2kit.manifest.tables.shape import Field, ListOf, Object
from i2kit.manifest.tables.table import NAME, PORT, PORT_NAME, accepted, refused, silent, warned

ALB = "alb.ingress.kubernetes.io/"
NGINX = "nginx.ingress.kubernetes.io/"
CLASS = "kubernetes.io/ingress.class"
SCHEME = f"{ALB}scheme"
CERTIFICATE = f"{ALB}certificate-arn"
ALB_REDIRECT = f"{ALB}ssl-redirect"
ALB_PORTS = f"{ALB}listen-ports"
ALB_TARGETS = f"{ALB}target-group-attributes"
REWRITE = f"{NGINX}rewrite-target"
ACTIONS = f"{ALB}actions."
BY_ACTION = "use-annotation"
"""In place of a port: what a note says is done, not a Service."""

OLD = "ingress.kubernetes.io/"
"""Of several controllers, before each had a prefix of its own."""

REDIRECTS = tuple(f"{prefix}{word}ssl-redirect" for prefix in (NGINX, OLD) for word in ("", "force-"))
ALLOW_HTTP = "kubernetes.io/ingress.allow-http"

_CHANGES = "changes what callers get, and is not supported"
_GUARDS = "keeps callers out, and is not supported"
_TUNES = "has no effect: the provider's load balancer has its own"
_FLAG = Choice(("true", "false"))
_DNS = "has no effect: make the names lead to the load balancer, which i2kit status shows"
_NO_ISSUER = "has no effect: nothing issues certificates; give the secret of `tls` with --secret"


def _of(prefix: str, verdict: str, about: str, text: str, *, hint: str | None = None) -> tuple[Field, ...]:
    """One verdict on many notes, by the ends of their names."""
    if verdict == "refused":
        return tuple(refused(f"{prefix}{word}", about, hint, "false") for word in text.split())
    if verdict == "warned":
        return tuple(warned(f"{prefix}{word}", about, type_=Text()) for word in text.split())
    return tuple(silent(f"{prefix}{word}", about, Text()) for word in text.split())


_ALB_NOTES = (
    accepted(SCHEME, Choice(("internal", "internet-facing")), "whether it is public (default: internal)"),
    accepted(
        CERTIFICATE,
        Text(names.certificate, names.CERTIFICATE, 2048, "ARN"),
        "what a cloud ends TLS with; without listen-ports, callers by HTTP are sent to HTTPS then",
    ),
    accepted(ALB_REDIRECT, Choice(("443",)), "callers by HTTP are sent to HTTPS"),
    accepted(
        ALB_PORTS,
        Text(names.listen_ports, means='`[{"HTTP": 80}, {"HTTPS": 443}]`, or one of both'),
        "where it listens; without HTTP, callers by HTTP are sent to HTTPS",
    ),
    accepted(ALB_TARGETS, Text(), "warned about; stickiness is refused: a Service has sessionAffinity"),
    refused(f"{ALB}backend-protocol", "is not supported: pods are called by HTTP", "leave it out", "HTTP"),
    refused(
        f"{ALB}backend-protocol-version",
        "is not supported: pods are called by HTTP/1.1",
        "leave it out",
        "HTTP1",
    ),
    warned(
        f"{ALB}ip-address-type",
        "has no effect: machines have IPv4 addresses",
        "ipv4",
        type_=Choice(("ipv4", "dualstack", "dualstack-without-public-ipv4")),
    ),
    *_of(
        ALB,
        "silent",
        "machines are asked whether they are ready",
        "healthcheck-path healthcheck-port healthcheck-protocol healthcheck-interval-seconds"
        " healthcheck-timeout-seconds healthy-threshold-count unhealthy-threshold-count success-codes",
    ),
    *_of(ALB, "silent", "machines are the targets", "target-type target-node-labels"),
    *_of(
        ALB,
        "silent",
        "Ingresses share a load balancer as the provider sees fit",
        "group.name group.order manage-backend-security-group-rules",
    ),
    *_of(
        ALB,
        "warned",
        _TUNES,
        "load-balancer-attributes load-balancer-name tags subnets ssl-policy minimum-load-balancer-capacity",
    ),
    *_of(
        ALB,
        "refused",
        _GUARDS,
        "inbound-cidrs security-groups wafv2-acl-arn wafv2-acl-name waf-acl-id shield-advanced-protection"
        " mutual-authentication security-group-prefix-lists",
        hint="protect the load balancer in another way, or leave it out",
    ),
)
_NGINX_NOTES = (
    *(
        accepted(name, _FLAG, "true: callers by HTTP are sent to HTTPS (of nginx, the default with TLS)")
        for name in REDIRECTS
    ),
    accepted(REWRITE, Text(), "the same as the path: no effect; else refused: it changes what pods get"),
    refused(
        f"{NGINX}backend-protocol", "is not supported: pods are called by HTTP", None, "HTTP", "AUTO_HTTP"
    ),
    refused(
        f"{NGINX}use-regex", "is not supported: paths are beginnings, or exact", "write plain paths", "false"
    ),
    refused(
        f"{NGINX}affinity", _CHANGES, "a Service with sessionAffinity: ClientIP keeps callers on a machine"
    ),
    *_of(NGINX, "silent", "there is no limit to it", "proxy-body-size client-max-body-size"),
    *_of(OLD, "silent", "there is no limit to it", "proxy-body-size"),
    *_of(
        OLD,
        "warned",
        _TUNES,
        "proxy-read-timeout proxy-send-timeout proxy-connect-timeout proxy-buffering proxy-request-buffering",
    ),
    *_of(NGINX, "silent", "is of use with `affinity` only", "affinity-mode affinity-canary-behavior"),
    *_of(
        NGINX,
        "silent",
        "is of use with `affinity` only",
        "session-cookie-name session-cookie-path session-cookie-expires session-cookie-max-age"
        " session-cookie-secure session-cookie-samesite session-cookie-change-on-failure"
        " session-cookie-domain",
    ),
    *_of(NGINX, "silent", "machines are called themselves", "service-upstream"),
    *_of(
        NGINX,
        "warned",
        _TUNES,
        "proxy-read-timeout proxy-send-timeout proxy-connect-timeout proxy-next-upstream"
        " proxy-next-upstream-timeout proxy-next-upstream-tries proxy-buffering proxy-buffer-size"
        " proxy-buffers-number proxy-busy-buffers-size proxy-max-temp-file-size proxy-request-buffering"
        " proxy-http-version client-body-buffer-size client-body-timeout enable-access-log enable-rewrite-log"
        " enable-opentracing enable-opentelemetry load-balance http2-push-preload ssl-ciphers"
        " ssl-prefer-server-ciphers connection-proxy-header websocket-services",
    ),
    *_of(
        NGINX,
        "refused",
        _GUARDS,
        "auth-url auth-signin auth-type auth-secret auth-realm auth-tls-secret whitelist-source-range"
        " allowlist-source-range denylist-source-range limit-rps limit-rpm limit-connections limit-rate"
        " limit-rate-after limit-whitelist enable-modsecurity enable-owasp-core-rules modsecurity-snippet"
        " satisfy",
        hint="let the application do it, or leave it out",
    ),
    *_of(
        NGINX,
        "refused",
        _CHANGES,
        "configuration-snippet server-snippet stream-snippet canary canary-weight canary-by-header app-root"
        " permanent-redirect permanent-redirect-code temporal-redirect from-to-www-redirect server-alias"
        " ssl-passthrough upstream-vhost upstream-hash-by x-forwarded-prefix enable-cors custom-http-errors"
        " default-backend mirror-target custom-headers proxy-cookie-domain proxy-cookie-path"
        " proxy-redirect-from proxy-redirect-to",
        hint="let the application do it, or leave it out",
    ),
)
_OTHER_NOTES = (
    accepted(
        CLASS,
        Text(),
        "`nginx` and `alb` decide what is the default of the notes below; the provider's load balancer"
        " answers for any class",
    ),
    accepted(ALLOW_HTTP, _FLAG, "false: callers by HTTP are sent to HTTPS"),
    warned("kubernetes.io/tls-acme", _NO_ISSUER, "false"),
    *_of(
        "kubernetes.io/ingress.",
        "warned",
        "has no effect: the provider gives the address",
        "global-static-ip-name regional-static-ip-name",
    ),
    warned("ingress.gcp.kubernetes.io/pre-shared-cert", _NO_ISSUER),
    warned("networking.gke.io/managed-certificates", _NO_ISSUER),
    *_of("traefik.ingress.kubernetes.io/router.", "warned", _TUNES, "entrypoints tls priority"),
)
_REFUSED_HERE = refused("", "is not known, and may change what callers get", "leave it out", "false")
INGRESS_NOTES = Object(
    "IngressAnnotations",
    (*_OTHER_NOTES, *_ALB_NOTES, *_NGINX_NOTES),
    others=silent("", "notes for other tools", Text(null=True)),
    families=(
        ("cert-manager.io/", warned("", _NO_ISSUER)),
        ("acme.cert-manager.io/", warned("", _NO_ISSUER)),
        ("certmanager.k8s.io/", warned("", _NO_ISSUER)),
        ("external-dns.alpha.kubernetes.io/", warned("", _DNS)),
        (
            ACTIONS,
            accepted(
                "", Text(), "a redirect to HTTPS of all paths (its backend is no Service); else refused"
            ),
        ),
        *(
            (family, _REFUSED_HERE)
            for family in (
                ALB,
                NGINX,
                OLD,
                "nginx.org/",
                "nginx.com/",
                "traefik.ingress.kubernetes.io/",
                "haproxy.org/",
                "haproxy-ingress.github.io/",
                "appgw.ingress.kubernetes.io/",
                "konghq.com/",
                "networking.gke.io/",
                "projectcontour.io/",
            )
        ),
    ),
)
INGRESS_METADATA = Object(
    "IngressMetadata", (OTHER_NAME, *META, accepted("annotations", INGRESS_NOTES, "its parts decide"))
)

_HOST = Text(names.ingress_host, rf"(\*\.)?{names.DNS_NAME}", 253, "DNS name, or `*.` and one")
_NO_RESOURCE = refused("resource", "is not possible: a request leads to a Service", "use service")
BACKEND = Object(
    "IngressBackend",
    (
        accepted(
            "service",
            Object(
                "IngressService",
                (
                    accepted("name", NAME, "a Service of the same namespace and files", required=True),
                    accepted(
                        "port",
                        Object(
                            "IngressServicePort",
                            (
                                accepted("number", PORT, "port of the Service, by number"),
                                accepted("name", PORT_NAME, "or by name"),
                            ),
                        ),
                        "which of its ports",
                        required=True,
                        hint="such as port: {number: 80}",
                    ),
                ),
            ),
            "who answers",
        ),
        _NO_RESOURCE,
    ),
    hint="write service: {name: NAME, port: {number: 80}}",
)
OLD_BACKEND = Object(
    "IngressBackendV1beta1",
    (
        accepted("serviceName", NAME, "a Service of the same namespace and files", required=True),
        accepted("servicePort", NumberOrName(), "port of the Service, by number or name", required=True),
        _NO_RESOURCE,
    ),
    hint="write serviceName: NAME and servicePort: 80",
)
_PATH = accepted(
    "path",
    Text(names.ingress_path, means="path"),
    "what is asked for; the longest that fits counts (default: `/`)",
)
_TYPES = Choice(("Prefix", "Exact", "ImplementationSpecific"))
_TYPE = "Prefix: the path and all below it; Exact: only itself; ImplementationSpecific: as Prefix"
_TLS = Object(
    "IngressTls",
    (
        accepted("hosts", ListOf(_HOST, hint="write a list of names"), "names that are called by HTTPS, too"),
        accepted(
            "secretName",
            Text(names.class_name, means="name"),
            "Secret with `tls.crt` and `tls.key`, from these files or from --secret",
        ),
    ),
    hint="write - hosts: [NAME] and secretName: NAME",
)


def _ingress(title: str, versions: tuple[str, ...], backend: Object, path: Object, default: str) -> Object:
    rule = Object(
        f"{title}Rule",
        (
            accepted("host", _HOST, "name that is called (default: any)"),
            accepted(
                "http",
                Object(
                    f"{title}Http",
                    (accepted("paths", ListOf(path, least=1), "who answers, by path", required=True),),
                ),
                "who answers",
            ),
        ),
    )
    spec = Object(
        f"{title}Spec",
        (
            accepted("rules", ListOf(rule, hint="write a list of rules"), "who answers, by host and path"),
            accepted(default, backend, "who answers what no rule is for"),
            accepted(
                "tls", ListOf(_TLS, hint="write a list of hosts and secretName"), "what is called by HTTPS"
            ),
            accepted(
                "ingressClassName", Text(names.class_name, means="name"), "the same as the note ingress.class"
            ),
        ),
    )
    shape = document("Ingress", versions, INGRESS_METADATA, spec, "who answers")
    return Object(title, shape.fields)


VERSIONS = ("networking.k8s.io/v1",)
OLD_VERSIONS = ("networking.k8s.io/v1beta1", "extensions/v1beta1")
INGRESSES: tuple[tuple[tuple[str, ...], Object], ...] = (
    (
        VERSIONS,
        _ingress(
            "Ingress",
            VERSIONS,
            BACKEND,
            Object(
                "IngressPath",
                (
                    _PATH,
                    accepted("pathType", _TYPES, _TYPE, required=True, hint="write pathType: Prefix"),
                    accepted("backend", BACKEND, "who answers", required=True),
                ),
            ),
            "defaultBackend",
        ),
    ),
    (
        OLD_VERSIONS,
        _ingress(
            "IngressV1beta1",
            OLD_VERSIONS,
            OLD_BACKEND,
            Object(
                "IngressPathV1beta1",
                (
                    _PATH,
                    accepted("pathType", _TYPES, f"{_TYPE} (the default)"),
                    accepted("backend", OLD_BACKEND, "who answers", required=True),
                ),
            ),
            "backend",
        ),
    ),
)
