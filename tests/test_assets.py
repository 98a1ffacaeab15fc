"""Assets that several processes ask for at the same time."""

import threading
from pathlib import Path

import pytest
import torch

from mmadv import assets
from mmadv.catalog import Catalog
from mmadv.errors import AssetError
from mmadv.host import Host
from mmadv.space import BallSpace
from mmadv.spec import parse
from mmadv.stage import Stage, prepared


def test_what_another_makes_is_waited_for_unless_there_is_better_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADV_CACHE", str(tmp_path))
    begun, end, made = threading.Event(), threading.Event(), []

    def slowly():
        made.append("here")
        begun.set()
        assert end.wait(60)
        return {"weight": torch.ones(2)}

    def ask():
        return assets.trained("victim", {"seed": 0}, slowly)

    other = threading.Thread(target=ask)
    other.start()
    assert begun.wait(60)
    with assets.unwaiting(), pytest.raises(assets.Busy):
        ask()
    with assets.unwaiting():  # another recipe is another asset
        assert assets.trained("victim", {"seed": 1}, lambda: {"weight": torch.zeros(1)})
    end.set()
    assert torch.equal(ask()["weight"], torch.ones(2))
    other.join()
    assert made == ["here"]
    with assets.unwaiting():
        ask()


class Campaign:
    """A campaign that finds its assets busy so many times."""

    def __init__(self, name, busy=0, error=None):
        self.name, self.busy, self.error = name, busy, error

    def prepare(self):
        if self.busy and not assets._waits.get():
            self.busy -= 1
            raise assets.Busy("its victim")
        if self.error:
            raise self.error


def test_campaigns_whose_assets_are_being_made_come_last():
    lost = AssetError("it is not installed", where="here", fix="install it")
    campaigns = [Campaign("a", busy=9), Campaign("b"), Campaign("c", busy=1), Campaign("d", error=lost), Campaign("e")]
    told = []
    found = [(campaign.name, error) for campaign, error in prepared(campaigns, lambda one: told.append(one.name))]
    assert found == [("b", None), ("d", lost), ("e", None), ("c", None), ("a", None)]
    assert "".join(told) == "abcdeacaa", "in the end it is waited for"
    assert campaigns[0].busy == 6


SPEC = """
title: rows
campaigns:
  - name: linf
    modality: image
    target: {factory: "row_victims:busy_victim"}
    data: {factory: "row_victims:inputs"}
    threat: {norm: linf, eps: [0.005]}
    attacks: [image.fgsm]
"""


def test_what_a_space_reads_is_made_while_another_process_makes_the_victim(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    laid = []
    monkeypatch.setattr(BallSpace, "around", lambda self, x, eps=None: laid.append(x.device))
    stage = Stage(parse(SPEC), 0, Catalog(Host(allowed=["image"])))
    with pytest.raises(assets.Busy):
        stage.prepare()
    assert laid == [torch.device("cpu")]
    assert not stage.ready
