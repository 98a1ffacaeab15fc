"""The masking threshold of the adversarial robustness toolbox, a loop over frames in NumPy: run by `benchmarks/.venv`.

python audio/toolbox.py FILE.npz        prints the seconds that it took for all recordings in the file, at 16 kHz
"""

from __future__ import annotations

import sys
import time

import numpy as np
from art.attacks.evasion.imperceptible_asr.imperceptible_asr import PsychoacousticMasker

masker = PsychoacousticMasker(window_size=2048, hop_size=512, sample_rate=16_000)
with np.load(sys.argv[1]) as recordings:
    waves = [recordings[name].astype(np.float64) for name in recordings]
began = time.perf_counter()
for wave in waves:
    masker.calculate_threshold_and_psd_maximum(wave)
print(time.perf_counter() - began)
