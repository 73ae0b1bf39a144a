"""Which machine images the deployments of a state folder need.

In: the folder. Out: a Use for each image. Asks no supervisor and starts none: what is written down there
is what runs, what is started again after a crash or a reboot, and what a failed rollout goes back to.
"""

from collections.abc import Iterator
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.model import Use
from i2kit.providers.local.design import desired
from i2kit.providers.local.layout import Layout


def uses(state_dir: Path) -> tuple[Use, ...]:
    """The images of all deployments, each once. Raises OperationError where that cannot be told."""
    path = Layout(state_dir, state_dir).desired
    try:
        wanted = desired.from_json(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise _unknown(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unknown(path, "it is damaged, or of another version of i2kit") from error
    return tuple(use for one in wanted.deployments for use in _of(one, str(state_dir)))


def _of(wanted: desired.Wanted, place: str) -> Iterator[Use]:
    """The images of all revisions that may be started: this one and those that can be gone back to."""
    yield Use(wanted.machine.image, "local", wanted.key, place)
    newest = {one.machine.image: one.revision for one in wanted.past}
    newest.pop(wanted.machine.image, None)
    for image, revision in reversed(newest.items()):
        yield Use(image, "local", wanted.key, place, "can go back to", revision)


def _unknown(path: Path, why: str) -> OperationError:
    return OperationError(
        f"cannot tell which machine images are needed: {path}: {why}",
        hint="nothing was removed; make it readable, or remove that folder if nothing runs of it any more",
    )
