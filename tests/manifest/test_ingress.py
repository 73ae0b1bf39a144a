"""Ingresses of all versions: whom a request reaches, what their notes mean, and what is wrong with them."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.model import Ingress, Route
from tests.manifest.reading import POD, SERVICE, manifest, problem, problems

APP = POD + "---\n" + SERVICE + "  ports: [{name: http, port: 80}, {name: admin, port: 8081}]\n---\n"
HEAD = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web%s}\nspec:\n"
BACKEND = "{service: {name: web, port: {number: 80}}}"
RULES = f"  rules: [{{host: shop.example.com, http: {{paths: [{{path: /, pathType: Prefix, backend: {BACKEND}}}]}}}}]\n"
TLS = "  tls: [{hosts: [shop.example.com], secretName: cert}]\n"
CERT = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cert}\nstringData: {tls.crt: a, tls.key: b}\n"
ARN = "arn:aws:acm:us-east-1:123456789012:certificate/1"


def read(rest: str, notes: str = "", more: str = "") -> Ingress:
    head = HEAD % (f", annotations: {{{notes}}}" if notes else "")
    (ingress,) = manifest(APP + head + rest + more).ingresses
    return ingress


def said(rest: str, notes: str = "") -> list[str]:
    """Problems, without their file and lines."""
    head = HEAD % (f", annotations: {{{notes}}}" if notes else "")
    return [one.split(": ", 1)[1] for one in problems(APP, head + rest)]


def test_an_ingress() -> None:
    rest = """\
  defaultBackend: {service: {name: web, port: {name: http}}}
  rules:
  - host: "*.example.com"
    http:
      paths:
      - {path: /api, pathType: Prefix, backend: {service: {name: web, port: {number: 8081}}}}
      - {path: /api, pathType: Exact, backend: {service: {name: web, port: {name: admin}}}}
      - {pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}
  - host: shop.example.com
"""
    assert read(rest + TLS, more=CERT) == Ingress(
        name="web",
        rules=(
            (
                "*.example.com",
                (
                    Route("/api", False, "web", 8081),
                    Route("/api", True, "web", "admin"),
                    Route("/", False, "web", 80),
                ),
            ),
            ("shop.example.com", ()),
        ),
        default=Route("/", False, "web", "http"),
        tls=((("shop.example.com",), "cert"),),
    )


@pytest.mark.parametrize("version", ["networking.k8s.io/v1beta1", "extensions/v1beta1"])
def test_old_versions(version: str) -> None:
    text = f"""\
