"""For all tests: how they are spread over the machine's processors, and what hypothesis may take.

Tests run in as many processes as there are processors: those of a file in one of them, and in one all that
publish ports on the host, since deployments of one name want the same. What takes longest comes first and the
kernel of our own last, which is compiled while all others run.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings

from tests.vm import own_kernel

# It takes the time that it needs, since times say more of the machine than of us.
settings.register_profile("i2kit", deadline=None)
settings.load_profile("i2kit")

LONGEST = ("tests/vm/test_local", "tests/vm/", "tests/test_", "tests/aws/")
"""Where tests take longest. At the end they would leave processors idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: order(item.nodeid))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


def group(test: pytest.Item) -> str:
    """Which tests share a process with this one."""
    publishes = (
        "machine_settings" in getattr(test, "fixturenames", ()) or test.path.name == "test_in_memory.py"
    )
    return "deployments" if publishes else test.nodeid.partition("::")[0]


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
