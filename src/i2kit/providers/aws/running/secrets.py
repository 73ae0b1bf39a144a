"""Sets of secrets in Parameter Store: found again, written, removed.

In: an account, a deployment's key and what its secrets should be. Out: the id of a set that has just that.
A set is never changed: machines that start while an update goes back read what theirs was. Says and notes no
value. What an interrupted run has left, the next one that changes the deployment removes.

Sources: Systems Manager API reference, PutParameter, GetParametersByPath, DeleteParameters.
"""

import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from i2kit.events import Finished, Started, Watcher
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.secrets import NEW, Parameters, folder, named, path

MOST_REMOVED = 10
"""In one call."""


@dataclass(slots=True)
class Sets:
    """The sets of one deployment, during one run."""

    account: Account
    key: str
    wanted: Parameters = field(default_factory=dict, repr=False)
    there: frozenset[str] = frozenset()
    """The sets that there were when the stack was last quiet."""
    made: set[str] = field(default_factory=set)
    """Those that this run wrote."""

    def planned(self, before: Record | None) -> str:
        """The set that a deploy will take: the one that runs where it has the same, or one to be written."""
        if not self.wanted:
            return ""
        was = before.secrets if before else ""
        return was if was and self.values(was) == self.wanted else NEW

    def placed(self, before: Record | None, watch: Watcher) -> str:
        """The same, written where it has to be. For when nobody else changes the stack."""
        if self.wanted or _of(before):
            self.there = frozenset(self.names())
        if (found := self.planned(before)) != NEW:
            return found
        id_ = named(secrets.token_hex(8), self.wanted)
        self.made.add(id_)
        step = f"secrets of {self.key}"
        watch(Started(step, f"writing {step} to Parameter Store"))
        with explained(f"writing {step} to Parameter Store"):
            for name, value in self.wanted.items():
                self.account.ssm.put_parameter(
                    Name=f"{path(self.key, id_)}/{name}", Value=value, Type="SecureString", Tier="Standard"
                )
        watch(Finished(step, f"{len(self.wanted)} parameters"))
        return id_

    def values(self, id_: str) -> Parameters:
        """What a set has; nothing for one that is not there."""
        start = f"{path(self.key, id_)}/"
        found = self._found(path(self.key, id_), decrypted=True)
        return {one["Name"].removeprefix(start): one["Value"] for one in found}

    def names(self) -> dict[str, list[str]]:
        """The names of all parameters, by set."""
        start = f"{folder(self.key)}/"
        found: dict[str, list[str]] = {}
        for one in self._found(folder(self.key), decrypted=False):
            found.setdefault(one["Name"].removeprefix(start).partition("/")[0], []).append(one["Name"])
        return found

    def tidy(self, record: Record | None, *, own: bool = False) -> None:
        """Remove the sets that neither a deployment nor its earlier revisions need; with `own` of this run's.

        What came to be since the stack was quiet is another run's.
        """
        if gone := (self.made if own else self.made | self.there) - _of(record):
            self.remove(gone)

    def remove(self, ids: Collection[str] | None = None) -> None:
        """Remove these sets, or all."""
        found = self.names()
        gone = [name for id_, names in found.items() if ids is None or id_ in ids for name in names]
        with explained(f"removing secrets of {self.key} from Parameter Store"):
            for start in range(0, len(gone), MOST_REMOVED):
                self.account.ssm.delete_parameters(Names=gone[start : start + MOST_REMOVED])

    def _found(self, where: str, *, decrypted: bool) -> Iterator[dict[str, Any]]:
        with explained(f"reading the secrets of {self.key} in Parameter Store"):
            pages = self.account.ssm.get_paginator("get_parameters_by_path").paginate(
                Path=where, Recursive=True, WithDecryption=decrypted
            )
            yield from (one for page in pages for one in page["Parameters"])


def _of(record: Record | None) -> set[str]:
    """The sets that a deployment and its earlier revisions need."""
    return {one.secrets for one in (record, *record.history) if one.secrets} if record else set()
