"""The audio plugin against bare loops on the same victim, recordings and steps: `python benchmarks/run.py audio`.

It runs in the project's own environment: the peers' attacks that could be installed are on CTC models alone. Where
`python benchmarks/run.py setup` has been run, the toolbox's masking threshold is timed too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

BENCHMARKS = Path(__file__).resolve().parent.parent
RESULTS = BENCHMARKS / "results"
PEERS = BENCHMARKS / ".venv/bin/python"
LEVELS = (40, 35, 30, 25, 20)
LEAST_ERRORS = 0.1
"""The word error rate that counts as a success below the masking threshold."""
PHRASES = ("open the front door", "send all the money now", "call me back tomorrow", "delete every single file")


def audio(args: argparse.Namespace) -> None:
    """PGD, C&W and the imperceptible attack on Whisper; the masking threshold a second of audio."""
    path = RESULTS / ("audio-partial.json" if args.quick else "audio.json")
    found = json.loads(path.read_text()) if path.exists() else {}
    if args.draw:
        path.with_suffix(".md").write_text(tables(found))
        return
    from mmadv_audio import demo

    torch.set_num_threads(1)
    target = demo.recogniser(10)
    target.batch_size = 8
    source = demo.prompts()
    parts: dict[str, Callable[..., dict[str, Any]]] = {
        "threshold": threshold, "cost": cost, "curve": curve, "targeted": targeted, "masking": masked,
    }  # fmt: skip
    for name in args.parts or parts:
        found[name] = parts[name](target, source, 4 if args.quick else 16)
        print(name, json.dumps(found[name], indent=1), flush=True)
        found["about"] = {"python": platform.python_version(), "torch": torch.__version__, "threads": 1}
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        path.with_suffix(".md").write_text(tables(found))


# --- bare loops: no engine, no counts, no checks ------------------------------------------------------


def bare_pgd(target: Any, x: Any, y: Tensor, ratio: float, steps: int, decode: bool = True) -> Any:
    """Steepest ascent in the L2 ball of an SNR; with `decode`, the worst transcript of each row is kept, as ours does."""
    from mmadv_audio.transcripts import text_of, word_error_rate

    clean, valid = x.samples, x.valid
    radius = ratio * clean.square().sum(1).sqrt()
    adv, best, worst = clean.clone(), clean.clone(), torch.full((len(y),), -1.0)
    for step in range(steps + 1):
        adv = adv.detach().requires_grad_()
        losses = []
        for start in range(0, len(y), target.batch_size):
            rows = slice(start, start + target.batch_size)
            part = x[rows].with_samples(adv[rows])
            if decode:
                labels, loss = target.likelihood(part)
                for row, label in enumerate(labels.tolist(), start):
                    rate = word_error_rate(text_of(int(y[row])), text_of(label))
                    if rate > worst[row]:
                        worst[row], best[row] = rate, adv[row].detach()
            else:
                state = target.encoded(part)

                def loss(labels: Tensor, state: Any = state) -> Tensor:
                    return target.surprise(state, [target.tokens(label) for label in labels.tolist()])

            if step < steps:
                losses.append(torch.autograd.grad(loss(y[rows]).sum(), adv, retain_graph=False)[0])
        if step == steps:
            break
        grad = torch.stack(losses).sum(0) * valid
        with torch.no_grad():
            size = grad.square().sum(1, keepdim=True).sqrt().clamp_min(1e-30)
            delta = adv - clean + max(2.5 / steps, 0.2) * radius.unsqueeze(1) * grad / size
            norm = delta.square().sum(1, keepdim=True).sqrt()
            adv = clean + delta * (radius.unsqueeze(1) / norm).clamp_max(1)
    return x.with_samples(best if decode else adv.detach())


def bare_adam(target: Any, x: Any, wanted: Tensor, steps: int, lr: float, shrink: float = 0.8) -> Any:
    """Adam down the loss of the wanted transcripts, in an L2 ball that shrinks at each success; the nearest success is kept."""
    clean, valid = x.samples, x.valid
    best, nearest = clean.clone(), torch.full((len(wanted),), float("inf"))
    radius = nearest.clone()
    delta, mean, square = torch.zeros_like(clean), torch.zeros_like(clean), torch.zeros(len(wanted), 1)
    for step in range(1, steps + 2):
        adv = (clean + delta).clamp(-1, 1).requires_grad_()
        heard, losses = [], []
        for start in range(0, len(wanted), target.batch_size):
            rows = slice(start, start + target.batch_size)
            labels, loss = target.likelihood(x[rows].with_samples(adv[rows]))
            heard.append(labels)
            losses.append(torch.autograd.grad(loss(wanted[rows]).sum(), adv)[0])
        with torch.no_grad():
            size = (adv - clean).square().sum(1).sqrt()
            nearer = (torch.cat(heard) == wanted) & (size < nearest)
            best[nearer], nearest[nearer] = adv.detach()[nearer], size[nearer]
            radius = torch.where(nearer, shrink * size, radius)
            grad = torch.stack(losses).sum(0) * valid
            mean = 0.9 * mean + 0.1 * grad
            square = 0.999 * square + 0.001 * (grad.square().sum(1) / x.length).unsqueeze(1)
            delta = adv - clean - lr * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-12)
            delta = delta * (radius / delta.square().sum(1).sqrt().clamp_min(1e-30)).clamp_max(1).unsqueeze(1)
    return x.with_samples(best)


# --- parts ------------------------------------------------------------------------------------------


def threshold(target: Any, source: Any, count: int) -> dict[str, Any]:
    """The batched masking threshold against a loop over frames in NumPy, on a minute of speech."""
    import importlib.util

    from mmadv_audio import Waves, masking

    file = BENCHMARKS.parent / "plugins/mmadv-audio/tests/masking_reference.py"
    spec = importlib.util.spec_from_file_location("masking_reference", file)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    waves, seconds = [], 0.0
    for wave in source.x:
        waves.append(wave)
        seconds += len(wave) / 16_000
        if seconds >= 60:
            break
    x = Waves.of(waves, 16_000)
    kinds = dict.fromkeys((1, os.cpu_count() or 1))
    ours: dict[int, list[float]] = {threads: [] for threads in kinds}
    loop = []
    for _ in range(7):  # in turns: the machine is not as fast in every minute
        loop.append(timed(lambda: [reference.threshold(wave.numpy(), 16_000) for wave in waves]))
        try:
            for threads in kinds:
                torch.set_num_threads(threads)
                masking.threshold(x)
                ours[threads].append(min(timed(lambda: masking.threshold(x)) for _ in range(5)))
        finally:
            torch.set_num_threads(1)
    found: dict[str, Any] = {"seconds of audio": seconds}
    found |= {f"ours on {threads} threads, s": statistics.median(taken) for threads, taken in ours.items()}
    found["loop, s"] = statistics.median(loop)
    found["times faster than the loop"] = [found["loop, s"] / value for name, value in found.items() if "ours" in name]
    if PEERS.exists():
        few = waves[: max(1, len(waves) // 6)]
        with tempfile.TemporaryDirectory() as folder:
            np.savez(f"{folder}/waves.npz", *[wave.numpy() for wave in few])
            told = subprocess.run(
                [PEERS, BENCHMARKS / "audio/toolbox.py", f"{folder}/waves.npz"], capture_output=True, text=True
            )
        if told.returncode:
            raise SystemExit(f"the peer failed: {told.stderr[-500:]}")
        share = sum(map(len, few)) / 16_000 / seconds
        found["art, s"] = float(told.stdout.split()[-1]) / share
    return found


def cost(target: Any, source: Any, count: int) -> dict[str, Any]:
    """PGD's wall time over the bare loop's, in turns; both decode each iterate, to know what it does."""
    x, y = source.x[:8], source.y[:8]
    ours, bare, blind = [], [], []
    for _ in range(2 if count < 16 else 5):
        ours.append(timed(lambda: solved(target, x, y, 25, 5)))
        bare.append(timed(lambda: bare_pgd(target, x, y, 10 ** (-25 / 20), 5)))
        blind.append(timed(lambda: bare_pgd(target, x, y, 10 ** (-25 / 20), 5, decode=False)))
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return {
        "ours, s": statistics.median(ours), "bare, s": statistics.median(bare), "over bare": statistics.median(ratios),
        "bare without decoding, s": statistics.median(blind),
    }  # fmt: skip


def solved(target: Any, x: Any, y: Tensor, snr: float, steps: int) -> Any:
    """The engine's own call, all rows to the end."""
    import mmadv
    from mmadv.search.pgd import PGD
    from mmadv_audio.goals import WordErrors
    from mmadv_audio.space import WaveSpace

    threat = mmadv.ThreatModel(
        WaveSpace("snr", 10 ** (-snr / 20)), goal=WordErrors(1e9), budget=mmadv.Budget(steps=steps)
    )
    problem = mmadv.Problem(target, threat, x, y, torch.arange(len(y)))
    return mmadv.solve(problem, PGD(random_start=False), early_stop=False)


