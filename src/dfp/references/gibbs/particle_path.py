"""One cell's path drawn by conditional particles: the machine code of ``ParticleGibbs``.

Shapes: T bins, K children, P particles. A particle is a path up to a bin: its last spikes as the bits of an
integer, the newest lowest; the state (y, w) of its calcium, c = g y; its log weight. The state moves by
``w ← r w + z``, ``y ← d y + w``, so that a spike leaves ``Σ_{i≤j} d^{j−i} r^i`` after j bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dfp.references.gibbs.base import compiled, softplus

#: bits of a particle's past that are kept, at most
LONGEST_PAST = 62


@compiled
def gaussian_twist(base: Any, x: Any, gain: float, d: float, r: float) -> Any:
    """What the frames to come say of the calcium now, with spikes to come taken as Gaussian: ``(T, 5)``.

    log η_t(s) = h·s − ½ sᵀJs of s = (y, w), columns J11, J12, J22, h1, h2, of frames after t; later spikes
    have the mean p and variance p(1 − p) of ``base`` ``(T,)`` alone. Any numbers leave the sampler exact:
    these let particles live that the frames to come will want. (Linear-Gaussian backward information filter.)
    """
    bins = x.shape[0]
    found = np.zeros((bins, 5))
    for t in range(bins - 2, -1, -1):
        seen = np.isfinite(x[t + 1])
        m11, m12, m22 = found[t + 1, 0], found[t + 1, 1], found[t + 1, 2]
        v1, v2 = found[t + 1, 3], found[t + 1, 4]
        if seen:
            m11 += gain * gain
            v1 += gain * x[t + 1]
        p = 1.0 / (1.0 + np.exp(-min(max(base[t + 1], -30.0), 30.0)))
        spread = p * (1.0 - p)
        b1, b2 = m11 + m12, m12 + m22
        shrink = 1.0 / (1.0 + (b1 + b2) * spread)
        pull = shrink * (spread * (v1 + v2) + p)
        v1, v2 = v1 - b1 * pull, v2 - b2 * pull
        m11 -= b1 * b1 * spread * shrink
        m12 -= b1 * b2 * spread * shrink
        m22 -= b2 * b2 * spread * shrink
        found[t, 0] = d * d * m11
        found[t, 1] = d * r * (m11 + m12)
        found[t, 2] = r * r * (m11 + 2.0 * m12 + m22)
        found[t, 3] = d * v1
        found[t, 4] = r * (v1 + v2)
    return found


@compiled
def _quadratic(a: Any, y: float, w: float) -> float:
    """h·s − ½ sᵀJs of a row of ``gaussian_twist``."""
    return a[3] * y + a[4] * w - 0.5 * (a[0] * y * y + 2.0 * a[1] * y * w + a[2] * w * w)


@compiled
def _logit(base: float, bits: Any, own: Any) -> float:
    """The cell's own logit after a past whose newest bin is bit 0."""
    for lag in range(own.shape[0]):
        if (bits >> lag) & 1:
            base += own[lag]
    return base


@compiled
def _children(bits: Any, t: int, z: Any, logits: Any, children: Any, onto: Any) -> float:
    """log p of the children's spikes in bin t after such a past; 0 beyond the last bin."""
    total = 0.0
    if t < z.shape[1]:
        for k in range(children.shape[0]):
            u = _logit(logits[children[k], t], bits, onto[k])
            total += float(z[children[k], t]) * u - softplus(u)
    return total


@compiled
def _future_spikes(
    bits: Any, t: int, cell: int, z: Any, logits: Any, own: Any, children: Any, onto: Any, later: Any
) -> float:
    """What a path up to bin t does to the cell's own later spikes ``later`` ``(T,)`` and to its children's.

    The children's next bin is left out: it is in the weight of bin t already.
    """
    bins, total, past = z.shape[1], 0.0, bits
    longest = max(own.shape[0], onto.shape[1])
    for ahead in range(1, longest + 1):
        s = t + ahead
        if s >= bins:
            break
        if ahead <= own.shape[0]:
            u = _logit(logits[cell, s], past, own)
            total += float(later[s]) * u - softplus(u)
        if 2 <= ahead <= onto.shape[1]:
            total += _children(past, s, z, logits, children, onto)
        past = (past << 1) | later[s]
    return total


@compiled
def _future_frames(bits: Any, t: int, residual: Any, response: Any) -> float:
    """Log likelihood of the frames after t, up to a constant, of a path with a cut response ``(L,)``.

    Args:
        residual: ``(T,)`` frames less what the spikes after t explain; NaN where not observed.
    """
    total, length = 0.0, response.shape[0]
    for ahead in range(1, min(length, residual.shape[0] - t)):
        if not np.isfinite(residual[t + ahead]):
            continue
        mean, rest, age = 0.0, bits, ahead
        while rest and age < length:
            if rest & 1:
                mean += response[age]
            rest >>= 1
            age += 1
        total += mean * (residual[t + ahead] - 0.5 * mean)
    return total


