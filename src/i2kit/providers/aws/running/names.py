"""Records of machines in the hosted zone, which machines write themselves: those of machines that are gone.

In: the names that a deployment's machines have. Out: nothing. Only records with these names, of type A and
with the time to live that machines write, are ever removed.

Source: Route 53 API reference, ListResourceRecordSets (the order of records) and ChangeResourceRecordSets.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from i2kit.events import Note, Watcher
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.design import names
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.values import Zone

Data = Mapping[str, Any]

AT_ONCE = 100
"""Changes in one call; AWS takes 1,000."""


def tidy(account: Account, one: Record, is_there: Callable[[str], bool], watch: Watcher) -> None:
    """Remove the records of machines for which `is_there` does not hold, by how they call themselves."""
    zone = one.zone and one.zone.looked_up
    if zone is None or not names.registered(one.whole, zone):
        return
    with explained(f"looking at the records of {zone.name}"):
        gone = [each for each in _found(account, one, zone) if not is_there(_called(each))]
        for start in range(0, len(gone), AT_ONCE):
            changes = [
                {"Action": "DELETE", "ResourceRecordSet": each} for each in gone[start : start + AT_ONCE]
            ]
            account.route53.change_resource_record_sets(
                HostedZoneId=zone.id, ChangeBatch={"Changes": changes}
            )
    if gone:
        watch(Note(f"removed {len(gone)} records of machines of {one.key} that are gone"))


def _found(account: Account, one: Record, zone: Zone) -> Iterator[Data]:
    wanted = [_pattern(name) for name in names.registered(one.whole, zone)]
    pages = account.route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone.id)
    for each in (each for page in pages for each in page["ResourceRecordSets"]):
        name = each["Name"].rstrip(".")
        ours = each["Type"] == "A" and each.get("TTL") == names.TTL_S
        if ours and any(pattern.fullmatch(name) for pattern in wanted):
            yield each


def _called(found: Data) -> str:
    """A machine's id, or the first part of the name that is its own."""
    return str(found.get("SetIdentifier") or found["Name"].partition(".")[0])


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", r"[^.]+"))
