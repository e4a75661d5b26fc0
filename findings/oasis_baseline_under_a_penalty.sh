#!/usr/bin/env bash
# oasis-deconv 0.3.2: a baseline that is told is ignored under a penalty, and a trace below zero has no spikes.
#
# Valid input: an AR(1) trace of known spikes, noise 0.3 of a spike, moved up or down by a constant.
# Seen with Python 3.11, NumPy 2:
#   * deconvolve(y + b, tau_d=…, framerate=…, sn=…, b=b, penalty=1) returns the baseline 0 whatever b is, and more and more
#     spikes as b grows (136, 200, 384 of 159 at b = 0, 0.3, 1); so does penalty=0. With penalty=None b is subtracted.
#   * deconvolve(y - 5, …, penalty=1) returns no spikes at all: the baseline that it looks for is kept at or above 0 (b_nonneg=True is
#     the default). With b_nonneg=False the spikes are those of y, to five digits.
# What to do: subtract a known baseline first; pass b_nonneg=False where traces may lie below zero.
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --disable-pip-version-check -q 'oasis-deconv==0.3.2' 'numpy>=2,<3'
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import numpy as np
from oasis.functions import deconvolve

rng = np.random.default_rng(1)
spikes = (rng.random(3600) < 0.045).astype(float)
decay, calcium, level = np.exp(-1 / (0.4 * 30)), np.zeros(3600), 0.0
for t in range(3600):
    level = decay * level + spikes[t]
    calcium[t] = level
y = calcium + 0.3 * rng.standard_normal(3600)
common = {"tau_d": 0.4, "framerate": 30}

found = []
for b in (0.0, 0.3, 1.0):
    _, s, baseline, *_ = deconvolve(y + b, **common, sn=0.3, b=b, penalty=1)
    found.append(s.sum())
    print(f"told b = {b}: baseline {baseline}, spikes {s.sum():.1f} of {spikes.sum():.0f}")
    assert baseline == 0.0, "a told baseline is returned now"
assert found[1] > 1.3 * found[0] and found[2] > 2 * found[0], "a told baseline is subtracted now"

free = deconvolve(y, **common, penalty=1)[1].sum()
below = deconvolve(y - 5, **common, penalty=1)[1].sum()
mended = deconvolve(y - 5, **common, penalty=1, b_nonneg=False)[1].sum()
print(f"nothing told: {free:.1f} spikes; five below: {below:.1f}; with b_nonneg=False {mended:.1f}")
assert below == 0.0 and abs(mended - free) < 1e-3 * free, "a trace below zero has spikes now"
PY
echo "as described"
