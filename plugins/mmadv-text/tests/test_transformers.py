"""Transformers classifiers from local folders, first-order values against autograd, and runs that are scored again."""

import csv
import json
import subprocess
import sys

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForSequenceClassification,
)

import mmadv
from mmadv import losses
from mmadv.audit import Audit
from mmadv.errors import TargetError
from mmadv.host import default_host
from mmadv.spec import parse
from mmadv.verify import verify
from mmadv_text import export
from mmadv_text.candidates.table import Table
from mmadv_text.constraints import Editable
from mmadv_text.encoder import SentenceEncoder
from mmadv_text.space import TextSpace
from mmadv_text.target import CutWarning, TokensTarget, TransformersTarget, Vocabulary, load_folder
from mmadv_text.texts import Texts

WORDS = [
    "good",
    "fine",
    "film",
    "movie",
    "bad",
    "dull",
    "a",
    "the",
    "very",
    "un",
    "##watch",
    "##able",
    "story",
    ",",
    ".",
]
TABLE = Table({"good": ["fine", "unwatchable"], "film": ["movie", "story"], "bad": ["dull"], "very": ["the"]})
EVERY = Editable(stop_words=True, digits=True, entities=True, quoted=True)
TEXTS = [
    "a very good film.",
    "bad film, bad story",
    "good",
    "the film, the very good film, a good film",
    "nothing known",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bert")
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {word: number for number, word in enumerate([*special.values(), *WORDS])}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **special
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, num_labels=3, initializer_range=0.5,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():  # so that no class has all texts
        answers = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
        model.classifier.weight.mul_(10)
        model.classifier.bias.copy_(-10 * answers.mean(0))
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def target(folder):
    return load_folder(folder)


def test_batches_of_like_length_answer_as_each_text_alone(target):
    whole = target(Texts.of(TEXTS))
    narrow = TransformersTarget(target.module, tokenizer=target.tokenizer.tokenizer, tokens=12)
    assert len(list(narrow.batches(narrow.tokenized(TEXTS)))) >= 3
    for row, text in enumerate(TEXTS):
        assert torch.allclose(whole[row], target(Texts.of([text]))[0], atol=1e-5)
    assert torch.allclose(whole, narrow(Texts.of(TEXTS)), atol=1e-5)


def test_pairs_are_read_as_the_tokenizer_reads_them(target):
    pairs = [("a film", "very good"), ("the story, a film", "bad")]
    inputs = target.tokenizer.tokenizer(*zip(*pairs, strict=True), padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(target(Texts.of(pairs)), target.module(**inputs).logits, atol=1e-5)
    result = mmadv.attack(
        target, pairs, [int(label) for label in target(Texts.of(pairs)).argmax(1)], "text.beam", modality="text",
        preset="none", eps=1.0, candidates=TABLE, stop_words=True, entities=True,
    )  # fmt: skip
    assert all(adv[0] == pair[0] for adv, pair in zip(result.adv, pairs, strict=True))


def test_first_order_values_are_the_gradients_own(target):
    region = TextSpace(TABLE, editable=EVERY).around(Texts.of(TEXTS))
    y = target(region.x).argmax(1)
    # Also from texts that are perturbed already, where words have become longer or shorter.
    choice = torch.zeros_like(region.x.choice)
    choice[0, 1] = 2
    choice[3, 0] = 1
    adv = Texts(choice, region.x.number, region.x.book)
    answer, leaves, back = target.traced(adv)
    values = back(torch.autograd.grad(losses.log_odds(answer, y).sum(), leaves))
    weight = target.module.get_input_embeddings().weight.detach()
    tokenizer = target.tokenizer.tokenizer
    checked = 0
    for row, text in enumerate(adv.texts()):
        ids = tokenizer(text, return_tensors="pt")
        inner = weight[ids["input_ids"]].clone().requires_grad_()
        mask = {name: ids[name] for name in ("attention_mask", "token_type_ids")}
        loss = losses.log_odds(target.module(inputs_embeds=inner, **mask).logits, y[row : row + 1]).sum()
        (gradient,) = torch.autograd.grad(loss, inner)
        lattice, chosen = adv.lattice(row)
        for slot, (start, stop) in enumerate(lattice.places(chosen)):
            span = [ids.char_to_token(0, at) for at in range(start, stop)]
            own = sorted({token for token in span if token is not None})
            for option, candidate in enumerate(lattice.options[slot], 1):
                new = weight[tokenizer(candidate.text, add_special_tokens=False)["input_ids"]].mean(0)
                expected = (new - inner[0, own].detach().mean(0)) @ gradient[0, own].sum(0)
                assert values[row, slot, option] == pytest.approx(float(expected), rel=1e-3, abs=1e-5)
                checked += 1
    assert checked > 15
    assert all(not module._forward_hooks for module in target.module.modules())


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_gradients_of_encoder_decoders_are_of_both(folder, kind):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    own = {
        "vocab_size": len(tokenizer),
        "d_model": 8,
        "pad_token_id": 0,
        "eos_token_id": 3,
        "decoder_start_token_id": 2,
    }
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    torch.manual_seed(0)
    if kind == "bart":
        config = BartConfig(**own, **heads, encoder_layers=1, decoder_layers=1, scale_embedding=True, init_std=0.5)
        model = BartForSequenceClassification(config).eval()
    else:
        model = T5ForSequenceClassification(T5Config(**own, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).eval()
    target = TransformersTarget(model, tokenizer=tokenizer)
    texts = ["the good film", "bad story, very dull"]
    region = TextSpace(TABLE, editable=EVERY).around(Texts.of(texts))
    y = torch.zeros(2, dtype=torch.int64)
    with torch.enable_grad():
        answer, leaves, back = target.traced(region.x)
        gradients = torch.autograd.grad(losses.log_odds(answer, y).sum(), leaves)
        assert back(gradients).abs().sum() > 0
        weight = model.get_input_embeddings().weight
        for row, text in enumerate(texts):
            ids = tokenizer(text, return_tensors="pt")
            loss = losses.log_odds(model(**ids).logits, y[:1]).sum()
            (expected,) = torch.autograd.grad(loss, weight)
            scale = 8**0.5 if kind == "bart" else 1.0
            alone = target.traced(region.x[row : row + 1])
            (found,) = torch.autograd.grad(losses.log_odds(alone[0], y[:1]).sum(), alone[1])
            for at, token in enumerate(ids["input_ids"][0].tolist()):
                if token > 3:  # special tokens stand at more than one place
                    assert torch.allclose(found[0, at] * scale, expected[token], atol=1e-5)
    assert all(not module._forward_hooks for module in model.modules())
    labels = target(region.x).argmax(1)
    options = {"preset": "none", "eps": 1.0, "candidates": TABLE, "stop_words": True, "entities": True}
    result = mmadv.attack(target, texts, labels.tolist(), "text.firstorder", modality="text", **options)
    assert int(result.gradients.min()) >= 1


@pytest.mark.parametrize(("way", "said"), [("unasked", "is not asked in a pass"), ("twice", "asked twice in one pass")])
def test_embeddings_that_no_gradient_can_be_taken_of(way, said):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.tokenizer = nn.Embedding(9, 2), Vocabulary(WORDS[:7])

        def forward(self, ids):
            if way == "unasked":
                return nn.functional.embedding(ids, self.embedding.weight).sum(1)
            return self.embedding(ids).sum(1) + self.embedding(ids.flip(1)).sum(1)

    options = {"preset": "none", "eps": 1.0, "candidates": TABLE, "stop_words": True, "entities": True}
    victim = Odd().eval()
    label = TokensTarget(victim)(Texts.of(["good bad film"])).argmax(1).tolist()
    with pytest.raises(TargetError, match=said):
        mmadv.attack(victim, ["good bad film"], label, "text.saliency", **options)
    mmadv.attack(victim, ["good bad film"], label, "text.greedy", **options)


def test_on_a_linear_victim_first_order_values_are_exact():
    torch.manual_seed(0)
    vocabulary = Vocabulary(["good", "fine", "film", "movie", "story", "bad", "dull", "very", "the"])

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary.size, 2)

        def forward(self, ids):
            return (self.embedding(ids) * (ids != 0).unsqueeze(-1)).sum(1)

    target = TokensTarget(Sum().eval(), tokenizer=vocabulary)
    table = Table({"good": ["fine"], "film": ["movie", "story"], "bad": ["dull"], "very": ["the"]})
    region = TextSpace(table, editable=EVERY).around(Texts.of(TEXTS))
    y = torch.zeros(len(TEXTS), dtype=torch.int64)
    with torch.enable_grad():
        answer, leaves, back = target.traced(region.x)
        values = back(torch.autograd.grad(losses.log_odds(answer, y).sum(), leaves))
    before = losses.log_odds(answer.detach(), y)
    for row, lattice in enumerate(region.x.book):
        for slot, options in enumerate(lattice.options):
            for option in range(1, 1 + len(options)):
                choice = torch.zeros_like(region.x.choice[:1])
                choice[0, slot] = option
                after = losses.log_odds(
                    target(Texts(choice, region.x.number[row : row + 1], region.x.book)).detach(), y[:1]
                )
                assert float(after - before[row]) == pytest.approx(float(values[row, slot, option]), abs=1e-4)


def test_texts_longer_than_the_model_are_cut_and_said_to_be(folder):
    target = load_folder(folder)
    text = "a very good film " * 20
    with pytest.warns(CutWarning, match=r"reads 32 tokens at most: 1 of 2 texts are cut off, row 1 by 2\d\d of 340"):
        target(Texts.of(["good", text]))
    assert [one.cut for one in target.tokenizer(["good", text])] == [
        0,
        len(text.strip()) - len("a very good film " * 7 + "a very"),
    ]


def test_what_is_cut_is_said_in_every_run_and_stays_as_it_is(folder):
    target = load_folder(folder)
    texts = ["a very good film " * 20, "a very good film"]
    with pytest.warns(CutWarning):
        y = target(Texts.of(texts)).argmax(1).tolist()
    space = {"preset": "none", "eps": 1.0, "candidates": TABLE, "stop_words": True, "entities": True}
    for _ in range(2):
        with pytest.warns(CutWarning, match="1 of 2 texts are cut off, row 0") as said:
            result = mmadv.attack(target, texts, y, "text.greedy", modality="text", **space)
        assert len(said) == 1
    seen = 340 - 1 - int(result.terms["unseen characters"][0])
    assert seen == len("a very good film " * 7 + "a very")
    assert result.terms["unseen characters"].isnan().tolist() == [False, True]
    assert result.terms["candidates"].tolist() == [7 * 5 + 1, 5]
    assert "unseen characters 214 in 1 of 2" in str(result.summary())


@pytest.mark.parametrize("side", ["right", "left"])
def test_whatever_part_is_cut_is_said_to_be(folder, side):
    target = load_folder(folder)
    target.tokenizer.tokenizer.truncation_side = side
    long = "a very good film " * 10
    for pair in ((long, "good"), ("good", long), (long, long)):
        assert target.tokenizer([pair])[0].cut > 0
    text = "good " + "film " * 40 + "bad"
    (tokens,) = target.tokenizer([text])
    seen = [span for span in tokens.spans if span[1]]
    assert (seen[0][0] == 0) == (side == "right")
    assert tokens.cut == len(text) - (seen[-1][1] - seen[0][0])
    assert target.tokenizer([("good", "film"), ("", "")])[0].cut == 0
    with pytest.warns(CutWarning, match="cut off, row 1"):
        target(Texts.of([("good", "film"), (long, "good")]))


def test_sentence_encoder_says_what_it_leaves_out_and_padding_changes_nothing(folder):
    encoder = SentenceEncoder(folder)
    texts = ["good", "a very good film, the story", "bad bad bad film", ""]
    together = encoder(texts)
    for row, text in enumerate(texts):
        assert torch.allclose(together[row], encoder([text])[0], atol=1e-6)
    for ask in (encoder, encoder.unread, encoder.unread):  # asked once a run
        with pytest.warns(CutWarning, match="reads 32 tokens at most: 1 of 2 texts are cut off, such as 'film film"):
            found = ask(["good", "film " * 50])
        encoder(["good", "film " * 51])
    assert found == [0, 20 * 5]
    other = BertModel(BertConfig.from_pretrained(folder))
    assert SentenceEncoder(folder).fingerprint() == encoder.fingerprint()
    same = SentenceEncoder(folder)
    same.__dict__["_model"] = (other, encoder._model[1])
    assert same.fingerprint() != encoder.fingerprint()


def test_a_tokenizer_of_another_model(folder):
    model = BertForSequenceClassification(
        BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    with pytest.raises(TargetError, match="19 ids and the model 8 embeddings"):
        TransformersTarget(model.eval(), tokenizer=tokenizer)
    for own, said in (
        ({"vocab_size": 500}, "19 ids, and the model 500"),
        ({"vocab_size": 128, "pad_token_id": 1}, "for pad the id 0, and the model 1"),
        ({"vocab_size": 128, "sep_token_id": 0}, "for sep the id 3, and the model 0"),
    ):
        stranger = BertForSequenceClassification(
            BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, **own)
        )
        with pytest.raises(TargetError, match=said):
            TransformersTarget(stranger.eval(), tokenizer=tokenizer)
    with pytest.raises(TargetError, match="no tokenizer is given"):
        TransformersTarget(model.eval())


def test_positions_that_count_from_behind_the_padding(folder):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = MPNetForSequenceClassification(
        MPNetConfig(vocab_size=19, max_position_embeddings=22, pad_token_id=0, bos_token_id=2, eos_token_id=3, **small)
    )
    target = TransformersTarget(model.eval(), tokenizer=tokenizer)
    assert target.tokenizer.limit == 20
    with pytest.warns(CutWarning, match="reads 20 tokens"):
        assert target(Texts.of(["good film " * 20])).shape == (1, 2)


def test_a_model_that_knows_no_padding_and_one_in_train_mode(folder):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    config = GPT2Config(vocab_size=19, n_embd=8, n_layer=1, n_head=1, n_positions=32, bos_token_id=2, eos_token_id=3)
    model = GPT2ForSequenceClassification(config).eval()
    with pytest.raises(TargetError, match="reads no batches of several texts") as caught:
        TransformersTarget(model, tokenizer=tokenizer)(Texts.of(["good film", "film"]))
    assert "model.config.pad_token_id = " in caught.value.fix
    model.config.pad_token_id = tokenizer.pad_token_id
    assert TransformersTarget(model, tokenizer=tokenizer)(Texts.of(["good film", "film"])).shape == (2, 2)
    with pytest.raises(TargetError, match="train mode") as caught:
        TransformersTarget(model.train(), tokenizer=tokenizer)
    assert "allow_training=True" in caught.value.fix
    TransformersTarget(model, tokenizer=tokenizer, allow_training=True)


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(TargetError, match="holds no safetensors"):
        load_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(TargetError, match="would need unpickling"):
        load_folder(tmp_path)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    target = load_folder(folder)
    texts = [f"{text} {extra}" for text in TEXTS[:4] for extra in ("", "a film", "<b>bad</b> & good", "“very” very")]
    labels = target(Texts.of(texts)).argmax(1).tolist()
    with (place / "data.csv").open("w", encoding="utf-8") as file:
        file.write("review,stars\n")
        file.writelines(f'"{text}",{label}\n' for text, label in zip(texts, labels, strict=True))
    space = {"candidates": "mmadv_text_fixture:table", "preset": "none", "stop_words": True, "entities": True}
    campaign = {
        "name": "tiny", "modality": "text", "target": {"model": str(folder)},
        "data": {"path": str(place / "data.csv"), "text_column": "review", "label_column": "stars"},
        "threat": {"eps": [0.2, 0.6], **space},
        "attacks": ["text.pwws", "text.suite"], "cascade": True,
    }  # fmt: skip
    module = type(sys)("mmadv_text_fixture")
    module.table = lambda: TABLE
    sys.modules["mmadv_text_fixture"] = module
    text = yaml.safe_dump({"title": "tiny", "shard_size": 5, "campaigns": [campaign]})
    audit = Audit(parse(text), place / "run", default_host())
    audit.run()
    return audit, place


def test_a_run_verifies_and_names_an_altered_record(run):
    audit, _ = run
    assert list(verify(audit)) == []
    file = next(path for path in sorted(audit.folder.path.glob("shards/*/*/*/files/*.json")))
    before = file.read_text(encoding="utf-8")
    plain = json.loads(before)
    file.write_text(json.dumps({**plain, "adversarial": plain["original"]}), encoding="utf-8")
    try:
        assert any("was judged otherwise" in line for line in verify(audit))
    finally:
        file.write_text(before, encoding="utf-8")


def test_adversarials_differ_at_the_recorded_positions_alone(run):
    audit, _ = run
    found = [row for row in export.rows(audit) if row["adversarial"] is not None]
    assert len(found) >= 5
    for row in found:
        text, at, rebuilt = row["original"], 0, ""
        for change in row["substitutions"]:
            start, stop = change["span"]
            assert text[start:stop] == change["original"]
            rebuilt += text[at:start] + change["replacement"]
            at = stop
        assert rebuilt + text[at:] == row["adversarial"]
        assert row["measures"]["words"] == sum(one["source"] != "article" for one in row["substitutions"])


SCORE = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for line in open(sys.argv[2], encoding="utf-8"):
    row = json.loads(line)
    if row["success"]:
        with torch.no_grad():
            decision = int(model(**tokenizer(row["adversarial"], return_tensors="pt")).logits.argmax())
        assert decision == row["decision"], row
        assert (decision != row["label"]) == row["stored_success"], row
        print(row["key"])
"""


def test_a_fresh_process_scores_the_exported_texts_the_same(run, folder):
    audit, place = run
    count = export.write(audit, place / "texts.jsonl")
    assert count == len((place / "texts.jsonl").read_text(encoding="utf-8").splitlines())
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(folder), str(place / "texts.jsonl")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    successes = [row for row in export.rows(audit) if row["success"]]
    assert len(done.stdout.split()) == len(successes) >= 10
    # Also what was found at a smaller ε, or by the attack before.
    assert {(row["origin"] == row["attack"], row["origin_eps"] == row["eps"]) for row in successes} >= {
        (True, True),
        (True, False),
        (False, True),
    }
    assert export.write(audit, place / "texts.csv") == count
    with (place / "texts.csv").open(encoding="utf-8", newline="") as file:
        written = [row["adversarial"] for row in csv.DictReader(file)]
    assert written == [row["adversarial"] or "" for row in export.rows(audit)]
    with pytest.raises(mmadv.MmadvError, match="no known format"):
        export.write(audit, place / "texts.xlsx")


def test_the_report_shows_differences_and_escapes_what_texts_hold(run):
    from mmadv import report

    audit, _ = run
    html = report.render(audit, audit.folder.json("summary.json"))
    assert "<del>" in html
    assert "<ins " in html
    assert "<b>bad</b>" not in html
    assert "≤ 100" in html
