"""Victims of `transformers` on small random weights, from local folders; batches, likelihoods, gradients, bad input."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import (
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2ForXVector,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

import mmadv
from mmadv import Access, Output
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv.rows import take
from mmadv_audio.classifiers import ClassifierTarget, DetectorTarget, SpeakerTarget
from mmadv_audio.features import Standardised
from mmadv_audio.recognisers import CTCTarget
from mmadv_audio.target import AudioTarget, FunctionTarget, claim, load_folder
from mmadv_audio.transcripts import label_of, labels_of, text_of
from mmadv_audio.transforms import Played, rooms
from mmadv_audio.waves import Waves
from mmadv_audio.whisper import WhisperTarget

SECONDS = [0.31, 0.5, 0.17, 0.5, 0.44]
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
NORMS = ["group", "layer"]


@pytest.fixture(scope="module")
def waveforms():
    """1-D float32 waveforms at 16 kHz, at most half a second."""
    found = []
    for seed, seconds in enumerate(SECONDS):
        size = int(seconds * 16_000)
        noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        found.append(0.3 * torch.sin(torch.arange(size) * 0.02 * (seed + 1)) + 0.05 * noise)
    return found


@pytest.fixture(scope="module")
def x(waveforms):
    return Waves.of(waveforms, rate=16_000)


def row(x, at):
    """One row without what padding it had in its batch."""
    return Waves.of([x[at]], x.rate)


def in_double(target, x):
    """A target and rows to take finite differences of."""
    target.module.double()
    target.dtype = torch.float64
    return x.with_samples(x.samples.double())


def slopes(value, x, size=1e-6):
    """The slopes of a function (B,) of rows along one direction, by autograd and by finite differences."""
    leaf = x.samples.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(x.with_samples(leaf)).sum(), leaf)
    assert not gradient.masked_select(~x.valid).any()
    step = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(9), dtype=leaf.dtype) * x.valid
    with torch.no_grad():
        moved = [value(x.with_samples(x.samples + sign * size * step)) for sign in (1, -1)]
    return (gradient * step).sum(1), (moved[0] - moved[1]) / (2 * size)


# --- Whisper ---------------------------------------------------------------------------------------


def whisper():
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|0.00|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, eos_token=special[0])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    end, start, silent, _ = (tokenizer.get_vocab()[token] for token in special)
    config = WhisperConfig(
        vocab_size=264, num_mel_bins=80, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=50,
        max_target_positions=40, decoder_start_token_id=start, bos_token_id=end, eos_token_id=end, pad_token_id=end,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval()
    rules = model.generation_config
    rules._from_model_config = False  # else what only Whisper's has is not read again
    rules.suppress_tokens, rules.begin_suppress_tokens = (
        [5, 6, start, silent, silent + 1, 260, 261, 262, 263],
        [32, end],
    )
    rules.no_timestamps_token_id, rules.is_multilingual, rules.max_length = silent, False, None
    torch.manual_seed(10)
    with torch.no_grad():  # so that some rows end, and at different times
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.6)
        model.model.decoder.embed_tokens.weight[end] *= 1.5
    return model, tokenizer


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    model, tokenizer = whisper()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=1).save_pretrained(folder)
    return folder


@pytest.fixture
def heard(whisper_folder):
    return load_folder(whisper_folder, most=24)


def test_whisper_batches_equal_batches_of_one(heard, x):
    wanted = labels_of(["open the door", "stop", "go now", "open the door", ""])
    heard.begin[:] = False
    labels, surprise = heard.likelihood(x)
    values = surprise(wanted)
    for at in range(len(x)):
        label, alone = heard.likelihood(row(x, at))
        assert label.item() == labels[at].item() == heard(row(x, at)).item()
        assert alone(wanted[at : at + 1]).item() == pytest.approx(values[at].item(), rel=1e-5)
    assert torch.equal(heard(x), labels)
    assert [text_of(int(label)) for label in labels] == [text_of(int(label)) for label in labels_of(heard.texts(x))]


def test_whispers_likelihood_is_transformers_own_loss(heard, x):
    wanted = "open the door"
    heard.first = 0.0
    tokens = [*heard.tokenizer(" Open the door.", add_special_tokens=False)["input_ids"], heard.end]
    ids = torch.tensor([[*heard.prompt[1:], *tokens]])
    labels = torch.tensor([[-100] * (len(heard.prompt) - 1) + tokens])
    given = torch.cat([torch.tensor([[heard.prompt[0]]]), ids[:, :-1]], 1)
    with torch.no_grad():
        loss = heard.module(heard.features(row(x, 0)), decoder_input_ids=given, labels=labels).loss
        values = heard.likelihood(x)[1](labels_of([wanted] * len(x)))
        heard.first = 1.0
        weighted = heard.likelihood(x)[1](labels_of([wanted] * len(x)))
        first = heard.module(heard.features(x), decoder_input_ids=given.expand(len(x), -1)).logits[
            :, len(heard.prompt) - 1
        ]
    assert values[0].item() == pytest.approx(loss.item() * len(tokens), rel=1e-5)
    assert torch.allclose(weighted - values, -first.log_softmax(-1)[:, tokens[0]], rtol=1e-4)


def test_what_a_row_is_heard_as_is_likely_in_its_own_tokens(heard, x):
    heard.first = 0.0
    with torch.no_grad():
        state = heard.encoded(x)
        own = heard.decoded(state)
        labels, surprise = heard.likelihood(x)
        assert torch.allclose(surprise(labels), heard.surprise(state, own))


def test_whispers_gradient_is_that_of_finite_differences(heard, x):
    x = in_double(heard, x)
    wanted = labels_of(["stop"] * len(x))
    slope, differences = slopes(lambda rows: heard.likelihood(rows)[1](wanted), x)
    assert torch.allclose(slope, differences, rtol=1e-4)


def test_a_shorter_window_leaves_the_model_alone(whisper_folder, x):
    whole = load_folder(whisper_folder, most=24)
    before = whole.fingerprint()
    short = WhisperTarget(whole.module, tokenizer=whole.tokenizer, seconds=0.5, most=24)
    with torch.no_grad():
        assert short.encoded(x).shape == (len(x), 25, 16)
        assert whole.encoded(x).shape == (len(x), 50, 16)
    assert whole.fingerprint() == before != short.fingerprint()
    assert len(short(x)) == len(x)
    encoder = whole.module.model.encoder
    with torch.no_grad():
        encoder.conv1.weight.zero_()
        encoder.embed_positions.weight.zero_()
    assert not short.encoder.conv1.weight.any()
    assert not short.encoder.embed_positions.weight.any()
    with pytest.raises(InputError, match=r"window 0\.5 s"):
        short(Waves.of([torch.zeros(8_001)], rate=16_000))
    for seconds in (0.51, 1.5):
        with pytest.raises(ParameterError, match="seconds"):
            WhisperTarget(whole.module, tokenizer=whole.tokenizer, seconds=seconds, most=24)


def test_whisper_refuses_what_it_cannot_emit(heard, x):
    heard.check(x, labels_of(["stop"] * len(x)))
    with pytest.raises(InputError, match="24 at most"):
        heard.check(x, labels_of(["a transcript that has many more tokens than that"] * len(x)))
    with pytest.raises(InputError, match="never stays silent"):
        heard.check(x, labels_of([""] * len(x)))
    with pytest.raises(InputError, match="no transcript"):
        heard.check(x, torch.tensor([3] * len(x)))
    with pytest.raises(ParameterError, match="most"):
        WhisperTarget(heard.module, tokenizer=heard.tokenizer, most=39)
    heard.begin[heard.end] = False
    silent = WhisperTarget(heard.module, tokenizer=heard.tokenizer, begin_suppress=(), most=24)
    silent.check(x, labels_of([""] * len(x)))


def test_whisper_is_asked_for_no_suppressed_token(heard, x):
    letter = heard.tokenizer.get_vocab()
    heard.never[letter["q"]] = heard.begin[letter["z"]] = True
    heard.spell = str.strip
    with pytest.raises(InputError, match="never writes 'q'") as caught:
        heard.check(x, labels_of(["stop", "go", "stop", "quit", "go"]))
    assert "row 3" in caught.value.where
    heard.begin[letter["Ġ"]] = False  # a space stands before the first word
    heard.check(x, labels_of(["zoo"] * len(x)))
    heard.begin[letter["Ġ"]] = True
    with pytest.raises(InputError, match="begins nothing with ' '"):
        heard.check(x, labels_of(["zebra"] * len(x)))


def test_a_multilingual_whisper_needs_a_language():
    model, tokenizer = whisper()
    rules = model.generation_config
    rules.is_multilingual, rules.lang_to_id, rules.task_to_id = True, {"<|en|>": 260}, {"transcribe": 261}
    with pytest.raises(TargetError, match="multilingual"):
        WhisperTarget(model, tokenizer=tokenizer, most=24)
    with pytest.raises(ParameterError, match="unknown language"):
        WhisperTarget(model, tokenizer=tokenizer, language="xx", most=24)
    start, silent = rules.decoder_start_token_id, rules.no_timestamps_token_id
    assert WhisperTarget(model, tokenizer=tokenizer, language="en", most=24).prompt == [start, 260, 261, silent]


# --- CTC -------------------------------------------------------------------------------------------


def wav2vec2(norm, kind, **options):
    torch.manual_seed(3)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(16, 16, 16),
        conv_stride=(5, 4, 4), conv_kernel=(10, 8, 4), num_feat_extract_layers=3, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer",
        vocab_size=len(LETTERS), pad_token_id=0, classifier_proj_size=8, initializer_range=0.5, **options,
    )  # fmt: skip
    return kind(config).eval()


@pytest.fixture(scope="module")
def ctc_folders(tmp_path_factory):
    folders = {}
    for norm in NORMS:
        folders[norm] = tmp_path_factory.mktemp(norm)
        (folders[norm] / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(LETTERS)}))
        Wav2Vec2CTCTokenizer(str(folders[norm] / "vocab.json")).save_pretrained(folders[norm])
        wav2vec2(norm, Wav2Vec2ForCTC).save_pretrained(folders[norm])
        Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folders[norm])
    return folders


@pytest.fixture(params=NORMS)
def ctc(request, ctc_folders):
    return load_folder(ctc_folders[request.param])


def test_ctc_answers_are_those_of_transformers_one_by_one(ctc, x, ctc_folders):
    assert isinstance(ctc, CTCTarget)
    assert (ctc.output, ctc.access) == (Output.LABEL, Access.GRADIENT)
    assert ctc.padding == ("mask" if ctc.module.config.feat_extract_norm == "layer" else "")
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(ctc_folders["layer"])
    extractor = Wav2Vec2FeatureExtractor()
    with torch.no_grad():
        scores, frames = ctc.encoded(x)
        for at, wave in enumerate(x):
            alone = ctc.module(
                extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
            ).logits
            assert frames[at] == alone.shape[1]
            assert torch.allclose(scores[at, : frames[at]], alone[0].log_softmax(-1), atol=1e-5)
            assert ctc.texts(x)[at] == tokenizer.decode(alone[0].argmax(-1)).replace("<unk>", "").strip()
    assert torch.equal(ctc(x), torch.cat([ctc(row(x, at)) for at in range(len(x))]))


def test_ctcs_likelihood_is_torchs_loss_row_by_row(ctc, x):
    wanted = ["see", "don't go", "see", "", "yes"]
    labels, surprise = ctc.likelihood(x)
    values = surprise(labels_of(wanted))
    assert torch.equal(labels, ctc(x))
    for at, text in enumerate(wanted):
        with torch.no_grad():
            scores = ctc.run(Standardised()(row(x, at))).log_softmax(-1)
        tokens = torch.tensor([[LETTERS.index(letter.upper().replace(" ", "|")) for letter in text]], dtype=torch.long)
        loss = nn.functional.ctc_loss(
            scores.transpose(0, 1), tokens, (scores.shape[1],), (len(text),), reduction="none"
        )
        assert values[at].item() == pytest.approx(loss.item(), rel=1e-5)
        alone = ctc.likelihood(row(x, at))[1](labels_of([text]))
        assert alone.item() == pytest.approx(values[at].item(), rel=1e-5)


def test_ctcs_gradient_is_that_of_finite_differences(ctc, x):
    x = in_double(ctc, x)
    wanted = labels_of(["see", "stop", "a", "open the door", "go"])
    slope, differences = slopes(lambda rows: ctc.likelihood(rows)[1](wanted), x)
    assert torch.allclose(slope, differences, rtol=1e-4)


def test_ctc_refuses_what_it_cannot_emit(ctc, x):
    frames = ctc.frames(x.length).tolist()
    ctc.check(x, labels_of(["ab" * (count // 2) for count in frames]))
    ctc.check(x, labels_of(["a" * ((count + 1) // 2) for count in frames]))
    with pytest.raises(InputError, match=rf"needs {2 * frames[2] - 1} frames, and the waveform has {frames[2]}"):
        ctc.check(row(x, 2), labels_of(["a" * frames[2]]))
    with pytest.raises(InputError, match=r"no '7', 'é' in its vocabulary") as caught:
        ctc.check(x, labels_of(["see", "é 7", "a", "b", "c"]))
    assert "row 1" in caught.value.where
    with pytest.raises(InputError, match="needs 105"):
        ctc(Waves.of([torch.zeros(300), torch.zeros(104)], rate=16_000))
    assert len(ctc(Waves.of([torch.zeros(300), torch.zeros(105)], rate=16_000))) == 2


def test_ctc_symbols_may_be_whole_words():
    target = CTCTarget(Frames(3).eval(), vocabulary=["", "yes", "no"])
    assert target.spoken([1, 0, 2, 1]) == "yes no yes"
    assert target.spelled(label_of("No, yes!")) == [2, 1]
    with pytest.raises(InputError, match="no 'maybe' in its vocabulary"):
        target.spelled(label_of("maybe yes"))


class Frames(nn.Module):
    """A plain recogniser on frames of 40 samples, whose whole answer depends on how long its input is."""

    def __init__(self, symbols):
        super().__init__()
        torch.manual_seed(2)
        self.head = nn.Conv1d(1, symbols, 40, stride=40)

    def forward(self, samples):
        return (self.head(samples.unsqueeze(1)) * 30 + samples.shape[1] % 7).transpose(1, 2) - samples.shape[1] / 1e4


def test_plain_ctc_modules_see_rows_of_equal_length(x):
    target = CTCTarget(Frames(4).eval(), vocabulary=["", "a", "b", " "], standardise=True)
    labels, surprise = target.likelihood(x)
    values = surprise(labels_of(["ab"] * len(x)))
    for at in range(len(x)):
        alone, own = target.likelihood(row(x, at))
        assert alone.item() == labels[at].item()
        assert own(labels_of(["ab"])).item() == pytest.approx(values[at].item(), rel=1e-5)
    assert target.frames(x.length).tolist() == [int(size) // 40 for size in x.length]
    told = CTCTarget(Frames(4).eval(), vocabulary=["", "a", "b", " "], standardise=True, frames=lambda size: size // 40)
    assert torch.equal(told(x), labels)
    with pytest.raises(TargetError, match="vocabulary has 5"):
        CTCTarget(Frames(4).eval(), vocabulary=["", "a", "b", " ", "c"])(x)
    with pytest.raises(TargetError, match="no tokenizer"):
        CTCTarget(Frames(4).eval())
    with pytest.raises(ParameterError, match="a feature extractor is given"):
        CTCTarget(Frames(4).eval(), vocabulary=["", "a"], extractor=Wav2Vec2FeatureExtractor())
    with pytest.raises(ParameterError, match="beside a tokenizer"):
        CTCTarget(Frames(4).eval(), vocabulary=["", "a"], tokenizer=object())
    with pytest.raises(TargetError, match="frames where"):
        CTCTarget(Frames(4).eval(), vocabulary=["", "a", "b", " "], frames=lambda size: size // 10)(x)


def test_a_budget_may_end_among_the_candidates_of_a_step(x):
    target, some = CTCTarget(Frames(4).eval(), vocabulary=["", "a", "b", " "]), take(x, slice(0, 2))
    words = {"norm": "linf", "eps": 1e-6, "wer": 0.9, "samples": 4, "queries": 8}
    result = mmadv.attack(target, some, target.texts(some), "audio.nes", **words)
    assert result.queries.tolist() == [8, 8]


# --- classifiers, speakers, detectors --------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_classifiers_from_folders_answer_as_transformers_does(tmp_path, x, norm):
    wav2vec2(norm, Wav2Vec2ForSequenceClassification, num_labels=3).save_pretrained(tmp_path)
    extractor = Wav2Vec2FeatureExtractor()
    extractor.save_pretrained(tmp_path)
    target = load_folder(tmp_path)
    assert isinstance(target, ClassifierTarget)
    with torch.no_grad():
        answer = target(x)
        for at, wave in enumerate(x):
            given = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
            assert torch.allclose(answer[at], target.module(given).logits[0], atol=1e-5)
        assert target(take(x, slice(0, 0))).shape == (0, 3)
    double = in_double(target, x)
    slope, differences = slopes(lambda rows: target(rows)[:, 0], double)
    assert torch.allclose(slope, differences, rtol=1e-4)


def test_classifiers_of_other_features_are_refused():
    model, _ = whisper()
    with pytest.raises(TargetError, match="does not work on samples"):
        ClassifierTarget(model)
    with pytest.raises(TargetError, match="no WhisperForConditionalGeneration"):
        WhisperTarget(nn.Identity().eval())


class Means(nn.Module):
    """Two features of samples; padding would change the first."""

    def forward(self, samples):
        return torch.stack([samples.abs().mean(1), samples.square().sum(1)], 1)


class Told(nn.Module):
    """As `Means`, told of lengths."""

    def forward(self, samples, lengths):
        return torch.stack([samples.abs().sum(1) / lengths, samples.square().sum(1)], 1)


def test_modules_never_see_padding(x):
    alone = torch.cat([AudioTarget(Means().eval())(row(x, at)) for at in range(len(x))])
    told = AudioTarget(Told().eval())
    assert told.padding == "lengths"
    for target in (AudioTarget(Means().eval()), told):
        assert torch.allclose(target(x), alone, atol=1e-5)
    with pytest.raises(InputError, match="the victim needs 8000"):
        AudioTarget(Means().eval(), shortest=8_000)(x)
    with pytest.raises(InputError, match="2720 samples is too short for the victim") as caught:
        AudioTarget(nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 2, 4000), nn.Flatten()).eval())(x)
    assert caught.value.where == "x, row 2"


class Pitch(nn.Module):
    """Directions that differ with the correlation of samples with those before them."""

    def forward(self, samples):
        power = samples.square().sum(1)
        return torch.stack(
            [(samples[:, lag:] * samples[:, : samples.shape[1] - lag]).sum(1) / power for lag in (0, 20)], 1
        )


def test_speakers_are_accepted_at_the_threshold(x):
    with torch.no_grad():
        embedded = torch.cat([Pitch()(wave.unsqueeze(0)) for wave in x])
    enrolled = embedded[[1, 3]] * torch.tensor([[1.0], [5.0]])
    directions = nn.functional.normalize(enrolled, dim=1).mean(0, keepdim=True)
    cosine = nn.functional.cosine_similarity(embedded, directions)
    bound = float(cosine.median())
    target = SpeakerTarget(Pitch().eval(), enrolled=enrolled, threshold=bound - 1e-4)
    answer = target(x)
    assert torch.equal(answer.argmax(1).bool(), cosine >= bound - 1e-4)
    assert answer.argmax(1).unique().tolist() == [0, 1]
    assert torch.allclose(answer[:, 1], 10 * (cosine - bound + 1e-4), atol=1e-5)
    other = SpeakerTarget(Pitch().eval(), enrolled=enrolled.flip(1), threshold=bound - 1e-4)
    assert other.fingerprint() != target.fingerprint()
    slope, differences = slopes(lambda rows: target(rows)[:, 1], x.with_samples(x.samples.double()))
    assert torch.allclose(slope, differences, rtol=1e-4)
    with pytest.raises(TargetError, match="does not answer embeddings"):
        SpeakerTarget(nn.Unflatten(1, (-1, 2)).eval(), enrolled=torch.ones(2), threshold=0.5)(row(x, 0))
    for wrong in ({"threshold": 2.0}, {"threshold": 0.5, "enrolled": torch.zeros(2)}):
        with pytest.raises(ParameterError):
            SpeakerTarget(Pitch().eval(), **{"enrolled": enrolled, **wrong})


def test_speakers_are_told_by_models_for_x_vectors(x):
    model = wav2vec2(
        "layer", Wav2Vec2ForXVector, tdnn_dim=(8, 8), tdnn_kernel=(3, 1), tdnn_dilation=(1, 1), xvector_output_dim=4
    )
    with torch.no_grad():
        own = [model(wave.unsqueeze(0)).embeddings[0] for wave in Standardised()(x)]
        answer = SpeakerTarget(model, enrolled=own[0], threshold=0.5, standardise=True)(x)
    cosines = nn.functional.cosine_similarity(torch.stack(own), own[0])
    assert torch.allclose(answer[:, 1], 10 * (cosines - 0.5), atol=1e-4)


class Loud(nn.Module):
    """The probability of sound in frames of 400 samples."""

    def forward(self, samples):
        return torch.sigmoid(samples.unfold(1, 400, 400).square().mean(2) * 40 - 2)


def test_detection_is_the_highest_frame_against_the_threshold(x):
    with torch.no_grad():
        highest = torch.stack([Loud()(wave.unsqueeze(0)).amax() for wave in x])
    bounds = [*highest.tolist(), float(highest.mean()), 1e-6]
    for bound in bounds:
        answer = DetectorTarget(Loud().eval(), threshold=bound)(x)
        assert torch.equal(answer.argmax(1).bool(), highest >= torch.tensor(bound))
    with pytest.raises(TargetError, match="two probabilities that sum to 1"):
        DetectorTarget(nn.Sequential(Means(), nn.Softmax(1)).eval())(x)
    target = DetectorTarget(Loud().eval(), threshold=0.7, smoothness=1e-3)
    slope, differences = slopes(lambda rows: target(rows)[:, 1], x.with_samples(x.samples.double()))
    assert torch.allclose(slope, differences, rtol=1e-2)
    smooth = DetectorTarget(Loud().eval(), threshold=0.7)
    leaf = x.samples.clone().requires_grad_()
    smooth(x.with_samples(leaf))[:, 1].sum().backward()
    assert ((leaf.grad != 0) == x.valid)[:, : int(x.length.min()) // 400 * 400].all()


# --- bad input, and what all have in common --------------------------------------------------------


def test_another_sample_rate_is_refused(ctc, x):
    other = Waves(x.samples, x.length, 8_000)
    for target in (ctc, AudioTarget(Means().eval()), FunctionTarget(len, rate=16_000)):
        with pytest.raises(TargetError, match=r"8000 .* 16000"):
            target(other)
    with pytest.raises(TargetError, match="16000"):
        ctc.check(other, labels_of(["a"] * len(x)))
    with pytest.raises(InputError, match="Tensor"):
        ctc(x.samples)


def test_nan_is_no_transcript(heard, ctc, x):
    for target in (heard, ctc):
        with torch.no_grad():
            for parameter in target.module.parameters():
                parameter.fill_(float("nan"))
        with pytest.raises(TargetError, match="not finite"):
            target(x)
        with pytest.raises(TargetError, match="not finite"):
            target.likelihood(x)
    assert AudioTarget(Means().eval())(x.with_samples(x.samples * float("nan"))).isnan().all()


@pytest.mark.parametrize("kind", ["whisper", "ctc"])
def test_recognisers_are_left_as_they_were(kind, heard, ctc, x):
    target = heard if kind == "whisper" else ctc
    before = target.fingerprint()
    with target.held(), torch.no_grad():
        _, surprise = target.likelihood(x)
        assert not surprise(labels_of(["go"] * len(x))).requires_grad
        with torch.enable_grad():
            leaf = x.samples.clone().requires_grad_()
            values = target.likelihood(x.with_samples(leaf))[1](labels_of(["go"] * len(x)))
        assert values.requires_grad
        assert values.isfinite().all()
        empty, none = target.likelihood(take(x, slice(0, 0)))
        assert len(empty) == len(none(empty)) == 0
    assert target.fingerprint() == before
    assert all(parameter.grad is None for parameter in target.module.parameters())


def test_rooms_stand_before_the_features(x):
    target = AudioTarget(Means().eval(), played=Played(rooms(2, 16_000), snr_db=(10, 10)))
    torch.manual_seed(0)
    first = target(x)
    assert not torch.equal(first, target(x))
    torch.manual_seed(0)
    assert torch.equal(first, target(x))
    assert target.fingerprint() != AudioTarget(Means().eval()).fingerprint()


def test_functions_of_waveforms(x):
    lengths = FunctionTarget(lambda waves: [[float(len(wave)), 0.0] for wave in waves])
    assert lengths(x)[:, 0].tolist() == x.length.tolist()
    assert lengths.access is Access.SCORE
    heard = FunctionTarget(lambda waves: np.array([f"{len(wave)} Samples." for wave in waves]), output="label")
    assert [text_of(int(label)) for label in heard(x)] == [f"{size} samples" for size in x.length.tolist()]
    assert heard.access is Access.DECISION
    with pytest.raises(TargetError, match="transcripts"):
        FunctionTarget(lambda waves: ["a"] * len(waves))(x)


def test_claims(whisper_folder, ctc_folders, x):
    model, tokenizer = whisper()
    assert isinstance(claim(model, "audio").factory(tokenizer=tokenizer, most=24), WhisperTarget)
    assert isinstance(claim(str(whisper_folder), "audio").factory(seconds=0.5, most=24), WhisperTarget)
    assert isinstance(claim(ctc_folders["group"], "audio").factory(), CTCTarget)
    assert isinstance(claim(wav2vec2("layer", Wav2Vec2ForCTC), "audio").factory(vocabulary=LETTERS), CTCTarget)
    classifier = wav2vec2("layer", Wav2Vec2ForSequenceClassification)
    assert isinstance(claim(classifier, "audio").factory(), ClassifierTarget)
    assert isinstance(claim(Means().eval(), "audio").factory(rate=8_000), AudioTarget)
    assert isinstance(claim(len, "audio").factory(output="label"), FunctionTarget)
    assert claim(model, "image") is None
    assert claim(3, "audio") is None


def test_folders_that_hold_no_audio_model_are_refused(tmp_path):
    with pytest.raises(TargetError, match="no safetensors"):
        load_folder(tmp_path)
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(TargetError, match="BertForMaskedLM"):
        load_folder(tmp_path)
    told = {"model_type": "audio-spectrogram-transformer", "architectures": ["ASTForAudioClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(TargetError, match="ASTForAudioClassification") as caught:
        load_folder(tmp_path)
    assert "on spectrograms as a torch.nn.Module" in caught.value.fix
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TargetError, match="no audio model"):
        load_folder(tmp_path)
