"""What is expected of `misspecified`: weights when the calcium constants that a method is told are wrong.

Written before the experiment was run on the networks that it is judged on.
"""

from __future__ import annotations

from collections.abc import Iterator

from dfp.results.judging import Finding, above, below, within
from dfp.results.tables import ResultTables

RIGHT = "right"
#: how much a correlation may fall, paired by network, and still count as kept
KEPT = -0.02
#: of the slope, in either direction
SLOPE = 0.1
#: logits of the history at lag 1: with wrong constants, and with constants that are learned
HISTORY = 0.5
#: as in G4
HISTORY_LEARNED = 0.2
#: what is left of a wrong constant when it is learned, |ln(learned ÷ true)|
OFF = 0.05


def told(results: ResultTables, method: str) -> list[str]:
    """What was told wrong to a method, in the order of the table."""
    return [str(name) for name in results.conditions("told", method=method) if name != RIGHT]


def _change(results: ResultTables, metric: str, method: str, wrong: str) -> list[float]:
    """A metric of ``method`` told ``wrong``, less that of indirect inference told right, by network."""
    right = {"method": "indirect", "told": RIGHT}
    both = results.pair(metric, {"method": method, "told": wrong}, right)
    return list(both["first"] - both["second"])


def kept(results: ResultTables) -> Iterator[Finding]:
    """Indirect inference, each wrong constant, less the same with the right one, paired by network: the
    correlation of the weights above −0.02; their slope between −0.1 and 0.1; the history at lag 1 between
    −0.5 and 0.5 logits."""
    for wrong in told(results, "indirect"):
        change = _change(results, "weight_correlation", "indirect", wrong)
        yield above(change, KEPT, "correlation of the weights, wrong − right", "correlation", wrong)
        change = _change(results, "weight_slope", "indirect", wrong)
        yield within(change, -SLOPE, SLOPE, "slope of the weights, wrong − right", "slope", wrong)
        change = _change(results, "history_bias_1", "indirect", wrong)
        yield within(change, -HISTORY, HISTORY, "history at lag 1, wrong − right", "logit", wrong)


def remedied(results: ResultTables) -> Iterator[Finding]:
    """Indirect inference that learns amplitude, decay and noise from the wrong start, less indirect inference
    told the right ones, paired by network: the correlation of the weights above −0.02; their slope between
    −0.1 and 0.1; the history at lag 1 between −0.2 and 0.2 logits. What is left of the wrong constant,
    |ln(learned ÷ true)| averaged over cells, below 0.05."""
    method = "constants_learned"
    for wrong in told(results, method):
        change = _change(results, "weight_correlation", method, wrong)
        yield above(change, KEPT, "correlation of the weights, learned − right", "correlation", wrong)
        change = _change(results, "weight_slope", method, wrong)
        yield within(change, -SLOPE, SLOPE, "slope of the weights, learned − right", "slope", wrong)
        change = _change(results, "history_bias_1", method, wrong)
        bound = HISTORY_LEARNED
        yield within(change, -bound, bound, "history at lag 1, learned − right", "logit", wrong)
        left = results.values(f"{wrong.split()[0]}_off", method=method, told=wrong)
        yield below(left, OFF, "what is left of the wrong constant", "log ratio", wrong)


def still_ahead(results: ResultTables) -> Iterator[Finding]:
    """Indirect inference, less the fixed point by the relaxed pmf and less OASIS followed by regression, all
    told the same wrong constant, paired by network: the correlation of the weights above 0."""
    for wrong in told(results, "indirect"):
        own = {"method": "indirect", "told": wrong}
        for rival, where in (
            ("the relaxed fixed point", {"method": "relaxed", "told": wrong}),
            ("OASIS, then regression", {"family": "oasis_glm", "told": wrong}),
        ):
            both = results.pair("weight_correlation", own, where)
            measured = f"correlation of the weights, less that of {rival}"
            yield above(both["first"] - both["second"], 0.0, measured, "correlation", wrong)


JUDGES = {"G9": kept, "G10": remedied, "G11": still_ahead}