def curve(target: Any, source: Any, count: int) -> dict[str, Any]:
    """Word errors at each SNR: clean, noise, ours and the bare loop at equal steps, scored outside."""
    x, y = source.x[:count], source.y[:count]
    found: dict[str, Any] = {"utterances": count, "steps": 10, "clean": errors(target, x, y), "levels": {}}
    noise = torch.randn(x.samples.shape, generator=torch.Generator().manual_seed(0)) * x.valid
    size = x.samples.square().sum(1).sqrt() / noise.square().sum(1).sqrt()
    for level in LEVELS:
        ratio = 10 ** (-level / 20)
        with counted(target) as passes:
            ledger = solved(target, x, y, level, 10)
        found["levels"][level] = {
            "ours": errors(target, ledger.adv, y), "ours, from int16": errors(target, stored(ledger.adv), y),
            "bare": errors(target, bare_pgd(target, x, y, ratio, 10), y),
            "noise": errors(target, x.with_samples(x.samples + ratio * size.unsqueeze(1) * noise), y),
            "passes": passes[0] / count, "passes by the ledger": int(ledger.forwards) / count, "least SNR of ours": min(decibels(x, ledger.adv)),
        }  # fmt: skip
        print(level, found["levels"][level], flush=True)
    return found


def targeted(target: Any, source: Any, count: int) -> dict[str, Any]:
    """C&W towards phrases of three to five words beside a bare loop of as many steps, success judged from the file."""
    import mmadv
    from mmadv_audio.transcripts import labels_of

    # Who is misheard already is left alone by ours, and would be found by the loop alone.
    heard = (target(source.x[:count]).cpu() == source.y[:count]).nonzero()[: count // 2, 0]
    x, y, count = mmadv.rows.take(source.x, heard), source.y[heard], len(heard)
    phrases = [PHRASES[row % len(PHRASES)] for row in range(count)]
    wanted, steps, lr = labels_of(phrases), 150 if count > 2 else 10, 2e-3
    words = {"norm": "snr", "targets": phrases, "steps": steps, "lr": lr}

    def judged(attack: Callable[[], Any]) -> dict[str, Any]:
        began = time.perf_counter()
        with counted(target) as passes:
            adv = attack()
        seconds = time.perf_counter() - began
        success = (labels_of(target.texts(stored(adv))) == wanted).tolist()
        ratios = [ratio for ratio, hit in zip(decibels(x, adv), success, strict=True) if hit]
        return {
            "found": int((labels_of(target.texts(adv)) == wanted).sum()), "from int16": sum(success),
            "median SNR": statistics.median(ratios) if ratios else None, "least SNR": min(ratios, default=None),
            "passes": passes[0] / count, "seconds": seconds,
        }  # fmt: skip

    ours = judged(lambda: mmadv.attack(target, x, y, "audio.cw", early_stop=False, **words).adv)
    bare = judged(lambda: bare_adam(target, x, wanted, steps, lr))
    return {"utterances": count, "steps": steps, **ours, "bare": bare, "over bare": ours["seconds"] / bare["seconds"]}


def masked(target: Any, source: Any, count: int) -> dict[str, Any]:
    """The imperceptible attack, PGD inside the masking ball, and plain PGD at 40 dB: success, and frames that are masked."""
    import mmadv
    from mmadv_audio import masking

    count = count // 2
    x, y = source.x[:count], source.y[:count]
    threshold_ = masking.threshold(x)
    found = {}
    for name, attack, words in (
        ("plain PGD, 40 dB", "audio.pgd", {"snr": 40, "steps": 20}),
        ("PGD under the threshold", "audio.pgd", {"norm": "masking", "eps": 1.0, "steps": 40}),
        ("imperceptible", "audio.imperceptible", {"norm": "masking", "eps": 1.0, "steps": 40}),
    ):
        began = time.perf_counter()
        result = mmadv.attack(target, x, y, attack, wer=LEAST_ERRORS, **words)
        won = torch.tensor([status == "fooled" for status in result.status])
        if attack == "audio.imperceptible":
            won = result.distance.isfinite() & (result.distance > 0)
        if not bool(won.any()):
            found[name] = {"success": 0}
            continue
        share = masking.share_masked((result.adv.samples - x.samples) * 10 ** (-0.01 / 20), threshold_)[won]
        ratio = 20 * masking.peak_ratio(result.adv.samples - x.samples, threshold_)[won].log10()
        found[name] = {
            "steps": words["steps"], "success": int(won.sum()), "of": sum(status != "already_wrong" for status in result.status),
            "within the threat model": int(result.success.sum()),
            "masked frames, mean": float(share.mean()), "masked frames, least": float(share.min()),
            "dB over the threshold, median": float(ratio.median()), "seconds": time.perf_counter() - began,
        }  # fmt: skip
        print(name, found[name], flush=True)
    return found


# --- the table --------------------------------------------------------------------------------------


def tables(found: dict[str, Any]) -> str:
    """Markdown of all figures that were taken; "–" for those that are still to be."""
    text = []
    if one := found.get("threshold"):
        times = ", ".join(
            f"{one['loop, s'] / value:.1f} times as fast on {name.split()[2]} of its threads ({value:.3f} s)"
            for name, value in one.items() if name.startswith("ours on")
        )  # fmt: skip
        art = f"; ART's, on the same recordings, takes {one['art, s']:.1f} s" if "art, s" in one else ""
        text.append(
            f"Masking threshold of {one['seconds of audio']:.0f} s of speech, beside a loop over frames in NumPy on one thread "
            f"({one['loop, s']:.2f} s): {times}{art}."
        )
    if one := found.get("cost"):
        blind = one["ours, s"] / one["bare without decoding, s"]
        text.append(
            f"PGD, 8 utterances, 5 steps: {one['ours, s']:.2f} s; {one['over bare']:.2f} times a bare loop that decodes each iterate, as "
            f"it has to for knowing what it found, and {blind:.2f} times one that looks at the loss alone."
        )
    if one := found.get("curve"):
        outside = all("passes by the ledger" in cell for cell in one["levels"].values())
        source = (
            "passes are those of a hook on the encoder"
            if outside
            else "passes are the ledger's, still to be counted outside"
        )
        head = ["SNR, dB", "noise", "bare loop", "PGD", "or quieter", "from int16", "passes", "least SNR of PGD"]
        rows, worst = [], 0.0
        for level, cell in one["levels"].items():
            worst = max(worst, cell["ours"])  # what is found at a higher SNR is allowed at a lower one
            errors_ = [cell["noise"], cell["bare"], cell["ours"], worst, cell["ours, from int16"]]
            rows.append(
                [level, *(f"{rate:.0%}" for rate in errors_), f"{cell['passes']:g}", f"{cell['least SNR of ours']:.1f}"]
            )
        text.append(
            f"Mean word error rate of {one['utterances']} utterances ({one['clean']:.0%} untouched), {one['steps']} steps; {source}.\n\n"
            + _markdown(head, rows)
        )
    if one := found.get("targeted"):
        head = ["", "found", "from int16", "median SNR, dB", "least SNR, dB", "passes", "s"]
        kinds = {"audio.cw": one, "bare Adam": one.get("bare", {})}
        rows = [
            [
                name,
                *(
                    _figure(cell.get(key))
                    for key in ("found", "from int16", "median SNR", "least SNR", "passes", "seconds")
                ),
            ]
            for name, cell in kinds.items()
        ]
        text.append(
            f"Phrases of three to five words in {one['utterances']} utterances, {one['steps']} steps.\n\n"
            + _markdown(head, rows)
        )
    if one := found.get("masking"):
        head = [
            "",
            "steps",
            "heard wrong",
            "within the threat model",
            "masked frames, mean",
            "least",
            "dB over the threshold, median",
            "s",
        ]
        rows = [
            [
                name, cell["steps"], f"{cell['success']} of {cell['of']}", cell["within the threat model"], f"{cell['masked frames, mean']:.1%}",
                f"{cell['masked frames, least']:.1%}", f"{cell['dB over the threshold, median']:.1f}", _figure(cell["seconds"]),
            ]
            for name, cell in one.items() if "of" in cell
        ]  # fmt: skip
        text.append(
            f"A word error rate of at least {LEAST_ERRORS:.0%}, and what can be heard.\n\n" + _markdown(head, rows)
        )
    return "\n\n".join(text) + "\n"


def _markdown(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if isinstance(value, int) or value >= 100 else f"{value:.1f}"


# --- outside measurements ---------------------------------------------------------------------------


def errors(target: Any, x: Any, y: Tensor) -> float:
    """Mean word error rate."""
    from mmadv_audio.transcripts import text_of, word_error_rate

    pairs = zip(y.tolist(), target.texts(x), strict=True)
    return statistics.fmean(word_error_rate(text_of(label), text) for label, text in pairs)


@contextmanager
def counted(target: Any) -> Iterator[list[int]]:
    """How many rows pass through the encoder, by a hook of its own."""
    passes = [0]

    def seen(module: Any, given: Any, answer: Any) -> None:
        passes[0] += len(answer.last_hidden_state)

    hook = target.encoder.register_forward_hook(seen)
    try:
        yield passes
    finally:
        hook.remove()


def decibels(x: Any, adv: Any) -> list[float]:
    """SNR of each row."""
    clean, noise = x.samples.double(), (adv.samples - x.samples).double()
    return (10 * torch.log10(clean.square().sum(1) / noise.square().sum(1).clamp_min(1e-30))).tolist()


def stored(x: Any) -> Any:
    """As a 16-bit file keeps it."""
    from mmadv_audio import channels

    return channels.int16(x)


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def add_to(commands: Any) -> None:
    sub = commands.add_parser("audio", help=audio.__doc__)
    sub.set_defaults(run=audio)
    sub.add_argument("--quick", action="store_true", help="few recordings: does everything still run?")
    sub.add_argument("--draw", action="store_true", help="only the table, of the figures that there are")
    sub.add_argument("--parts", nargs="+", choices=["threshold", "cost", "curve", "targeted", "masking"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_to(parser.add_subparsers(required=True))
    args = parser.parse_args(sys.argv[1:])
    args.run(args)
