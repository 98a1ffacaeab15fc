"""Speech that Flite makes from text, offline: what a recogniser is trained on, or what a system of victims hears."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from torch import Tensor

from mmadv import MemorySource, assets
from mmadv.errors import AssetError, ParameterError
from mmadv_audio.channels import read_file, resampled
from mmadv_audio.demo import RATE
from mmadv_audio.waves import Waves

FLITE_FILES = {"usr/bin/flite": "9934f9e7d47162220821950b665c33ba1e0be9609eaae187fe175e0c59dfbb75"}
LIBRARY_FILES = {"usr/lib/*/libflite*.so.2.2": "a4978dca7b663ce77e287aa7275dfab3280bc65e1644c572007c600f2d911c69"}
VOICES = ("slt", "rms", "awb", "kal16")


@contextmanager
def flite() -> Iterator[Callable[[str, str, float, float], Tensor]]:
    """Flite's program, run from the cache; its libraries get the names that it looks for in a folder of their own.

    Yields:
        A function of text, voice (of `VOICES`), stretch of time (1 is the voice's own speed) and mean pitch in Hz, which gives
        the samples (T,) in [−1, 1] at `RATE`. Equal words give equal samples, and threads may call it side by side.

    Raises:
        AssetError: the packages can't be had, or the program fails.
    """
    fix = "on other systems than Debian's, prepare the demo there and copy the cache folder"
    program = assets.unpacked("debian", "flite", files=FLITE_FILES, fix=fix) / "usr/bin/flite"
    libraries = assets.unpacked("debian", "libflite1", files=LIBRARY_FILES, fix=fix)
    sound = assets.unpacked("debian", "libasound2", files={}, fix=fix)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in [*libraries.glob("usr/lib/*/*.so.*"), *sound.glob("usr/lib/*/libasound.so.*")]:
            (folder / re.sub(r"\.so\..*", ".so.1" if "flite" in file.name else ".so.2", file.name)).symlink_to(file)
        runnable = folder / "flite"
        shutil.copy(program, runnable)
        runnable.chmod(0o700)
        environment = {**os.environ, "LD_LIBRARY_PATH": temporary}

        def say(text: str, voice: str, stretch: float, pitch: float) -> Tensor:
            with tempfile.NamedTemporaryFile(dir=temporary, suffix=".wav") as out:
                settings = [f"duration_stretch={stretch:.3f}", f"int_f0_target_mean={pitch:.1f}"]
                flags = [flag for setting in settings for flag in ("--setf", setting)]
                command = [str(runnable), "-voice", voice, *flags, "-t", text, "-o", out.name]
                done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
                if done.returncode:
                    said = done.stderr.decode(errors="replace").strip()
                    raise AssetError(f"flite failed: {said}", where="synthesis", fix=fix)
                return resampled(read_file(Path(out.name)), RATE)[0]

        yield say


@dataclass(frozen=True)
class Spoken(MemorySource):
    """Sentences spoken by a synthesiser.

    Args:
        said: the N sentences as they were written.
    """

    said: tuple[str, ...] = ()


def spoken(
    *,
    texts: str,
    args: Mapping[str, Any] | None = None,
    voice: str = "slt",
    stretch: float = 1.0,
    pitch: float = 170.0,
    longest: float = 6.0,
    limit: int | None = None,
) -> Spoken:
    """Labelled texts of another source, spoken: with its keys, and with its classes as labels.

    Args:
        texts: the factory of that source, `package.module:function`; its rows are strings.
        args: of the factory.
        voice: one of `VOICES`.
        stretch: of time; 1 is the voice's own speed.
        pitch: mean, in Hz.
        longest: seconds; sentences that take longer are left out.
        limit: at most so many.

    Raises:
        ParameterError: an unknown voice.
        AssetError: the synthesiser can't be had.
    """
    if voice not in VOICES:
        raise ParameterError(f"there is no voice {voice!r}", where="voice", fix=f"choose one of {', '.join(VOICES)}")
    source = resolve_name(texts)(**(args or {}))
    known = source.take(0, len(source))
    waves: list[Tensor] = []
    kept: list[int] = []
    said = [unescape(text) for text in known.x]
    most, count = longest * RATE, len(said) if limit is None else limit
    with flite() as say, ThreadPoolExecutor() as workers:
        # In stretches, so that a few sentences of a large source don't have all of it spoken.
        for start in range(0, len(said), max(count, 1)):
            part = range(start, min(start + count, len(said)))
            for index, wave in zip(part, workers.map(lambda i: say(said[i], voice, stretch, pitch), part), strict=True):
                if len(wave) <= most and len(kept) < count:
                    waves.append(wave.clamp(-1, 1))
                    kept.append(index)
            if len(kept) >= count:
                break
    return Spoken(
        f"{source.name}, spoken",
        Waves.of(waves, RATE),
        known.y[kept],
        [known.keys[index] for index in kept],
        source.labels,
        tuple(said[index] for index in kept),
    )
