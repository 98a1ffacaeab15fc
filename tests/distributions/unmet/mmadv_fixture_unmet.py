"""A plugin whose dependency is not installed."""

import mmadv_fixture_nowhere  # noqa: F401