apiVersion: {version}
kind: Ingress
metadata: {{name: web}}
spec:
  backend: {{serviceName: web, servicePort: http}}
  rules: [{{http: {{paths: [{{path: /a/*, backend: {{serviceName: web, servicePort: 80}}}}]}}}}]
"""
    (ingress,) = manifest(APP + text).ingresses
    assert ingress.rules == (("", (Route("/a/", False, "web", 80),)),)
    assert ingress.default == Route("/", False, "web", "http")


@pytest.mark.parametrize(
    ("notes", "tls", "public", "https_only"),
    [
        ("", True, True, False),
        ("kubernetes.io/ingress.class: nginx", False, True, False),
        ("kubernetes.io/ingress.class: nginx", True, True, True),
        ("kubernetes.io/ingress.class: nginx, nginx.ingress.kubernetes.io/ssl-redirect: 'false'", True, True, False),
        ("nginx.ingress.kubernetes.io/force-ssl-redirect: 'true'", True, True, True),
        ("kubernetes.io/ingress.class: alb", True, False, False),
        ("alb.ingress.kubernetes.io/scheme: internet-facing", True, True, False),
        ("alb.ingress.kubernetes.io/scheme: internal, alb.ingress.kubernetes.io/ssl-redirect: '443'", True, False, True),
        (f"alb.ingress.kubernetes.io/certificate-arn: '{ARN}'", False, False, True),
        (f"alb.ingress.kubernetes.io/certificate-arn: '{ARN}', alb.ingress.kubernetes.io/listen-ports: '[{{\"HTTP\": 80}}, {{\"HTTPS\": 443}}]'", False, False, False),
        (f"alb.ingress.kubernetes.io/certificate-arn: '{ARN}', alb.ingress.kubernetes.io/listen-ports: '[{{\"HTTPS\":443}}]'", False, False, True),
        ("kubernetes.io/ingress.allow-http: 'false'", True, True, True),
    ],
)  # fmt: skip
def test_who_may_call_and_how(notes: str, tls: bool, public: bool, https_only: bool) -> None:
    found = read(RULES + (TLS if tls else ""), notes, CERT if tls else "")
    assert (found.public, found.https_only) == (public, https_only)
    assert (found.certificate == ARN) == (ARN in notes)


REDIRECT = (
    '{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}'
)


@pytest.mark.parametrize(
    ("action", "path", "message"),
    [
        (REDIRECT, "path: /*, pathType: ImplementationSpecific", None),
        (REDIRECT.replace("Type", "type").replace("RedirectC", "redirectC").replace("Pro", "pro"), "path: /, pathType: Prefix", None),
        (REDIRECT.replace('"P', '"Path": "/#{path}", "P', 1), "pathType: Prefix", None),
        (REDIRECT, "path: /a, pathType: Prefix", "there is no service `to-https` in namespace `default` of these files"),
        (REDIRECT, "path: /, pathType: Exact", "there is no service `to-https` in namespace `default` of these files"),
        (REDIRECT.replace("HTTPS", "HTTP"), "pathType: Prefix", "changes what callers get, and is not supported"),
        (REDIRECT.replace('"P', '"Host": "b.example.com", "P', 1), "pathType: Prefix", "changes what callers get, and is not supported"),
        ('{"Type": "fixed-response"}', "pathType: Prefix", "changes what callers get, and is not supported"),
        ("[1", "pathType: Prefix", "changes what callers get, and is not supported"),
    ],
)  # fmt: skip
def test_a_backend_that_is_a_redirect_to_https(action: str, path: str, message: str | None) -> None:
    backend = "{service: {name: to-https, port: {name: use-annotation}}}"
    rules = RULES.replace("paths: [", f"paths: [{{{path}, backend: {backend}}}, ")
    notes = f"alb.ingress.kubernetes.io/actions.to-https: '{action}', alb.ingress.kubernetes.io/certificate-arn: '{ARN}', "
    notes += 'alb.ingress.kubernetes.io/listen-ports: \'[{"HTTP": 80}, {"HTTPS": 443}]\''
    if message:
        assert any(message in one for one in said(rules, notes))
    else:
        found = read(rules, notes)
        assert found.https_only
        assert found.rules == (("shop.example.com", (Route("/", False, "web", 80),)),)


def test_notes_of_comfort_are_told_or_change_nothing() -> None:
    notes = (
        "nginx.ingress.kubernetes.io/proxy-body-size: 8m, nginx.ingress.kubernetes.io/proxy-read-timeout: '60',"
        " nginx.ingress.kubernetes.io/rewrite-target: /, cert-manager.io/cluster-issuer: le,"
        " alb.ingress.kubernetes.io/target-type: ip, alb.ingress.kubernetes.io/healthcheck-path: /h, a.b/c: d"
    )
    found = manifest(APP, HEAD % f", annotations: {{{notes}}}" + RULES)
    assert [one.split(": ", 1)[1] for one in found.warnings] == [
        'metadata.annotations."nginx.ingress.kubernetes.io/proxy-read-timeout": has no effect: the provider\'s load balancer has its own',
        'metadata.annotations."cert-manager.io/cluster-issuer": has no effect: nothing issues certificates; give the secret of `tls` with --secret',
    ]


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("nginx.ingress.kubernetes.io/rewrite-target: /$1", "changes what pods get, and is not supported\n  hint: let the application do it"),
        ("nginx.ingress.kubernetes.io/configuration-snippet: 'deny all;'", "changes what callers get, and is not supported\n  hint: let the application do it, or leave it out"),
        ("nginx.ingress.kubernetes.io/auth-url: 'http://a/b'", "keeps callers out, and is not supported\n  hint: let the application do it, or leave it out"),
        ("nginx.ingress.kubernetes.io/auth-brand-new: x", "is not known, and may change what callers get\n  hint: leave it out"),
        ("nginx.ingress.kubernetes.io/backend-protocol: GRPC", "is not supported: pods are called by HTTP"),
        ("nginx.ingress.kubernetes.io/canary: 'true'", "changes what callers get, and is not supported\n  hint: let the application do it, or leave it out"),
        ("nginx.ingress.kubernetes.io/canary: 'false'", None),
        ("alb.ingress.kubernetes.io/inbound-cidrs: 10.0.0.0/8", "keeps callers out, and is not supported\n  hint: protect the load balancer in another way, or leave it out"),
        ("alb.ingress.kubernetes.io/actions.x: '{}'", "changes what callers get, and is not supported\n  hint: a redirect to HTTPS is ssl-redirect: '443'"),
        ("ingress.kubernetes.io/rewrite-target: /b", "is not known, and may change what callers get\n  hint: leave it out"),
        ("alb.ingress.kubernetes.io/listen-ports: '[{\"HTTP\": 8080}]'", "`HTTP: 8080` is not supported: HTTP has port 80, HTTPS 443"),
        ("alb.ingress.kubernetes.io/listen-ports: '80'", "`80` is not a list of ports\n  hint: such as [{\"HTTPS\": 443}]"),
        ("alb.ingress.kubernetes.io/target-group-attributes: 'stickiness.enabled=true'", "with stickiness changes what callers get, and is not supported\n  hint: a Service with sessionAffinity: ClientIP keeps callers on a machine"),
        ("alb.ingress.kubernetes.io/certificate-arn: x", "`x` is not the ARN of a certificate\n  hint: such as arn:aws:acm:us-east-1:123456789012:certificate/…"),
        ("konghq.com/strip-path: 'true'", "is not known, and may change what callers get\n  hint: leave it out"),
    ],
)  # fmt: skip
def test_notes_that_change_what_callers_get_are_refused(note: str, message: str | None) -> None:
    name = note.split(": ")[0]
    assert said(RULES, note) == ([f'metadata.annotations."{name}": {message}'] if message else [])


AT = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pathType: Prefix, ", "", f"{AT}: `pathType` is missing\n  hint: write pathType: Prefix"),
        ("path: /", "path: api", f"{AT}.path: `api` does not begin with `/`\n  hint: use `/api`"),
        ("path: /", "path: /a//b", f"{AT}.path: `/a//b` has `//` in it"),
        ("path: /, pathType: Prefix", "path: /a(/|$)(.*), pathType: ImplementationSpecific", f"{AT}.path: `/a(/|$)(.*)` looks like a regular expression: paths are beginnings, or exact\n  hint: such as path: /api"),
        ("name: web", "name: wbe", f"{AT}.backend.service.name: there is no service `wbe` in namespace `default` of these files\n  hint: give its file too, with another -f"),
        ("number: 80", "number: 81", f"{AT}.backend.service.port.number: service `web` has no port `81`\n  hint: it has 80 (http), 8081 (admin)"),
        ("number: 80", "name: htpp", f"{AT}.backend.service.port.name: service `web` has no port `htpp`\n  hint: it has 80 (http), 8081 (admin)"),
        ("number: 80", "number: 80, name: http", f"{AT}.backend.service.port: has both a number and a name\n  hint: such as port: {{number: 80}}"),
        ("{number: 80}", "{}", f"{AT}.backend.service.port: has neither a number nor a name\n  hint: such as port: {{number: 80}}"),
        ("{service: {name: web, port: {number: 80}}}", "{resource: {kind: Bucket, name: a}}", f"{AT}.backend.resource: is not possible: a request leads to a Service\n  hint: use service"),
        ("{service: {name: web, port: {number: 80}}}", "{}", f"{AT}.backend: `service` is missing\n  hint: write service: {{name: NAME, port: {{number: 80}}}}"),
        ("shop.example.com", "192.0.2.1", "spec.rules[0].host: `192.0.2.1` is an address, and a host is called by its name\n  hint: leave it out for any host"),
        ("shop.example.com", '"*"', "spec.rules[0].host: `*` is not a DNS label: `*` is not allowed\n  hint: use lower case letters, digits and `-`"),
        ("  rules", "  tls: []\n  rulse", "spec.rulse: is not a known field\n  hint: did you mean `rules`?"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(old: str, new: str, message: str) -> None:
    assert said(RULES.replace(old, new))[-1:] == [message]


def test_nothing_that_answers() -> None:
    assert said("  tls: []\n") == [
        "spec: has neither `rules` nor `defaultBackend`, so nothing would answer\n  hint: write rules: with hosts and paths"
    ]


def test_a_path_leads_to_one_service() -> None:
    one = HEAD % "" + RULES
    two = one.replace("name: web}", "name: two}", 1).replace("number: 80", "number: 8081")
    assert problem(APP, one, two) == (
        "c.yml:5:105: spec.rules[0].http.paths[0].backend.service.name: the path `/` of host `shop.example.com` is given"
        " twice; the first is at b.yml:5:105\n  hint: leave one of them"
    )
    assert problems(APP, one, two.replace("shop", "pay")) == []
    assert problem(APP, one, one.replace("path: /", "path: /b")).startswith(
        "c.yml:3:18: the Ingress `default/web` is given twice"
    )


def test_tls_without_a_secret_is_no_tls() -> None:
    found = manifest(APP, HEAD % "" + RULES + "  tls: [{hosts: [a.example.com]}]\n")
    assert found.ingresses[0].tls == ()
    assert found.warnings == (
        "b.yml:6:9: spec.tls[0]: has no secretName, so that there is no certificate: its hosts are called by HTTP only",
    )


def test_a_secret_that_is_missing() -> None:
    (message,) = said(RULES + TLS)
    assert message.startswith(
        "spec.tls.secretName: Secret `cert` is in none of these files; needed of it: `tls.crt`, `tls.key`"
    )
