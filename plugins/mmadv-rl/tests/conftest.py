"""What games ask of a policy beside what attacks do."""

import pytest

from mmadv_rl import play


@pytest.fixture
def asks(monkeypatch):
    """How many observations games have shown to policies in each call, to learn what they do."""
    counts, own = [], play.asked

    def asked(policy, rows, game):
        counts.append(len(rows))
        return own(policy, rows, game)

    monkeypatch.setattr(play, "asked", asked)
    return counts
