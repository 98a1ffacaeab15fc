"""The psychoacoustic model of Qin et al. (arXiv 1903.10346), written from its formulas: a loop over frames in NumPy."""

from __future__ import annotations

import numpy as np

WINDOW, HOP = 2048, 512


def bark(hz):
    return 13 * np.arctan(0.00076 * hz) + 3.5 * np.arctan((hz / 7500) ** 2)


def hearing_threshold(hz):
    khz = np.clip(hz, 20, 20_000) / 1000
    return 3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 0.001 * khz**4 - 12


def psd(samples, ends=True):
    """dB, (N, F); with `ends` of all frames that any sample lies in, else of those that begin with the first, as the paper's do."""
    samples = np.asarray(samples, dtype=np.float64)
    lead = WINDOW - HOP if ends else 0
    count = -(-len(samples) // HOP) + 3 if ends else 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    samples = np.pad(samples, (lead, WINDOW + (count - 1) * HOP - lead - len(samples)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    found = np.empty((count, WINDOW // 2 + 1))
    for frame in range(count):
        spectrum = np.fft.rfft(samples[frame * HOP : frame * HOP + WINDOW] * window)
        magnitude = np.sqrt(8 / 3) * np.abs(spectrum) / WINDOW
        found[frame] = np.maximum(20 * np.log10(np.maximum(magnitude, 1e-300)), -200)
    return found


def maskers(level, z, quiet):
    """Bins and summed levels of one frame's maskers, by bin."""
    inner = np.arange(1, len(level) - 1)
    peaks = inner[(level[inner] > level[inner - 1]) & (level[inner] > level[inner + 1])]
    power = 10 ** (level / 10)
    summed = 10 * np.log10(power[peaks - 1] + power[peaks] + power[peaks + 1])
    audible = summed > quiet[peaks]
    return suppressed(peaks[audible], summed[audible], z)


def suppressed(bins, levels, z):
    """From loudest to quietest, those that no kept one is within 0.5 Bark of."""
    kept = []
    for index in np.argsort(-levels, kind="stable"):
        if all(abs(z[bins[index]] - z[bins[other]]) >= 0.5 for other in kept):
            kept.append(index)
    kept = np.array(sorted(kept), dtype=int)
    return bins[kept], levels[kept]


def threshold(samples, rate, ends=True):
    """Linear power (F, N), and the largest power."""
    hz = np.arange(WINDOW // 2 + 1) * rate / WINDOW
    z, quiet = bark(hz), hearing_threshold(hz)
    levels = psd(samples, ends)
    peak = levels.max()
    levels = 96 - peak + levels
    found = np.empty_like(levels)
    for frame, level in enumerate(levels):
        total = 10 ** (quiet / 10)
        for masker, height in zip(*maskers(level, z, quiet), strict=True):
            away = z - z[masker]
            slope = np.where(away > 0, -27 + 0.37 * max(height - 40, 0), 27)
            total += 10 ** ((height - 6.025 - 0.275 * z[masker] + slope * away) / 10)
        found[frame] = np.minimum(total, 10**9.6)
    return found.T, 10 ** (peak / 10)
