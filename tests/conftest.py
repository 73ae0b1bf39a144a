"""For all tests: how they are spread over the machine's processors, and what hypothesis may take.

Tests run in as many processes as there are processors: those of a file in one of them, and in one all that
publish ports on the host, since deployments of one name want the same. What takes longest comes first and the
kernel of our own last, which is compiled while all others run.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.vm import own_kernel

# It takes the time that it needs, since times say more of the machine than of us.
settings.register_profile("i2kit", deadline=None)
settings.load_profile("i2kit")

LONGEST = ("tests/vm/test_local", "tests/vm/", "tests/test_", "tests/aws/")
"""Where tests take longest. At the end they would leave processors idle."""


PUBLISHING = (
    "tests/vm/test_local",
    "tests/vm/test_compose.py",
    "tests/vm/test_demos.py",
    "tests/vm/test_provider_contract.py",
    "tests/test_in_memory.py",
)
"""The tests that publish ports on the host."""


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        """Which tests share a process with this one."""
        return "ports" if nodeid.startswith(PUBLISHING) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: order(item.nodeid))


def order(test: str) -> int:
    if own_kernel.needed_by([test]):
        return len(LONGEST) + 1
    return next((place for place, start in enumerate(LONGEST) if test.startswith(start)), len(LONGEST))


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly:
        begin(session.config, [item.nodeid for item in session.items])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    begin(node.config, ids)


def begin(config: pytest.Config, tests: Sequence[str]) -> None:
    """Called by whoever knows the tests: of processes that share them the first, and each of them itself."""
    if own_kernel.needed_by(tests) and not hasattr(config, "workerinput"):
        own_kernel.compile_beside(config)
