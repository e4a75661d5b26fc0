#!/usr/bin/env bash
# pynapple 0.11.4: the names of a TsdFrame's columns are saved as pickled objects.
#
# Valid input: two TsdFrames of the same numbers, one with columns 0, 1, one with columns "a", "b"; both saved by TsdFrame.save.
# Seen with Python 3.11, NumPy 2:
#   * both files hold t, d, columns, start, end, type and _metadata; "columns" is int64 in the one, object in the other.
#   * numpy.load's default reads every array of the first but _metadata; of the second "columns" raises ValueError
#     (allow_pickle=False). So whoever reads such files without running pickles loses the cells' names, and only those.
#   * "_metadata" is an object in both.
# What to do: read names with an unpickler that admits nothing but arrays and text, or save names beside.
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --disable-pip-version-check -q 'pynapple==0.11.4' 'numpy>=2,<3'
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import numpy as np
import pynapple as nap

t, d = np.arange(100) / 30, np.random.default_rng(0).normal(size=(100, 2))
nap.TsdFrame(t=t, d=d).save("numbered.npz")
nap.TsdFrame(t=t, d=d, columns=["a", "b"]).save("named.npz")


def readable(name):
    found = {}
    with np.load(name) as held:
        for key in held.files:
            try:
                found[key] = held[key].dtype.kind
            except ValueError:
                found[key] = "pickled"
    return found


numbered, named = readable("numbered.npz"), readable("named.npz")
print("numbered:", numbered)
print("named:   ", named)
assert {*numbered} == {*named} == {"t", "d", "columns", "start", "end", "type", "_metadata"}
assert numbered["columns"] == "i" and named["columns"] == "pickled", "names are text now"
assert numbered["_metadata"] == named["_metadata"] == "pickled"
assert all(kind != "pickled" for key, kind in numbered.items() if key != "_metadata")
PY
echo "as described"
