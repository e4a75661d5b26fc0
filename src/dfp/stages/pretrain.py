"""Stage: the amortised posterior learned from simulated cells, and from recordings with true spikes."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dfp import __version__
from dfp.amortised import weights
from dfp.amortised.datasets import citations, left_in, long_enough, told_of
from dfp.amortised.network import Network
from dfp.amortised.training import Schedule, Trainer
from dfp.config.pretraining import load_pretrain
from dfp.core.errors import UserError
from dfp.core.files import atomic_path, read_json
from dfp.data.recording import Recording
from dfp.data.recordings import load_recordings
from dfp.stages.provenance import code_hash, commit, environment

#: seconds between two saved states from which a killed training resumes
SAVE_EVERY = 60.0
#: the share of the steps, at the end, that the losses of the provenance are means over
LAST = 0.02


def pretrain(
    out: Path,
    recordings: Path | None = None,
    leave_out: Sequence[str] = (),
    start: str | None = None,
    settings: Path | None = None,
    seed: int | None = None,
    scale: str = "default",
    threads: int = 1,
) -> None:
    """Train the amortised posterior; write its weights ``out`` (``.npz``), their provenance beside them.

    A training that was cut off resumes from ``NAME.progress.pt`` beside the weights, to the same bits;
    weights that are there already, of the same settings, recordings and code, are left alone.

    Args:
        recordings: folder of recordings with true spikes (``data.recordings``); None for simulations alone.
        leave_out: data sets, cells or indicators among them that are not learned from.
        start: shipped weights by their name, or a file, to go on from; its network's sizes are kept.
        settings: YAML laid over ``config/pretrain.yaml``.
        seed: in place of the settings' own.
        scale: ``smoke`` takes a few steps of a tiny network.
        threads: of PyTorch; the digits depend on it.

    Raises:
        UserError: for a file or setting that is not understood; nothing half-written stays behind.
    """
    if out.suffix != ".npz":
        raise UserError(f"{out}: found the suffix '{out.suffix}', expected a file of weights (.npz)")
    if leave_out and recordings is None:
        raise UserError("leave-out: found no --recordings, expected the folder that something is left out of")
    if threads < 1:
        raise UserError(f"threads: found {threads}, expected at least 1")
    schedule = load_pretrain("simulations" if recordings is None else "cells", settings, scale, seed)
    used: list[Recording] = []
    if recordings is not None:
        used, short = long_enough(left_in(load_recordings(recordings), leave_out))
        if short:
            print(f"{recordings}: too short to learn from, left out: {', '.join(short)}", file=sys.stderr)
        if not used:
            raise UserError(
                f"{recordings}: every recording is too short to learn from, expected a second or more"
            )
    network, origin = _start(start)
    if network is not None:
        schedule = replace(schedule, sizes=network.sizes)
    identity = _identity(schedule, used, origin, threads)
    if _is_there(out, identity):
        print(f"{out}: made already with these settings and recordings", file=sys.stderr)
        return
    with _threads(threads):
        trainer = Trainer(schedule, used, network)
        spent, losses = _train(trainer, out.with_suffix(".progress.pt"), identity)
    told = told_of(used)
    facts = {
        "made": datetime.now(UTC).date().isoformat(),
        "command": _command(  # names in place of paths: where files lie says nothing to others
            out=out.name,
            recordings=None if recordings is None else recordings.resolve().name,
            leave_out=list(leave_out),
            start=None if start is None else Path(start).name,
            settings=None if settings is None else settings.name,
            seed=seed,
            scale=scale if scale != "default" else None,
            threads=threads,
        ),
        "dfp": __version__,
        **dict(zip(("commit", "changed"), _commit(), strict=True)),
        "learned_from": f"simulated cells of the prior '{schedule.prior}'"
        + (" and true recordings" if used else ""),
        "data_sets": told,
        "citations": citations(told),
        "left_out": list(leave_out),
        "start": origin,
        "settings": asdict(schedule),
        "seed": schedule.seed,
        "steps": schedule.steps,
        "scale": scale,
        "loss": losses,
        "threads": threads,
        **spent,
        **_versions(),
        "identity": identity,
    }
    weights.save(trainer.network.eval(), facts, out)
    out.with_suffix(".progress.pt").unlink(missing_ok=True)
    print(f"{out}: {weights.describe(read_json(out.with_suffix('.json')))}")


def _start(start: str | None) -> tuple[Network | None, dict[str, Any] | None]:
    """The network to go on from, and what is told of it: its digest and its own provenance."""
    if start is None:
        return None, None
    network, provenance = weights.load(weights.find(start))
    # what it was learned from, these weights are learned from too
    return network.requires_grad_(True), {"weights": Path(start).name, **provenance}


def _train(trainer: Trainer, progress: Path, identity: str) -> tuple[dict[str, float], dict[str, float]]:
    """Take the steps that are left; CPU and wall seconds of all of them, and the last losses."""
    before, history = _resume(trainer, progress, identity)
    began = time.monotonic(), time.process_time()

    def spent() -> dict[str, float]:
        now = time.monotonic() - began[0], time.process_time() - began[1]
        return {
            "wall_seconds": round(before["wall_seconds"] + now[0], 1),
            "cpu_seconds": round(before["cpu_seconds"] + now[1], 1),
        }

    saved, steps = began[0], trainer.schedule.steps
    interval = 0.5 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=steps, initial=trainer.step, mininterval=interval, unit="step", dynamic_ncols=True
    ) as bar:
        for terms in trainer.run():
            history.append(terms)
            bar.set_postfix({name: f"{value:.3f}" for name, value in terms.items()}, refresh=False)
            bar.update()
            if time.monotonic() - saved > SAVE_EVERY:
                state = {
                    "identity": identity,
                    "trainer": trainer.state(),
                    "spent": spent(),
                    "history": history,
                }
                with atomic_path(progress) as temporary:
                    torch.save(state, temporary)
                saved = time.monotonic()
    last = history[-max(1, round(LAST * steps)) :]
    names = sorted({name for terms in last for name in terms})
    means = {name: float(np.mean([terms[name] for terms in last if name in terms])) for name in names}
    return spent(), means


def _resume(
    trainer: Trainer, progress: Path, identity: str
) -> tuple[dict[str, float], list[dict[str, float]]]:
    nothing = {"wall_seconds": 0.0, "cpu_seconds": 0.0}
    if not progress.exists():
        return nothing, []
    try:
        state = torch.load(progress, map_location="cpu", weights_only=True)
        told = state.get("identity")
    except Exception:  # a damaged file only costs the time that it would have saved
        print(f"{progress}: not readable, training starts anew", file=sys.stderr)
        return nothing, []
    if told != identity:
        print(f"{progress}: belongs to other settings, training starts anew", file=sys.stderr)
        return nothing, []
    trainer.load_state(state["trainer"])
    print(f"{progress}: resuming after step {trainer.step} of {trainer.schedule.steps}", file=sys.stderr)
    return dict(state["spent"]), list(state["history"])


def _identity(
    schedule: Schedule, recordings: Sequence[Recording], origin: dict[str, Any] | None, threads: int
) -> str:
    """Hash of all that the weights depend on."""
    digest = hashlib.sha256()
    start = None if origin is None else origin["sha256"]
    digest.update(json.dumps([asdict(schedule), start, threads, torch.__version__]).encode())
    digest.update(code_hash("dfp.amortised.training").encode())
    for one in recordings:
        digest.update(f"{one.name} {one.indicator} {one.frame_rate!r} {len(one.dff)}".encode())
        digest.update(one.dff.tobytes())
        digest.update(one.spike_times.tobytes())
    return digest.hexdigest()[:16]


def _is_there(out: Path, identity: str) -> bool:
    """Whether the weights are there, whole, under the same identity."""
    if not out.is_file():
        return False
    try:
        return bool(weights.load(out)[1].get("identity") == identity)
    except UserError:
        return False


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the checkout, and whether tracked files differ from it; None without one."""
    found = commit()
    return (None, None) if found is None else (found.removesuffix("+"), found.endswith("+"))


def _versions() -> dict[str, Any]:
    found = environment()
    names = ("cpu", "python", "torch", "numpy")
    return {**{name: found[name] for name in names}, "system": platform.system()}


def _command(**given: str | Sequence[str] | int | None) -> str:
    """The command line of what was given."""
    words = ["dfp", "pretrain"]
    for name, value in given.items():
        if value is not None and value != []:
            each = [str(value)] if isinstance(value, str | int) else value
            words += [f"--{name.replace('_', '-')}", *each]
    return " ".join(words)
