"""Real series and a trained network: what attacks do to it, SimBA against its own rule, and a run from spec to report."""

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

import mmadv
from mmadv import report
from mmadv.audit import Audit
from mmadv.data import SkippedWarning
from mmadv.errors import ParameterError, TargetError
from mmadv.host import default_host
from mmadv.spec import parse
from mmadv.verify import verify
from mmadv_series import demo
from mmadv_series.target import SeriesTarget

SPEC = """
title: series
campaigns:
  - name: motions
    modality: series
    target: {factory: "mmadv_series.demo:classifier"}
    data: {factory: "mmadv_series.demo:series", limit: 12}
    threat: {norm: linf, eps: [0.1, 0.3], unit: [7.073, 6.795, 3.547, 2.112, 1.821, 3.517]}
    plant: 6
    attacks: [series.noise, {name: series.pgd, steps: 20}, {name: series.simba, queries: 200}]
"""


@pytest.fixture(scope="module")
def gunpoint():
    target, data = demo.classifier("GunPoint"), demo.series("GunPoint").take(0, 60)
    with target.held(), torch.no_grad():
        right = target(data.x).argmax(1) == data.y
    return target, data.x[right], data.y[right]


def test_the_archives_are_what_their_papers_say():
    shapes = {"BasicMotions": (40, 6, 100), "GunPoint": (150, 1, 150), "ItalyPowerDemand": (1029, 1, 24)}
    for name, shape in shapes.items():
        data = demo.series(name)
        assert tuple(data.x.shape) == shape
        assert len(data.y.unique()) == len(data.labels)
    with pytest.raises(ParameterError, match="there is no data set 'Gunpoint' here") as caught:
        demo.series("Gunpoint")
    assert "GunPoint" in caught.value.fix


def test_the_network_has_learned_and_falls_further_to_gradients_than_to_noise(gunpoint):
    target, x, y = gunpoint
    assert len(y) > 50
    left = {}
    for attack, words in (("noise", {"steps": 20}), ("fgsm", {}), ("pgd", {"steps": 40}), ("simba", {"queries": 400})):
        result = mmadv.attack(target, x, y, f"series.{attack}", norm="linf", eps=0.05, **words)
        left[attack] = result.summary().robust.hits
        assert bool((result.queries <= words.get("queries", 1000)).all())
    assert left["pgd"] < left["simba"] < left["noise"]
    assert left["pgd"] <= left["fgsm"] < left["noise"]


def test_a_smooth_attack_is_smooth_and_weaker(gunpoint):
    target, x, y = gunpoint
    rough = mmadv.attack(target, x, y, "series.pgd", norm="l2", eps=0.5)
    smooth = mmadv.attack(target, x, y, "series.pgd", norm="l2", eps=0.5, band=0.1)
    assert smooth.summary().robust.hits >= rough.summary().robust.hits
    spectrum = scipy.fft.dct((smooth.adv - x).double().numpy(), axis=-1, norm="ortho")
    assert bool(smooth.success.any())
    assert np.square(spectrum[..., 15:]).sum() < 1e-8 * np.square(spectrum).sum()


def test_simba_takes_a_step_only_where_it_helps():
    """On a linear victim every kept step raises the score, so the last one is the best, and no query is wasted on a third way."""
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).eval()
    x = torch.randn(10, 2, 30)
    asked = []

    def answers(rows):
        asked.append(len(rows))
        with torch.no_grad():
            return victim(rows)

    y = victim(x).argmax(1)
    result = mmadv.attack(
        answers, x, y, "series.simba", modality="series", norm="l2", eps=1e-3, steps=40, early_stop=False
    )
    assert not bool(result.success.any())
    w = victim[1].weight[1] - victim[1].weight[0]
    sign = 1 - 2 * y.float()
    gain = sign * ((result.adv - x).flatten(1) @ w)
    assert bool((gain > 0).all())
    assert int(result.queries.max()) <= 1 + 2 * 40
    assert int(result.queries.min()) >= 1 + 40
    longer = mmadv.attack(
        answers, x, y, "series.simba", modality="series", norm="l2", eps=1e-3, steps=200, early_stop=False
    )
    assert bool((longer.score >= result.score - 1e-6).all())
    # All 60 cosines of both channels are a basis, so that going through them comes near to the steepest step.
    best = 1e-3 * w.norm()
    assert bool((sign * ((longer.adv - x).flatten(1) @ w) > 0.8 * best).all())


def test_own_files_give_what_tensors_give(gunpoint, tmp_path):
    target, x, y = (part if part is gunpoint[0] else part[:12] for part in gunpoint)
    for number, (row, label) in enumerate(zip(x, y.tolist(), strict=True)):
        (tmp_path / "12"[label]).mkdir(exist_ok=True)
        np.savetxt(tmp_path / "12"[label] / f"{number:02d}.csv", row.numpy().T, fmt="%.9g", delimiter=",")
    (tmp_path / "1" / "gap.csv").write_text("1\nnan\n")
    words = {"attack": "series.pgd", "norm": "linf", "eps": 0.02, "steps": 10, "random_start": False}
    with pytest.warns(SkippedWarning, match=r"1 left out of the data: 1/gap\.csv: the series holds NaN"):
        read = mmadv.attack(target, data=tmp_path, modality="series", classes=["1", "2"], **words)
    given = mmadv.attack(target, x, y, **words)
    order = [int(key[2:4]) for key in read.keys]
    assert sorted(order) == list(range(12))
    assert torch.equal(read.adv, given.adv[order])
    assert read.status == [given.status[row] for row in order]
    assert 0 < int(read.success.sum()) < 12


def test_targets_say_what_is_wrong_with_them():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).eval()
    with pytest.raises(ParameterError, match="one of mean and std is missing"):
        SeriesTarget(module, mean=[0.0])
    with pytest.raises(ParameterError, match="mean is"):
        SeriesTarget(module, mean=[0.0], std=[0.0])
    with pytest.raises(ParameterError, match="mean has 3 channels and the series 2"):
        SeriesTarget(module, mean=[0.0] * 3, std=[1.0] * 3)(torch.zeros(1, 2, 3))
    with pytest.raises(TargetError, match="train mode"):
        SeriesTarget(nn.Dropout().train())


def test_a_run_from_spec_to_report(tmp_path):
    audit = Audit(parse(SPEC), tmp_path / "run", default_host())
    (campaign,) = audit.run()["campaigns"]
    noise, pgd, _ = campaign["attacks"]
    assert pgd["curve"][1]["robust"]["hits"] < noise["curve"][1]["robust"]["hits"]
    assert pgd["planted"]["found"] == pgd["planted"]["total"] > 0
    assert campaign["scale"][0].startswith("± 0.707, ")
    assert list(verify(audit)) == []
    html = report.render(audit, audit.folder.json("summary.json"))
    assert "Examples can’t be shown" not in html
    assert 'id="p-series"' in html
    section = html[html.index('aria-labelledby="c-motions"') :]
    assert section.count("<polyline") > 6
