"""Ingresses: which Service answers a request, by its host and path.

In: one document as a record. Out: an Ingress, gathered in a Reading with the places of its routes; then, when
all Services are there, problems with where its routes lead. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from i2kit.errors import Position
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.reading import FoundRoute, Reading
from i2kit.manifest.tables import ingress_fields as table
from i2kit.manifest.tables.shape import Record
from i2kit.model import Ingress, Route, Service

_REGEX = re.compile(r"[][()*?$^|\\+{}]")


def ingress(record: Record, version: str, reading: Reading, log: Log) -> None:
    """An Ingress of any version."""
    metadata, spec = record.record("metadata"), record.record("spec")
    if not (metadata and spec):
        return
    notes = metadata.record("annotations")
    namespace, name = metadata.text("namespace") or "default", metadata.text("name") or ""
    default_name = "defaultBackend" if version in table.VERSIONS else "backend"
    if not (spec.has("rules") or spec.has(default_name)):
        message = f"has neither `rules` nor `{default_name}`, so nothing would answer"
        log.problem(spec.position, spec.path, message, "write rules: with hosts and paths")
    found: list[FoundRoute] = []
    rules = []
    said = _Said(notes, spec)
    for rule in spec.items("rules"):
        host = rule.text("host") or ""
        routes = list(_routes(rule, f"{namespace}/{name}", host, said.redirects, log))
        if rule.is_wrong("host"):
            continue
        found.extend(routes)
        rules.append((host, tuple(one.route for one in routes)))
    default = spec.record(default_name)
    leads = _backend(default, "/", False, log) if default else None
    if leads and default:
        found.append(FoundRoute(f"{namespace}/{name}", None, leads[0], *leads[1:]))
    tls = tuple(_tls(spec, said.certificate, log))
    secure = bool(tls or said.certificate)
    reading.ingresses.append(
        Ingress(
            name=name,
            rules=tuple(rules),
            namespace=namespace,
            default=leads[0] if leads else None,
            tls=tls,
            certificate=said.certificate,
            public=said.public,
            https_only=secure and said.https_only,
            position=metadata.place("name"),
        )
    )
    reading.routes.extend(found)
    _check_notes(notes, spec, log)


def check(route: FoundRoute, services: Mapping[str, Service], aliases: Iterable[str], log: Log) -> None:
    """Whether a route leads to a port of a Service; `services` are all there are, by key."""
    namespace = route.ingress.partition("/")[0]
    key = f"{namespace}/{route.route.service}"
    if key in aliases:
        message = f"`{route.route.service}` is another name only, with nobody behind it here"
        log.problem(route.position, route.path, message, "use a Service with a selector")
    elif (service := services.get(key)) is None:
        near = [one.name for one in services.values() if one.namespace == namespace]
        hint = did_you_mean(route.route.service, near[:100]) or "give its file too, with another -f"
        message = f"there is no service `{route.route.service}` in namespace `{namespace}` of these files"
        log.problem(route.position, route.path, message, hint)
    else:
        ports = [one for one in service.ports if one.protocol == "TCP"]
        if route.route.port not in [one.number for one in ports] + [one.name for one in ports if one.name]:
            words = ", ".join(str(one.number) + (f" ({one.name})" if one.name else "") for one in ports)
            message = f"service `{service.name}` has no port `{route.route.port}`"
            log.problem(route.port, route.port_path, message, f"it has {words}" if words else None)


def check_twice(routes: Iterable[FoundRoute], ingresses: Iterable[Ingress], log: Log) -> None:
    """A host and a path can lead to one Service only; internal load balancers are apart from public ones."""
    public = {one.key: one.public for one in ingresses}
    first: dict[tuple[object, ...], FoundRoute] = {}
    for one in routes:
        if one.host is None:
            continue
        path = one.route.path if one.route.exact else one.route.path.rstrip("/")
        key = one.host.lower(), path, one.route.exact, public.get(one.ingress)
        if key not in first:
            first[key] = one
            continue
        where = f" of host `{one.host}`" if one.host else ""
        there = first[key].position
        message = f"the path `{shown(one.route.path)}`{where} is given twice; the first is at {there}"
        log.problem(one.position, one.path, message, "leave one of them")


class _Said:
    """What the notes and the class say, with the defaults of the controllers that they are for."""

    def __init__(self, notes: Record | None, spec: Record) -> None:
        self._notes = notes
        kind = spec.text("ingressClassName") or self._text(table.CLASS) or ""
        ours = tuple(notes.places) if notes else ()
        self._nginx = "nginx" in kind or any(name.startswith(table.NGINX) for name in ours)
        self._alb = kind == "alb" or any(name.startswith(table.ALB) for name in ours)

    def _text(self, name: str) -> str | None:
        return self._notes.text(name) if self._notes else None

    @property
    def public(self) -> bool:
        scheme = self._text(table.SCHEME)
        return scheme == "internet-facing" if scheme or self._alb else True

    @property
    def certificate(self) -> str | None:
        return self._text(table.CERTIFICATE)

    @property
    def redirects(self) -> frozenset[str]:
        """The backends that are notes which send callers to HTTPS."""
        actions = (
            [name for name in self._notes.places if name.startswith(table.ACTIONS)] if self._notes else []
        )
        return frozenset(
            name.removeprefix(table.ACTIONS) for name in actions if _is_redirect(self._text(name) or "")
        )

    @property
    def https_only(self) -> bool:
        redirects = [text for name in table.REDIRECTS if (text := self._text(name))]
        if redirects:
            return "true" in redirects
        if self._text(table.ALLOW_HTTP) == "false" or self._text(table.ALB_REDIRECT) or self.redirects:
            return True
        ports = self._text(table.ALB_PORTS)
        if ports is not None:
            return '"HTTP"' not in ports
        return self._nginx or self.certificate is not None


def _is_redirect(action: str) -> bool:
    """Whether an action of a load balancer of AWS sends a caller to the same address by HTTPS."""
    import json  # few Ingresses have any

    try:
        found = json.loads(action)
    except (ValueError, RecursionError):
        return False
    to = _lowered(_lowered(found).pop("redirectconfig", None))
    status = str(to.pop("statuscode", ""))
    same = {"protocol": "https", "port": "443", "host": "#{host}", "path": "/#{path}", "query": "#{query}"}
    return (
        str(_lowered(found).get("type")).lower() == "redirect"
        and status in ("HTTP_301", "HTTP_302")
        and to.get("protocol") is not None
        and all(str(value).lower() == same.get(name, "") for name, value in to.items())
    )


def _lowered(value: object) -> dict[str, object]:
    """A mapping by its keys in lower case: the controller takes `Type` and `type`."""
    return {str(key).lower(): each for key, each in value.items()} if isinstance(value, dict) else {}


def _routes(rule: Record, key: str, host: str, redirects: frozenset[str], log: Log) -> Iterator[FoundRoute]:
    http = rule.record("http")
    for record in http.items("paths") if http else ():
        kind, path = record.text("pathType") or "ImplementationSpecific", record.text("path") or "/"
        if record.is_wrong("path"):
            continue
        if kind == "ImplementationSpecific" and path.endswith("/*"):
            path = path.removesuffix("*")  # load balancers of clouds write prefixes so
        elif kind == "ImplementationSpecific" and _REGEX.search(path):
            message = f"`{shown(path)}` looks like a regular expression: paths are beginnings, or exact"
            log.problem(record.place("path"), record.at("path"), message, "such as path: /api")
            continue
        backend = record.record("backend")
        if backend and (leads := _backend(backend, path, kind == "Exact", log)):
            route = leads[0]
            if not (
                route.port == table.BY_ACTION
                and route.service in redirects
                and (path, kind != "Exact") == ("/", True)
            ):
                yield FoundRoute(key, host, *leads)


def _backend(
    record: Record, path: str, exact: bool, log: Log
) -> tuple[Route, Position, str, Position, str] | None:
    """Where a backend leads, and where its Service and its port are written."""
    if record.text("serviceName"):
        name, port = record.text("serviceName"), record.values.get("servicePort")
        port_holder, port_name = record, "servicePort"
        place = record.place("serviceName"), record.at("serviceName")
    else:
        service = record.record("service")
        if service is None:
            if not (record.has("service") or record.has("serviceName") or record.has("resource")):
                hint = "write service: {name: NAME, port: {number: 80}}"
                log.problem(record.position, record.path, "`service` is missing", hint)
            return None
        found = service.record("port")
        if found is None:
            return None
        given = [one for one in ("number", "name") if found.has(one)]
        if len(given) != 1:
            message = "has both a number and a name" if given else "has neither a number nor a name"
            log.problem(found.position, found.path, message, "such as port: {number: 80}")
            return None
        name, port = service.text("name"), found.values.get(given[0])
        port_holder, port_name = found, given[0]
        place = service.place("name"), service.at("name")
    if not name or not isinstance(port, int | str) or isinstance(port, bool):
        return None
    return Route(path, exact, name, port), *place, port_holder.place(port_name), port_holder.at(port_name)


def _tls(spec: Record, certificate: str | None, log: Log) -> Iterator[tuple[tuple[str, ...], str]]:
    for record in spec.items("tls"):
        secret = record.text("secretName")
        if secret:
            yield record.items("hosts"), secret
        elif not certificate and not record.is_wrong("secretName"):
            message = "has no secretName, so that there is no certificate: its hosts are called by HTTP only"
            log.warn(record.position, record.path, message)


def _check_notes(notes: Record | None, spec: Record, log: Log) -> None:
    if notes is None:
        return
    paths = {
        path.text("path") or "/"
        for rule in spec.items("rules")
        if (http := rule.record("http"))
        for path in http.items("paths")
    }
    target = notes.text(table.REWRITE)
    if target and paths != {target}:
        message = "changes what pods get, and is not supported"
        log.refuse(notes.place(table.REWRITE), notes.at(table.REWRITE), message, "let the application do it")
    for name in notes.places:
        if name.startswith(table.ACTIONS) and not _is_redirect(notes.text(name) or ""):
            message = "changes what callers get, and is not supported"
            log.refuse(
                notes.place(name), notes.at(name), message, "a redirect to HTTPS is ssl-redirect: '443'"
            )
    if (attributes := notes.text(table.ALB_TARGETS)) is not None:
        place = notes.place(table.ALB_TARGETS), notes.at(table.ALB_TARGETS)
        if "stickiness.enabled=true" in attributes.replace(" ", ""):
            hint = "a Service with sessionAffinity: ClientIP keeps callers on a machine"
            log.refuse(*place, "with stickiness changes what callers get, and is not supported", hint)
        else:
            log.warn(*place, "has no effect: the provider's load balancer has its own")
