"""A user's own texts and model: tables, labels by the model's own names, limits without eps, and the command line."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from typer.testing import CliRunner

import mmadv
from mmadv import cli
from mmadv.audit import Audit
from mmadv.data import SkippedWarning
from mmadv.errors import InputError, MmadvError, ParameterError, SpecError
from mmadv.host import default_host
from mmadv.spec import parse
from mmadv.verify import verify
from mmadv_text.demo import sentiment, snippets
from mmadv_text.source import LONGEST, TextSource
from mmadv_text.target import TransformersTarget, load_folder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
COUNT = 8
PAGE = "<script>alert('x')</script><b>a good film</b> &amp; a dull one"
THREAT = {"preset": "none", "candidates": "characters"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The project's sentiment transformer, saved as a user's would be, its classes named."""
    folder, target = tmp_path_factory.mktemp("models") / "sentiment", sentiment()
    target.module.config.id2label = {0: "negative", 1: "positive"}
    target.module.config.label2id = {"negative": 0, "positive": 1}
    target.module.save_pretrained(folder)
    target.tokenizer.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts():
    some = snippets(most_words=10).take(0, COUNT)
    return [(str(text), label) for text, label in zip(some.x, some.y.tolist(), strict=True)]


@pytest.fixture
def reviews(tmp_path, texts):
    """A table of a user's, its columns called as they like."""
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "what they said", "feeling", "stars"])
        for number, (text, label) in enumerate(texts):
            table.writerow([number, text, ("Negative", "Positive")[label], label])
    return path


COLUMNS = {"text_column": "what they said", "label_column": "feeling"}


def mmadv_cli(*args):
    """The command line in this process; what it raises is raised."""
    done = CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def records(out):
    audit = Audit.of_folder(out, default_host())
    audit.facts()
    return {record["key"]: record for unit in audit.units() for record in audit.records(audit.place(unit))}


def test_own_model_and_data_from_the_command_line(model, reviews, texts, tmp_path):
    options = (
        "attack", "text.suite", "--model", model, "--data", reviews, "--text-column", "what they said", "--eps", "0.4",
        "--queries", 120, "-t", "similarity=-1",
    )  # fmt: skip
    said = mmadv_cli(*options, "--label-column", "feeling", "--out", tmp_path / "run")
    assert said.strip().endswith("report.html")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["campaigns"][0]
    assert (summary["examples"], summary["skipped"], summary["data"]) == (COUNT, [], "reviews.csv")
    assert summary["clean"]["value"] >= 0.6
    assert summary["worst"][0]["robust"]["value"] < summary["clean"]["value"]
    assert list(verify(Audit.of_folder(tmp_path / "run", default_host()))) == []
    # The same labels as numbers, other batches and another way to name the device: the same records.
    mmadv_cli(
        *options, "--label-column", "stars", "--batch-size", 3, "--device", "cpu", "--target", "tokens=200", "--out", tmp_path / "other",
    )  # fmt: skip
    one, other = records(tmp_path / "run"), records(tmp_path / "other")
    assert list(one) == [f"reviews.csv:{number}" for number in range(1, COUNT + 1)]
    close = ("distance", "score", "clean_score", "measures")
    plain = [[{k: v for k, v in r.items() if k not in close} for r in found.values()] for found in (one, other)]
    assert plain[0] == plain[1]
    result = mmadv.attack(str(model), data=reviews, **COLUMNS, attack="text.suite", eps=0.4, queries=120, similarity=-1)
    assert [status.value for status in result.status] == [record["status"] for record in one.values()]
    assert result.keys == tuple(one)


def test_a_page_of_html_is_a_text_like_any_other(model, tmp_path):
    (tmp_path / "reviews.jsonl").write_text(
        json.dumps({"text": PAGE, "label": "positive"})
        + "\n"
        + json.dumps({"text": "a dull film", "label": "negative"})
    )
    mmadv_cli(
        "attack", "text.firstorder", "--model", model, "--data", tmp_path / "reviews.jsonl", "--eps", "1", "--queries", 30,
        "-t", "preset=none", "-t", "candidates=characters", "-t", "markup=true", "--out", tmp_path / "run",
    )  # fmt: skip
    assert "<script>alert" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    source = TextSource(tmp_path / "reviews.jsonl", classes=["negative", "positive"])
    assert source.take(0, 9).x[0] == PAGE


def test_rows_without_a_text_or_a_label_are_left_out_and_said_to_be(tmp_path):
    rows = [
        {"text": "good", "label": 1}, {"text": None, "label": 1}, {"text": "bad", "label": None},
        {"text": "x" * (LONGEST + 1), "label": 0}, {"text": "", "label": 0}, {"label": 1}, {"text": "bad", "label": 0},
        {"text": " \n", "label": 1},
    ]  # fmt: skip
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    options = {"attack": "text.greedy", "eps": 1.0, **THREAT}
    victim = lambda texts: [[float("bad" in text), float("good" in text)] for text in texts]  # noqa: E731
    with pytest.warns(
        SkippedWarning, match=r"6 left out of the data: t.jsonl:2: it has no text; t.jsonl:3: it has no label; t"
    ):
        result = mmadv.attack(victim, data=path, **options)
    assert result.keys == ("t.jsonl:1", "t.jsonl:7")  # what is empty can't be attacked, and would count as robust
    assert [one.why for one in result.skipped] == [
        "it has no text", "it has no label", f"it has {LONGEST + 1:,} characters", *["it has no text"] * 3,
    ]  # fmt: skip
    path.write_text('{"text": "\\ud800", "label": 1}')
    with pytest.raises(InputError):
        TextSource(path)


