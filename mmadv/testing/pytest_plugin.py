"""The pytest plugin of mmadv: fixtures for authors of plugins, and a filter of attacks. Imports no torch at start-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mmadv.host import Host


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--mmadv-attack`."""
    group = parser.getgroup("mmadv")
    group.addoption(
        "--mmadv-attack",
        action="append",
        default=[],
        metavar="NAME",
        help="run conformance tests of this attack only; may be repeated",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out conformance tests of attacks that were not asked for."""
    wanted = config.getoption("--mmadv-attack")
    if not wanted:
        return
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        case = getattr(getattr(item, "callspec", None), "params", {}).get("mmadv_case")
        (kept if case is None or case.name in wanted else dropped).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


@pytest.fixture
def mmadv_host() -> Callable[..., Host]:
    """Makes hosts that load nothing but what they are given: installed plugins by name, and in-process ones by keyword.

    `mmadv_host("image", acme=MyPlugin())` loads the image plugin and yours, and no other that is installed.
    """
    from mmadv.host import Host

    def make(*installed: str, **extra: object) -> Host:
        return Host(allowed=installed, extra=extra)

    return make


@pytest.fixture
def linear_victim() -> Callable[..., Any]:
    """`mmadv.testing.linear_victim`: a closed-form victim, inputs and labels."""
    from mmadv.testing.victims import linear_victim

    return linear_victim
