"""Texts of a run as a table: only campaigns that have any are opened."""

from types import SimpleNamespace

import pytest

from mmadv.errors import RunError
from mmadv_text.export import rows, write
from mmadv_text.modality import TextModality


class Unopened:
    """A campaign whose data can't be had here."""

    attacks = (None,)

    def __init__(self, name, kind):
        self.campaign, self.kind = SimpleNamespace(name=name, label=str), kind

    @property
    def shards(self):
        raise AssertionError(f"{self.campaign.name} was opened")


def test_campaigns_of_other_modalities_and_those_left_out_are_not_opened(tmp_path):
    (tmp_path / "shards/speech").mkdir(parents=True)
    stages = [Unopened("speech", object()), Unopened("left out", TextModality())]
    audit = SimpleNamespace(folder=SimpleNamespace(path=tmp_path), stages=stages)
    assert list(rows(audit)) == []
    (tmp_path / "shards/left out").mkdir()
    with pytest.raises(AssertionError, match="left out was opened"):
        list(rows(audit))


def test_a_run_without_texts_is_an_error_and_no_empty_file(tmp_path):
    audit = SimpleNamespace(folder=SimpleNamespace(path=tmp_path), stages=[Unopened("speech", object())])
    with pytest.raises(RunError, match="no campaign on texts"):
        write(audit, tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())
