"""The run folder: resumed, repeated, verified, refused (laws 4, 11 and 13)."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmadv import MemorySource
from mmadv.audit import Audit
from mmadv.errors import MmadvError, ParameterError, RunError, SpecError, VictimMovedError
from mmadv.host import Host
from mmadv.runs import Folder, write_text
from mmadv.spec import parse
from mmadv.verify import verify

HERE = Path(__file__).parent
SPEC = """
title: rows
seed: 3
shard_size: {shard}
campaigns:
  - name: linf
    modality: image
    target: {{factory: "row_victims:{victim}"{batch}}}
    data: {{factory: "row_victims:inputs"}}
    threat: {{norm: linf, eps: [0.005, 0.02]}}
    attacks:
      - image.fgsm
      - {{name: image.pgd, steps: 8, restarts: 2}}
      - {{name: image.apgd, steps: 10, loss: dlr}}
      - {{name: image.square, queries: 30}}
  - name: l2
    modality: image
    target: {{factory: "row_victims:{victim}"{batch}}}
    data: {{factory: "row_victims:inputs", limit: 10}}
    threat: {{norm: l2, eps: [0.1, 0.3]}}
    attacks: [{{name: image.ddn, steps: 12}}]
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def host():
    return Host()


def text(shard=8, victim="victim", batch=None):
    return SPEC.format(shard=shard, victim=victim, batch="" if batch is None else f", batch_size: {batch}")


def run(out, host, **kind):
    return Audit(parse(text(**kind)), out, host).run()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, host):
    sys.path.insert(0, str(HERE))
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, run(out, host)


def records(out, host):
    made = Audit.of_folder(out, host)
    found = [
        {**r, "campaign": u.campaign, "attack": u.attack} for u in made.units() for r in made.records(made.place(u))
    ]
    for record in found:
        record.pop("row")  # its number within the shard
    return sorted(found, key=lambda r: (r["campaign"], r["attack"], r["key"], r["eps"] or 0))


def test_a_run_tells_the_same_story_everywhere(finished, host):
    out, summary = finished
    assert json.loads((out / "summary.json").read_text()) == summary
    linf = summary["campaigns"][0]
    assert linf["clean"] == {**linf["clean"], "hits": 20, "total": 24}
    for attack in linf["attacks"]:
        kept = [point["robust"]["hits"] for point in attack["curve"]]
        assert kept == sorted(kept, reverse=True), "a larger eps is never weaker"
    worst = [point["robust"]["hits"] for point in linf["worst"]]
    assert all(w <= a["curve"][i]["robust"]["hits"] for a in linf["attacks"] for i, w in enumerate(worst))
    assert 0 < worst[1] < worst[0] <= 20, "this spec is meant to show a slope"
    for number, attack in enumerate(linf["attacks"]):  # of the 20 that were attacked, not of all 24
        own = [r for r in records(out, host) if (r["campaign"], r["attack"]) == (0, number)]
        for word in ("queries", "gradients"):
            assert attack[word] == sum(r[word] for r in own if r["status"] != "already_wrong") / 20
    assert len(list(out.glob("shards/linf/image.pgd/*/files/*.png"))) == sum(
        r["success"] and r["origin_eps"] == r["eps"]
        for r in records(out, host)
        if r["campaign"] == 0 and r["attack"] == 1
    )


def test_running_again_computes_nothing_and_changes_nothing(finished, host):
    out, summary = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("shards/**/*.parquet")}
    assert run(out, host) == summary
    assert {path: path.stat().st_mtime_ns for path in out.glob("shards/**/*.parquet")} == before


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batch_sizes_give_the_same_records(finished, host, tmp_path, batch):
    _, summary = finished
    assert run(tmp_path / "run", host, batch=batch)["digest"] == summary["digest"]


def test_shard_sizes_give_the_same_records(finished, host, tmp_path):
    out, _ = finished
    run(tmp_path / "run", host, shard=24)
    assert records(tmp_path / "run", host) == records(out, host)


