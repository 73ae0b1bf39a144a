"""Compose files: each service becomes a Workload, found by its name, and what is in front of it.

In: documents, and what lies around them. Out: values, gathered in a Reading. What compose says of volumes
and networks is told where a service uses it. Opens nothing: Around does. Pure.

  interpolation   variables in values, files of variables
  filling         nodes with variables filled in
  merging         two files, or two services, as one
  moving          what another file says, as if it were said here
  project         several files, and those that they name → one project of nodes
  types           the kinds of values in the table of every key (tables.compose_fields)
  service         a service → a Workload (with ports, disks, networks, labels)
"""

from collections.abc import Iterable, Iterator, Sequence

from i2kit.errors import Position
from i2kit.manifest.around import Around
from i2kit.manifest.compose.disks import Disks
from i2kit.manifest.compose.networks import Networks
from i2kit.manifest.compose.project import project
from i2kit.manifest.compose.service import Found, Reader
from i2kit.manifest.log import Log, join
from i2kit.manifest.places import shown
from i2kit.manifest.reading import Reading
from i2kit.manifest.source import MappingNode
from i2kit.manifest.tables import compose_fields


def read(nodes: Sequence[MappingNode], reading: Reading, log: Log, around: Around) -> None:
    """Add the services of compose files, which are one project, to the reading."""
    found = services(nodes, around, log)
    for each in found:
        log.take(each.log)
        reading.complete = reading.complete and each.workload is not None
        reading.workloads.extend(each.reading.workloads)
        reading.needs.extend(each.reading.needs)
        reading.services.extend(each.reading.services)
        reading.secrets.extend(each.reading.secrets)
        reading.policies.extend(each.reading.policies)
        reading.scalers.extend(each.reading.scalers)
        reading.ingresses.extend(each.reading.ingresses)
        reading.routes.extend(each.reading.routes)


def services(nodes: Sequence[MappingNode], around: Around, log: Log) -> tuple[Found, ...]:
    """Each service of a project with its own log and reading, after those that it depends on.

    Those whose profiles are not asked for are left out, which is in the log.
    """
    one = project(nodes, around, log)
    found = []
    for name, (position, node) in one.services.items():
        path = join("services", name)
        mine = Found(name, position, one.logs[name])
        if name in one.left_out:
            hint = "its profiles are not asked for; COMPOSE_PROFILES=NAME asks for one"
            log.warn(position, path, f"is left out: {hint}")
            continue
        mine.record = compose_fields.SERVICE.read(node, path, mine.log)
        found.append(mine)
    for name in one.logs.keys() - one.services.keys():
        found.append(Found(name, one.position, one.logs[name]))
    records = {each.name: each.record for each in found if each.record}
    networks, disks = Networks(one, records), Disks(one, records)
    for each in found:
        if each.record is not None:
            Reader(one, around, each, each.record, found, networks, disks).read()
    _unique_ports(found)
    return tuple(_in_order(found, log))


def _in_order(found: Sequence[Found], log: Log) -> list[Found]:
    """What others depend on comes first."""
    by_name = {each.name: each for each in found}
    done: dict[str, Found] = {}
    for start in found:
        path: list[tuple[Found, Iterator[str]]] = [(start, _needed(start))]
        while path:
            each, needs = path[-1]
            if each.name in done:
                path.pop()
                continue
            other = next((by_name[name] for name in needs if name in by_name and name not in done), None)
            if other is None:
                done[each.name] = each
                path.pop()
            elif any(other is above for above, _ in path):
                circle = " → ".join([above.name for above, _ in path] + [other.name])
                log.problem(each.position, join("services", each.name), f"depends on itself: {shown(circle)}")
                done[each.name] = each
            else:
                path.append((other, _needed(other)))
    return list(done.values())


def _needed(each: Found) -> Iterator[str]:
    if each.record:
        yield from (name for name, _ in each.record.named("depends_on"))
        yield from (link.partition(":")[0] for link in each.record.items("links"))


def _unique_ports(found: Iterable[Found]) -> None:
    """A port of this machine leads to one service."""
    first: dict[tuple[str, int], tuple[str, Position]] = {}
    for each in found:
        for port in each.ports:
            key = (port.protocol, port.published or 0)
            if port.published is None or each.name == first.get(key, (each.name,))[0]:
                first.setdefault(key, (each.name, port.position))
                continue
            other, where = first[key]
            message = f"port {port.published} is published by `{other}` already, at {where}"
            each.log.problem(port.position, port.path, message, "use another port")
