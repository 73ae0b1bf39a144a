"""How an update replaces machines: the fields that both forms of a manifest have for it.

In: the record that holds them (a Deployment's spec, or an i2kit manifest). Out: model values, by the
rules of Kubernetes' API server (apps/validation), and problems in the log. Pure.
"""

from i2kit.manifest.log import Log
from i2kit.manifest.tables.shape import Record
from i2kit.model import Amount, Strategy

_DEADLINE_S = 600
_SHARE = Amount(25, percent=True)


def strategy(spec: Record, log: Log) -> Strategy:
    """The strategy, with Kubernetes' defaults."""
    record = spec.record("strategy")
    if record is None:
        return Strategy()
    recreate = record.text("type") == "Recreate"
    bounds = record.record("rollingUpdate")
    if bounds is None:
        return Strategy(recreate)
    if recreate:
        message = "has no meaning with type: Recreate"
        hint = "leave it out, or use type: RollingUpdate"
        log.problem(bounds.position, bounds.path, message, hint)
        return Strategy(recreate)
    surge = bounds.amount("maxSurge") or _SHARE
    unavailable = bounds.amount("maxUnavailable") or _SHARE
    if surge.number == 0 == unavailable.number:
        message = "allows no machine more and none less, so that none could be replaced"
        log.problem(bounds.position, bounds.path, message, "such as maxSurge: 1")
    return Strategy(recreate, surge, unavailable)


def times(spec: Record, log: Log) -> tuple[int, int]:
    """minReadySeconds and progressDeadlineSeconds."""
    ready = spec.whole("minReadySeconds") or 0
    deadline = spec.whole("progressDeadlineSeconds")
    deadline = _DEADLINE_S if deadline is None else deadline
    if deadline <= ready and not spec.is_wrong("progressDeadlineSeconds"):
        given = spec.has("progressDeadlineSeconds")
        name = "progressDeadlineSeconds" if given else "minReadySeconds"
        message = (
            f"must be more than minReadySeconds ({ready}) and is {deadline}"
            if given
            else f"must be less than progressDeadlineSeconds (by default {_DEADLINE_S}) and is {ready}"
        )
        hint = f"such as progressDeadlineSeconds: {ready + _DEADLINE_S}"
        log.problem(spec.place(name), spec.at(name), message, hint)
    return ready, deadline


def grace(record: Record) -> int:
    """terminationGracePeriodSeconds of a pod."""
    seconds = record.whole("terminationGracePeriodSeconds")
    return 30 if seconds is None else seconds