def test_a_run_killed_at_ten_random_moments_equals_one_never_killed(host, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(text(victim="slow_victim"))
    whole = run(tmp_path / "whole", host, victim="slow_victim")
    out, dice = tmp_path / "killed", random.Random(0)
    code = (
        "import sys; from pathlib import Path; from mmadv.audit import Audit; from mmadv.host import Host; "
        "from mmadv.spec import read; a = Audit(read(Path(sys.argv[1])), Path(sys.argv[2]), Host()); "
        "a.run()"
    )
    env = {**os.environ, "PYTHONPATH": str(HERE), "ROW_VICTIM_DELAY": "0.004", "OMP_NUM_THREADS": "1"}
    reached = []
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(spec), str(out)],
            env={**env, "ROW_VICTIM_TELLS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        calls = dice.randint(1, 70)  # of the victim, so that no moment depends on how fast the machine is
        assert all(process.stdout.readline() for _ in range(calls)), "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(calls)
    units = list(out.glob("shards/*/*/[0-9]*"))
    assert 0 < len(units) < len(Audit(parse(text()), out, host).units()), (
        f"killed too early or too late, after {reached} calls"
    )
    resumed = subprocess.run(
        [sys.executable, "-c", code, str(spec), str(out)],
        env={**env, "ROW_VICTIM_DELAY": "0"},
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["digest"] == whole["digest"]
    assert not list(out.glob("shards/**/.*")), "nothing half-written stays"
    strip = lambda s: json.loads(json.dumps(s), object_hook=lambda d: {k: v for k, v in d.items() if k != "seconds"})  # noqa: E731
    assert strip(summary) == strip(whole)


@pytest.mark.parametrize("cascade", [False, True])
def test_workers_give_the_records_of_one(host, tmp_path, cascade):
    plain = text(shard=5).replace(
        "    attacks:\n      - image.fgsm", f"    cascade: {cascade}\n    attacks:\n      - image.fgsm"
    )
    told = []
    alone = Audit(parse(plain), tmp_path / "alone", host).run()
    shared = Audit(parse(plain), tmp_path / "shared", host).run(lambda *state: told.append(state), workers=2)
    assert shared["digest"] == alone["digest"]
    ready = len(shared["campaigns"])
    assert told[:ready] == [(0, 0, f"set-up: {one['name']}") for one in shared["campaigns"]]
    total = told[-1][1]
    assert [state[0] for state in told[ready:]] == [*range(total + 1), total], "each unit once, and the summary"
    assert records(tmp_path / "shared", host) == records(tmp_path / "alone", host)


def test_what_campaigns_need_is_made_side_by_side_and_once(host, tmp_path, monkeypatch):
    monkeypatch.setenv("MMADV_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    factories = [
        '"row_victims:trained_victim", args: {name: a, other: b}',
        '"row_victims:trained_victim", args: {name: b, other: a}',
    ]
    plain = text(shard=24)
    for factory in factories:
        plain = plain.replace('"row_victims:victim"', factory, 1)
    again = plain.replace(
        "campaigns:", "campaigns:\n" + plain.partition("campaigns:\n")[2].replace("name: l", "name: again-l")
    )
    Audit(parse(again), tmp_path / "run", host).run(workers=2)
    made = [line.split() for line in (tmp_path / "cache/log").read_text().splitlines()]
    assert sorted(name for name, _ in made) == ["a", "b"], "what one process makes the other doesn't"
    assert len({process for _, process in made}) == 2
    assert str(os.getpid()) in {process for _, process in made}


def test_what_a_worker_raises_is_raised_with_its_fix_and_the_rest_is_kept(host, tmp_path, monkeypatch):
    monkeypatch.setenv("ROW_VICTIM_MOVES", "1")
    plain = text(shard=24).replace("row_victims:victim", "row_victims:moving_victim", 1)
    with pytest.raises(VictimMovedError) as found:
        Audit(parse(plain), tmp_path / "run", host).run(workers=2)
    assert found.value.fix
    monkeypatch.delenv("ROW_VICTIM_MOVES")
    assert Audit(parse(plain), tmp_path / "run", host).run(workers=2)["campaigns"]
    with pytest.raises(ParameterError, match="0 workers"):
        Audit(parse(text()), tmp_path / "none", host).run(workers=0)


def test_workers_end_with_a_run_that_is_killed_and_another_takes_up_what_they_left(host, tmp_path):
    spec, out = tmp_path / "spec.yaml", tmp_path / "run"
    spec.write_text(text(victim="slow_victim"))
    whole = run(tmp_path / "whole", host, victim="slow_victim")
    command = [sys.executable, "-m", "mmadv.cli", "audit", str(spec), "--out", str(out), "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(HERE), "ROW_VICTIM_DELAY": "0.02", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    while not list(out.glob("shards/*/*/[0-9]*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # ends when the last process that holds the pipe has ended
    assert len(list(out.glob("shards/*/*/[0-9]*"))) < len(Audit(parse(text()), out, host).units())
    done = subprocess.run(command, env={**env, "ROW_VICTIM_DELAY": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "summary.json").read_text())["digest"] == whole["digest"]
    assert not list(out.glob("shards/**/.*"))


def test_verify_passes_on_a_fresh_run_and_names_an_altered_record(finished, host, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    assert list(verify(Audit.of_folder(out, host))) == []
    place = out / "shards/linf/image.pgd/0001"
    tensors = load_file(place / "adv.safetensors")
    row = sorted(tensors)[0]
    raw = bytearray((place / "adv.safetensors").read_bytes())
    at = raw.find(tensors[row].numpy().tobytes())
    assert at > 0
    raw[at] ^= 1
    (place / "adv.safetensors").write_bytes(raw)
    findings = list(verify(Audit.of_folder(out, host)))
    assert any("adv.safetensors changed" in line for line in findings)
    named = [line for line in findings if "stored adversarial was altered" in line]
    assert len(named) == 1
    assert f"record {int(row)} (rows/{8 + int(row)})" in named[0]


def test_verify_judges_again_and_does_not_believe_hashes(finished, host, tmp_path):
    """Someone who puts the clean input in an adversarial's place, hashes and all, is still found out."""
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    made = Audit.of_folder(out, host)
    place = out / "shards/linf/image.fgsm/0000"
    tensors = load_file(place / "adv.safetensors")
    row = sorted(tensors)[0]
    tensors[row] = made.stages[0].examples(0).x[int(row)].clone()
    save_file(tensors, place / "adv.safetensors")
    findings = list(verify(made))
    assert any(f"record {int(row)} " in line and "does not fool the target" in line for line in findings)
    tensors[row] = torch.rand_like(tensors[row])
    save_file(tensors, place / "adv.safetensors")
    assert any(f"record {int(row)} " in line and "breaks the constraints" in line for line in verify(made))


def test_verify_sums_up_again(finished, host, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    summary = json.loads((out / "summary.json").read_text())
    summary["campaigns"][0]["worst"][1]["robust"]["hits"] = 24
    summary["campaigns"][1]["attacks"][0]["seconds"] = 7  # the one figure that is another one each time
    (out / "summary.json").write_text(json.dumps(summary))
    (found,) = verify(Audit.of_folder(out, host))
    assert found.startswith("summary.json: linf.worst.1.robust.hits is 24 there, and the shards come to ")
    (out / "summary.json").write_text('{"x": 1}')
    (found,) = verify(Audit.of_folder(out, host))
    assert "holds no summary" in found


@pytest.mark.parametrize("name", ["records.parquet", "adv.safetensors"])
def test_a_corrupt_shard_is_named_and_the_rest_kept(finished, host, tmp_path, name):
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    damaged = out / "shards/linf/image.square/0002"
    (damaged / name).write_bytes(b"not what it was")
    with pytest.raises(RunError, match="corrupt") as caught:
        run(out, host)
    assert str(damaged) in caught.value.where
    assert any(name in line for line in verify(Audit.of_folder(out, host)))
    shutil.rmtree(damaged)
    assert run(out, host)["digest"] == finished[1]["digest"]


def test_a_folder_of_another_spec_target_or_nothing_is_refused(finished, host, tmp_path):
    out, _ = finished
    with pytest.raises(RunError, match=r"(?s)another spec.*seed: 3 there, 4 here"):
        Audit(parse(text().replace("seed: 3", "seed: 4")), out, host).run()
    Audit(parse(text().replace("title: rows", "title: another name")), out, host).run()
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["targets"]["linf"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="another targets"):
        run(copy, host)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="holds no run"):
        run(tmp_path / "mine", host)
    assert [entry.name for entry in (tmp_path / "mine").iterdir() if entry.name != ".lock"] == ["thesis.txt"]


@pytest.mark.parametrize("what", ["label", "input", "key"])
def test_data_that_changed_anywhere_belong_to_another_run(finished, host, monkeypatch, what):
    import row_victims

    source = row_victims.inputs()
    x, y, keys = source.x.clone(), source.y.clone(), [f"rows/{number}" for number in range(24)]
    if what == "label":
        y[12] = (y[12] + 1) % 4
    elif what == "input":
        x[12, 0, 0, 0] = 1 - x[12, 0, 0, 0]
    else:
        keys[12] = "another"
    monkeypatch.setattr(row_victims, "inputs", lambda: MemorySource("rows", x, y, keys))
    with pytest.raises(RunError, match="another data"):
        run(finished[0], host)
    assert any("the data are not those" in line for line in verify(Audit.of_folder(finished[0], host)))


def test_a_run_that_was_killed_as_it_began_begins_again(host, tmp_path, monkeypatch):
    folder, spec = Folder(tmp_path), parse(text())
    (tmp_path / ".manifest.json.77").write_text("{")  # of a process that was killed while it wrote it
    monkeypatch.setattr(Folder, "_write_spec", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        folder.begin(spec, {"data": {}})
    monkeypatch.undo()
    folder.begin(spec, {"data": {}})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["manifest.json", "spec.yaml"]


def test_a_lock_or_file_that_cannot_be_written_is_a_typed_error(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    with pytest.raises(RunError, match="Read-only"), Folder(tmp_path).locked():
        pass
    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(RunError, match="Read-only"):
        write_text(tmp_path / "report.html", "")


def test_two_processes_do_not_share_a_folder(finished, host):
    made = Audit.of_folder(finished[0], host)
    with made.folder.locked(), pytest.raises(RunError, match="another process"):
        made.run()


def wave(self, row, path):
    """A file that is written by a library with errors of its own."""
    import soundfile

    soundfile.write(path.with_suffix(".wav"), torch.zeros(4000).numpy(), 16000)


@pytest.mark.parametrize(
    ("most", "write"), [(300, None), (4000, None), (4000, wave)], ids=["adversarials", "records", "files"]
)
def test_a_full_disk_loses_nothing(finished, host, tmp_path, monkeypatch, most, write):
    """Files may not grow beyond so many bytes, which fails in whatever writes them as a full disk does."""
    out = tmp_path / "run"
    made = Audit(parse(text()), out, host)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def stop_at_three(done, total, what):
        if done == 3:
            if write is not None:
                monkeypatch.setattr(type(made.stages[0].kind), "write", write)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))

    try:
        with pytest.raises(RunError, match="a shard cannot be written"):
            made.run(stop_at_three)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.undo()
    sys.path.insert(0, str(HERE))
    assert len(list(out.glob("shards/*/*/[0-9]*"))) == 3
    assert not list(out.glob("shards/**/.[0-9]*"))
    assert run(out, host)["digest"] == finished[1]["digest"]


@pytest.mark.parametrize("cascade", [False, True])
def test_a_success_that_is_lost_once_stored_is_searched_for_again_at_larger_eps(host, tmp_path, cascade):
    spec = f"""
title: greys
campaigns:
  - name: linf
    modality: image
    cascade: {str(cascade).lower()}
    target: {{factory: "row_victims:steps"}}
    data: {{factory: "row_victims:greys"}}
    threat: {{norm: linf, eps: [0.3/255, 0.4/255, 3/255]}}
    attacks: [image.fgsm, {{name: image.pgd, steps: 4}}]
"""
    audit = Audit(parse(spec), tmp_path / "run", host)
    (campaign,) = audit.run()["campaigns"]
    assert [point["robust"]["hits"] for point in campaign["worst"]] == [1, 1, 0]
    assert [point["stored"]["hits"] for point in campaign["worst"]] == [2, 2, 0]
    place = audit.place(audit.units()[0])
    first = [one for one in audit.records(place) if one["row"] == 0]
    found = [(one["stored_success"], round(one["origin_eps"] * 255, 1)) for one in first]
    assert found == [(False, 0.3), (False, 0.3), (True, 3.0)]
    assert sorted(file.name for file in (place / "files").iterdir()) == ["0000-2.png", "0000.png", "0001.png"]
    assert list(verify(Audit.of_folder(tmp_path / "run", host))) == []


def test_a_cascade_runs_each_attack_on_what_still_stands(finished, host, tmp_path):
    cascade = text().replace("    modality: image\n    target", "    modality: image\n    cascade: true\n    target", 1)
    summary = Audit(parse(cascade), tmp_path / "run", host).run()
    one, other = summary["campaigns"][0], finished[1]["campaigns"][0]
    assert [p["robust"]["hits"] for p in one["attacks"][-1]["curve"]] == [p["robust"]["hits"] for p in one["worst"]]
    assert all(a["robust"]["hits"] <= b["robust"]["hits"] for a, b in zip(one["worst"], other["worst"], strict=True))
    spent = lambda c: sum(a["queries"] for a in c["attacks"])  # noqa: E731
    assert spent(one) < spent(other)
    last = [r for r in records(tmp_path / "run", host) if (r["campaign"], r["attack"]) == (0, 3)]
    cost = {}
    for record in last:
        cost[record["key"]] = cost.get(record["key"], 0) + record["queries"]
    run_on = [queries for queries in cost.values() if queries]
    assert 0 < len(run_on) < 20
    assert one["attacks"][3]["queries"] == sum(run_on) / len(run_on), "what an earlier attack fooled is in no mean"


@pytest.mark.parametrize(
    ("change", "what", "line"),
    [
        (("title: rows", "titel: rows"), "unknown key 'titel'", 2),
        (("seed: 3", "seed: three"), "seed", 3),
        (("seed: 3", "seed: 9223372036854775808"), "seed", 3),
        (("seed: 3", "seed: 3\nseed: 5"), "'seed' stands twice in one mapping, in line 3 too", 4),
        (("norm: linf", "norm: linf, norm: l2"), "'norm' stands twice", 10),
        (("shard_size: 8", "shard_size: 0"), "shard_size", 4),
        (("name: linf", "name: ../evil"), "campaigns.0.name", 6),
        (("name: linf", "name: .."), "campaigns.0.name", 6),
        (("norm: linf", "norm: linff"), "unknown norm 'linff'", 10),
        (("norm: linf", "nrom: linf"), "'nrom' is used by neither", 10),
        (("eps: [0.005, 0.02]", "eps: [0.02, 0.005]"), "ascend", 10),
        (("eps: [0.005, 0.02]", "eps: [-1]"), "at least 0", 10),
        (("eps: [0.005, 0.02]", "eps: [.inf]"), "finite", 10),
        (("image.fgsm", "image.fgms"), "image.fgms", 12),
        (("steps: 8,", "stepps: 8,"), "stepps", 13),
        (("image.fgsm", "{name: image.fgsm, steps: 3}"), "exactly one", 12),
        (("modality: image", "modality: smell"), "smell", 7),
        (("eps: [0.005, 0.02]", "eps: [8/0]"), "divides by zero\n", 10),
        (("eps: [0.005, 0.02]", "eps: [8/25x]"), "no number, not '8/25x'", 10),
        (("steps: 8,", "steps: 8, lr: 1/0,"), "divides by zero", 13),
        (
            ('factory: "row_victims:victim"', 'factroy: "row_victims:victim"'),
            "neither factory nor model beside 'factroy'",
            8,
        ),
    ],
)
def test_a_wrong_spec_is_refused_with_file_line_and_fix(host, tmp_path, change, what, line):
    wrong = text().replace(*change, 1)
    with pytest.raises(MmadvError) as caught:
        Audit(parse(wrong, "audit.yaml"), tmp_path / "run", host)
    assert what in str(caught.value)
    assert f"audit.yaml:{line}" in caught.value.where
    assert caught.value.fix
    assert not (tmp_path / "run").exists()


def test_what_nobody_wrote_into_lines_is_named_without_them():
    assert (
        parse(text(), "the command line", numbered=False).where("campaigns", 1, "target", "args")
        == "the command line, args"
    )
    with pytest.raises(SpecError, match="the command line, seed"):
        parse(text().replace("seed: 3", "seed: three"), "the command line", numbered=False)


@pytest.mark.parametrize(
    ("factory", "what", "fix"),
    [
        ("row_victims:victims", "cannot be imported", "did you mean 'victim'? known: "),
        ("no_such_module:victim", "cannot be imported", "package.module:function"),
        ("no_such..module:victim", "the target cannot be made: ValueError", "args"),
        ("row_victims:failing", "the target cannot be made: KeyError: 'weights'", "args"),
        ("mmadv_chain:victim", "cannot be imported", "pip install mmadv-chain"),
    ],
)
def test_a_factory_that_is_not_there_or_fails_is_named_with_its_line(host, tmp_path, monkeypatch, factory, what, fix):
    monkeypatch.setitem(sys.modules, "mmadv_chain", None)  # as if it were not installed
    wrong = text().replace("row_victims:victim", factory, 1)
    with pytest.raises(SpecError, match=what) as caught:
        Audit(parse(wrong, "audit.yaml"), tmp_path / "run", host).run()
    assert "audit.yaml:8" in caught.value.where
    assert fix in caught.value.fix
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("broken", ["title: [", "- a", "title: x", "\ttitle: x"])
def test_text_that_is_no_spec_is_refused(broken):
    with pytest.raises(SpecError):
        parse(broken, "audit.yaml")


def test_a_word_beside_a_data_factory_is_refused(host, tmp_path):
    wrong = text().replace('"row_victims:inputs"}', '"row_victims:inputs", limt: 3}', 1)
    with pytest.raises(MmadvError, match=r"(?s)'limt' is used by nobody.*audit.yaml:9.*limit"):
        Audit(parse(wrong, "audit.yaml"), tmp_path / "run", host).run()
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_before_its_first_shard_claims_no_folder(host, tmp_path, monkeypatch):
    wrong = text().replace("image.fgsm", "image.ddn", 1)  # an L2 attack, in Linf
    with pytest.raises(MmadvError, match="L2"):
        Audit(parse(wrong), tmp_path / "run", host).run()
    made = Audit(parse(text()), tmp_path / "run", host)
    monkeypatch.setattr(made, "compute", lambda unit: 1 / 0)  # whatever a victim raises
    with pytest.raises(ZeroDivisionError):
        made.run()
    assert [file.name for file in (tmp_path / "run").iterdir() if file.name != ".lock"] == []
    with pytest.raises(FileNotFoundError), made.folder.locked():
        raise FileNotFoundError("not the folder's fault")


def test_an_optional_campaign_is_left_out_until_its_assets_are_there(host, tmp_path, monkeypatch):
    import row_victims

    from mmadv.errors import AssetError

    def missing():
        raise AssetError("it is not installed", where="here", fix="install it")

    required = text().replace(
        '{factory: "row_victims:inputs", limit: 10}', '{factory: "row_victims:elsewhere", limit: 10}'
    )
    optional = required.replace("  - name: l2\n", "  - name: l2\n    optional: true\n")
    monkeypatch.setattr(row_victims, "elsewhere", missing, raising=False)
    with pytest.raises(AssetError, match="it is not installed"):
        Audit(parse(required), tmp_path / "required", host).run()
    audit = Audit(parse(optional), tmp_path / "run", host)
    summary = audit.run()
    assert [campaign["name"] for campaign in summary["campaigns"]] == ["linf"]
    assert [(one["name"], one["fix"]) for one in summary["missing"]] == [("l2", "install it")]
    assert list(verify(Audit.of_folder(tmp_path / "run", host))) == []
    monkeypatch.setattr(row_victims, "elsewhere", row_victims.inputs)
    summary = Audit(parse(optional), tmp_path / "run", host).run()
    assert [campaign["name"] for campaign in summary["campaigns"]] == ["linf", "l2"]
    assert not summary["missing"]
    assert list(verify(Audit.of_folder(tmp_path / "run", host))) == []