@compiled
def _threshold(weights: Any, keep: int) -> float:
    """c with ``Σ min(1, weight / c) = keep``, of more than ``keep`` weights (Fearnhead & Clifford 2003).

    0 where no more than ``keep`` of them are above 0.
    """
    ordered = np.sort(weights)
    smaller = np.cumsum(ordered)  # from the smallest, so that nothing is lost to rounding
    for kept in range(keep):
        last = weights.shape[0] - 1 - kept
        c = smaller[last] / (keep - kept)
        if ordered[last] <= c:
            return c
    return ordered[weights.shape[0] - keep]


@compiled
def _survivors(weights: Any, keep: int, reference: int, uniform: float, alive: Any) -> float:
    """Mark about ``keep`` of the weights, the reference among them, in ``alive``; returns c.

    What is above c stays; of the others each stays with probability weight / c, by systematic resampling
    given that the reference stays: its place in the cumulative weights holds one of the equally spaced
    points.
    """
    c = _threshold(weights, keep)
    if c <= 0.0:
        alive[: weights.shape[0]] = weights > 0.0
        alive[reference] = True
        return c
    before, offset = 0.0, uniform
    if weights[reference] <= c:
        for m in range(reference):
            if weights[m] <= c:
                before += weights[m] / c
        offset = before + uniform * (weights[reference] / c)
    offset -= np.floor(offset)
    place = 0.0
    for m in range(weights.shape[0]):
        if weights[m] > c:
            alive[m] = True
            continue
        after = place + weights[m] / c
        alive[m] = np.floor(after - offset) > np.floor(place - offset) or m == reference
        place = after
    return c


@compiled
def _pick(log_weights: Any, count: int, uniform: float) -> int:
    """A number below ``count`` with probabilities in proportion to the weights."""
    highest = log_weights[0]
    for n in range(1, count):
        highest = max(highest, log_weights[n])
    total = 0.0
    for n in range(count):
        total += np.exp(log_weights[n] - highest)
    target, chosen = uniform * total, 0
    for n in range(count):
        weight = np.exp(log_weights[n] - highest)
        if weight > 0.0:
            chosen = n
        target -= weight
        if target < 0.0:
            break
    return chosen