def test_pairs_have_a_column_of_first_parts(tmp_path):
    (tmp_path / "t.csv").write_text("premise,text,label\na film,it was good,1\na book,it was bad,0\n")
    source = TextSource(tmp_path / "t.csv", pair_column="premise")
    assert list(source.take(0, 9).x) == [("a film", "it was good"), ("a book", "it was bad")]
    with pytest.raises(InputError, match="there is no column 'hypothesis'"):
        TextSource(tmp_path / "t.csv", pair_column="hypothesis")


@pytest.mark.parametrize(
    ("change", "error", "what", "fix"),
    [
        ({"text_column": "said"}, InputError, "there is no column 'said'", "what they said"),
        ({"text_column": None}, InputError, "no column is called 'text'", "text_column: one of 'id', 'what they said'"),
        ({"label_column": "id"}, InputError, "'2' is none of the model's classes", "'negative', 'positive', or 0 to 1"),
        ({"label_column": "what they said"}, InputError, "such labels", "'negative', 'positive'"),
        ({"classes": ["a", "b", "c"]}, ParameterError, "the model has 2 classes", "once, in its order"),
        ({"image_column": "id"}, ParameterError, "'image_column' is used by neither", "text_column"),
        ({"limit": 0}, MmadvError, "limit is 0", "at least 1"),
    ],
)
def test_words_of_data_that_do_not_fit(model, reviews, change, error, what, fix):
    options = {**COLUMNS, "attack": "text.greedy", "eps": 0.4, **THREAT, **change}
    with pytest.raises(error, match=what) as caught:
        mmadv.attack(model, data=reviews, **options)
    assert fix in caught.value.fix


SPEC = """title: limits
campaigns:
  - name: words
    modality: text
    target: {{model: "{model}", device: auto, batch_size: auto}}
    data: {{path: "{data}", text_column: what they said, label_column: feeling, limit: 4}}
    threat: {{{threat}, candidates: characters}}
    attacks: [{{name: text.greedy, queries: 40}}]
"""


@pytest.mark.parametrize(
    ("threat", "eps", "kept"),
    [
        ("preset: none, words: 2", 1.0, lambda r: r["distance"] <= 2 / 3),
        ("preset: none, edits: 1", 1.0, lambda r: r["measures"]["edits"] <= 1),
        ("preset: strict, similarity: -1", 0.15, lambda r: r["distance"] <= 0.15),
    ],
)
def test_a_spec_may_limit_texts_without_eps(model, reviews, tmp_path, threat, eps, kept):
    spec = SPEC.format(model=model, data=reviews, threat=threat)
    summary = Audit(parse(spec), tmp_path / "run", default_host()).run()["campaigns"][0]
    assert [point["eps"] for point in summary["worst"]] == [eps]
    assert summary["worst"][0]["robust"]["total"] == 4
    assert summary["threat"]["eps"] == [eps]  # as the report shows it
    found = [record for record in records(tmp_path / "run").values() if record["success"]]
    assert all(record["eps"] == eps for record in found)
    assert all(kept(record) for record in found)
    assert list(verify(Audit.of_folder(tmp_path / "run", default_host()))) == []


def test_a_spec_without_any_limit_is_refused(model, reviews, tmp_path):
    spec = SPEC.format(model=model, data=reviews, threat="preset: none")
    with pytest.raises(SpecError, match="eps is missing"):
        Audit(parse(spec, "audit.yaml"), tmp_path / "run", default_host())


def test_a_model_is_loaded_in_another_dtype(model):
    half = load_folder(model, dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    some = snippets(most_words=10).take(0, 32)
    whole = load_folder(model)
    assert (half(some.x).argmax(1) == whole(some.x).argmax(1)).float().mean() > 0.9
    assert half.fingerprint() != whole.fingerprint()
    assert whole.labels == ("negative", "positive")
    assert (whole.batch_size, load_folder(model, batch_size="auto").batch_size, load_folder(model, batch_size=7).batch_size) == (
        None, None, 7,
    )  # fmt: skip


def test_where_memory_runs_out_batches_are_halved_and_results_stay(model, texts):
    """Also where the stored texts are judged once more, on their own."""
    x, y = [text for text, _ in texts], [label for _, label in texts]
    options = {"attack": "text.greedy", "eps": 0.4, "queries": 40, "modality": "text", **THREAT}
    target = load_folder(model)
    expected = mmadv.attack(target, x, y, **options)
    for message in ("CUDA out of memory. Tried to allocate 2 GiB", "DefaultCPUAllocator: can't allocate memory"):

        class Small(TransformersTarget):
            def ask(self, inputs, message=message):
                if len(inputs["input_ids"]) > 5:
                    raise RuntimeError(message)
                return super().ask(inputs)

        small = Small(target.module, tokenizer=target.tokenizer.tokenizer, batch_size=64)
        found = mmadv.attack(small, x, y, **options, batch_size=64)
        assert list(found.adv) == list(expected.adv)
        assert found.queries.tolist() == expected.queries.tolist()
        assert found.stored_success.tolist() == expected.stored_success.tolist()