@compiled
def draw_particles(
    cell: int,
    z: Any,
    logits: Any,
    x: Any,
    response: Any,
    cut: bool,
    d: float,
    r: float,
    own: Any,
    children: Any,
    onto: Any,
    particles: int,
    uniforms: Any,
) -> None:
    """Draw z[cell] ``(T,)`` in place by one sweep of conditional particles, given all others.

    Args:
        z: ``(N, T)`` spikes.
        logits: ``(N, T)``, without anything that the cell's own spikes add to them.
        x: ``(T,)`` trace above baseline, in units of the noise; NaN where not observed.
        response: ``(L,)`` to a spike, in units of the noise, L = T where it is not cut.
        d, r: of the slow and the fast exponential, a bin.
        own: ``(Lh,)`` history; children: ``(K,)`` cells; onto: ``(K, Lc)`` coupling onto them, lag 1 first.
        uniforms: ``(2, T)``, of the particles that stay and of the path that is chosen.
    """
    bins, capacity, gain = x.shape[0], particles + 2, response[0]
    length = response.shape[0] if cut else bins + 1
    bits = np.zeros((bins, capacity), dtype=np.int64)
    y, w, weight = np.zeros((bins, capacity)), np.zeros((bins, capacity)), np.zeros((bins, capacity))
    counts = np.zeros(bins, dtype=np.int64)
    twist = gaussian_twist(logits[cell], x, gain, d, r)
    # what is left of a spike when a cut response drops it
    gone_y, gone_w = 0.0, 0.0
    if cut:
        gone_y, gone_w = 1.0, 1.0
        for _ in range(length):
            gone_w *= r
            gone_y = d * gone_y + gone_w
    mask = (np.int64(1) << LONGEST_PAST) - 1
    now_bits = np.zeros(2 * capacity, dtype=np.int64)
    now_y, now_w, now = np.zeros(2 * capacity), np.zeros(2 * capacity), np.zeros(2 * capacity)
    alive = np.zeros(2 * capacity, dtype=np.bool_)
    before, reference = 1, 0
    # one computation for all particles with the same last spikes
    short = own.shape[0] < 10 and onto.shape[1] < 10
    own_mask, child_mask = (
        (np.int64(1) << min(own.shape[0], 10)) - 1,
        (np.int64(1) << min(onto.shape[1], 10)) - 1,
    )
    logit, normaliser, influence = np.zeros(own_mask + 1), np.zeros(own_mask + 1), np.zeros(child_mask + 1)
    own_when, child_when = np.full(own_mask + 1, -1), np.full(child_mask + 1, -1)
    for t in range(bins):
        seen = np.isfinite(x[t])
        highest = -np.inf
        for n in range(before):
            past = bits[t - 1, n] if t else np.int64(0)
            old_y, old_w, old = (y[t - 1, n], w[t - 1, n], weight[t - 1, n]) if t else (0.0, 0.0, 0.0)
            if t:
                old -= _quadratic(twist[t - 1], old_y, old_w)
            key = past & own_mask
            if not short or own_when[key] != t:
                own_when[key] = t
                logit[key] = _logit(logits[cell, t], past, own)
                normaliser[key] = softplus(logit[key])
            u = logit[key]
            old -= normaliser[key]
            still_w = r * old_w
            still_y = d * old_y + still_w
            if cut and (past >> (length - 1)) & 1:
                still_w -= gone_w
                still_y -= gone_y
            for spike in range(2):
                m = 2 * n + spike
                now_bits[m] = ((past << 1) | spike) & mask
                now_y[m], now_w[m] = still_y + spike, still_w + spike
                now[m] = old + spike * u + _quadratic(twist[t], now_y[m], now_w[m])
                if seen:
                    now[m] -= 0.5 * (x[t] - gain * now_y[m]) ** 2
                key = now_bits[m] & child_mask
                if not short or child_when[key] != t:
                    child_when[key] = t
                    influence[key] = _children(now_bits[m], t + 1, z, logits, children, onto)
                now[m] += influence[key]
                highest = max(highest, now[m])
        count = 2 * before
        reference = 2 * reference + z[cell, t]
        level = -np.inf
        alive[:count] = True
        if count > particles:
            c = _survivors(np.exp(now[:count] - highest), particles, reference, uniforms[0, t], alive)
            level = np.log(c) + highest
        kept, stays = 0, 0
        for m in range(count):
            if alive[m]:
                if m == reference:
                    stays = kept
                bits[t, kept], y[t, kept], w[t, kept] = now_bits[m], now_y[m], now_w[m]
                weight[t, kept] = max(now[m], level) - highest
                kept += 1
        counts[t], before, reference = kept, kept, stays
    _trace_back(
        cell, z, logits, x, response, cut, d, r, own, children, onto, bits, y, w, weight, counts, twist,
        uniforms[1],
    )  # fmt: skip


@compiled
def _trace_back(
    cell: int,
    z: Any,
    logits: Any,
    x: Any,
    response: Any,
    cut: bool,
    d: float,
    r: float,
    own: Any,
    children: Any,
    onto: Any,
    bits: Any,
    y: Any,
    w: Any,
    weight: Any,
    counts: Any,
    twist: Any,
    uniform: Any,
) -> None:
    """Choose the path from its last bin backward, each past by how well it explains what comes after."""
    bins, gain = x.shape[0], response[0]
    later = np.zeros(bins, dtype=np.int64)
    residual = x.copy()
    longest = max(own.shape[0], onto.shape[1])
    remembered = np.zeros(1 << min(longest, 10))
    when = np.full(remembered.shape[0], -1)
    after, scores = np.zeros(5), np.zeros(bits.shape[1])
    for t in range(bins - 1, -1, -1):
        if t < bins - 1:
            spike = float(later[t + 1])
            m11, m12, m22, v1, v2 = after[0], after[1], after[2], after[3], after[4]
            if np.isfinite(x[t + 1]):
                m11 += gain * gain
                v1 += gain * x[t + 1]
            v1, v2 = v1 - spike * (m11 + m12), v2 - spike * (m12 + m22)
            after[0], after[1], after[2] = d * d * m11, d * r * (m11 + m12), r * r * (m11 + 2.0 * m12 + m22)
            after[3], after[4] = d * v1, r * (v1 + v2)
        for n in range(counts[t]):
            score = weight[t, n] - _quadratic(twist[t], y[t, n], w[t, n])
            if cut:
                score += _future_frames(bits[t, n], t, residual, response)
            else:
                score += _quadratic(after, y[t, n], w[t, n])
            key = bits[t, n] & ((np.int64(1) << longest) - 1)
            if longest > 10:
                score += _future_spikes(bits[t, n], t, cell, z, logits, own, children, onto, later)
            elif longest:
                if when[key] != t:
                    when[key] = t
                    remembered[key] = _future_spikes(key, t, cell, z, logits, own, children, onto, later)
                score += remembered[key]
            scores[n] = score
        later[t] = bits[t, _pick(scores, counts[t], uniform[t])] & 1
        if cut and later[t]:
            for age in range(min(response.shape[0], bins - t)):
                residual[t + age] -= response[age]
    for t in range(bins):
        z[cell, t] = later[t]
