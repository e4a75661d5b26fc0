"""What lies beyond an axis is a triangle at its edge, and nothing else is; bounds cut what is drawn only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from dfp.plotting import edges, marks, style
from dfp.plotting.marks import Curve, Group

VALUES = np.array([0.5, 1.0, 2.0])


def triangles(figure: Figure) -> int:
    """How many triangles a drawn figure shows."""
    figure.draw_without_rendering()
    return sum(len(one.get_xdata()) for one in figure.findobj(edges.Beyond))


def strokes(figure: Figure) -> list[float]:
    """Where bars are cut."""
    return [
        float(value)
        for line in figure.axes[0].lines
        if line.get_gid() == edges.CUT
        for value in (line.get_xdata() if line.get_marker() == "|" else line.get_ydata())
    ]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=8),
    st.floats(-6, 0),
    st.floats(0.1, 6),
    st.sampled_from(["x", "y"]),
)
def test_a_triangle_stands_for_each_value_off_the_axis_and_for_no_other(
    values: list[float], low: float, high: float, which: str
) -> None:
    figure = style.figure(3, 2)
    axes = figure.add_subplot()
    edges.beyond(axes, values, np.zeros(len(values)), which, ms=4, color="black")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    assert triangles(figure) == sum(not low <= value <= high for value in values)


def test_limits_that_change_later_move_no_triangle_onto_the_axis() -> None:
    """Limits widened after drawing used to leave triangles in the middle of the panel."""
    figure = style.figure(4, 3)
    axes = figure.add_subplot()
    marks.rows(axes, [Group("", np.array([-1.0, 3.0, 4.0]), "black")], log=True)
    assert triangles(figure) == 2  # the value below 0, and the interval that reaches there
    axes.set_xscale("linear")
    axes.set_xlim(-20, 20)
    assert triangles(figure) == 0
    assert not list(edges.notes(figure))


def test_a_mean_below_zero_on_a_log_axis_is_marked_and_said() -> None:
    figure = style.figure(4, 3)
    axes = figure.add_subplot()
    marks.curves(axes, [Curve("", [(0.0, -VALUES), (1.0, VALUES)], "black")], log=True)
    style.caption(figure, "A caption.")
    style.finish(figure, "default")
    assert triangles(figure) >= len(VALUES) + 1
    assert "A triangle at an edge" in figure.get_supxlabel().replace("\n", " ")


def test_every_small_point_is_inside_an_axis_without_fixed_limits() -> None:
    """Small points are shifted, and a shifted point used to move no limits."""
    figure = style.figure(4, 3)
    axes = figure.add_subplot()
    marks.curves(axes, [Curve("", [(0.0, np.array([0.0, *[1.0] * 30]))], "black")])
    assert triangles(figure) == 0
    low, high = axes.get_ylim()
    assert low < 0 and high > 1


@pytest.mark.parametrize("which", ["rows", "curves", "pairs"])
def test_an_interval_of_a_share_ends_at_one_and_says_so(which: str) -> None:
    values = np.array([0.8, 1.0, 1.0])
    whole = marks.interval(values)
    assert whole[2] > 1
    figure = style.figure(4, 3)
    axes = figure.add_subplot()
    within = style.bounds("coverage_90")
    if which == "rows":
        marks.rows(axes, [Group("", values, "black")], within=within)
    elif which == "curves":
        marks.curves(axes, [Curve("", [(0.0, values)], "black")], within=within)
    else:
        marks.paired_lines(axes, ["a"], [values], ["black"], within)
    drawn = [line.get_xydata() for line in axes.lines if line.get_linewidth() >= 2]
    assert max(np.nanmax(points[:, 0 if which == "rows" else 1]) for points in drawn) == 1.0
    assert strokes(figure) == [1.0]
    assert any("cut at its measure's bound" in note for note in edges.notes(figure))


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-1, 1), st.sampled_from([(0.0, 1.0), (-1.0, 1.0), None]))
def test_a_cut_changes_no_verdict_about_a_value_inside_the_bounds(
    one: float, other: float, edge: float, within: tuple[float, float] | None
) -> None:
    low, high = sorted((one, other))
    if within is not None:
        edge = float(np.clip(edge, *within))
        low, high = min(low, within[1]), max(high, within[0])  # a mean is never beyond its bounds
    shown_low, shown_high, _ = edges.cut(low, high, within)
    assert (low > edge, high < edge) == (shown_low > edge, shown_high < edge)


@pytest.mark.parametrize(
    ("metric", "bounds"),
    [
        ("weight_correlation", (-1, 1)),
        ("correlation_25ms", (-1, 1)),
        ("weight_auc", (0, 1)),
        ("weight_ap", (0, 1)),
        ("weight_sign_accuracy", (0, 1)),
        ("coverage_50", (0, 1)),
        ("gap_per_bin", None),
        ("weight_slope", None),
    ],
)
def test_the_bounds_of_a_measure(metric: str, bounds: tuple[float, float] | None) -> None:
    assert style.bounds(metric) == bounds


def test_two_seeds_are_said_to_be_few() -> None:
    assert "n = 2" in marks.interval_note([2])
    assert "says little" in marks.interval_note([2, 2])
    assert "says little" not in marks.interval_note([5])


def test_a_wider_figure_than_a_page_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="wrap it into rows"):
        style.figure(15.6, 3.9)


@pytest.mark.parametrize(
    ("scale", "says"), [("smoke", "Scale smoke: the numbers mean nothing"), ("paper", "Scale paper")]
)
def test_a_figure_of_another_scale_names_it(scale: str, says: str) -> None:
    figure = style.figure(4, 3)
    style.title(figure, "What it shows")
    style.finish(figure, scale)
    assert figure.get_suptitle() == f"{says}\nWhat it shows"
    style.title(figure, "What it shows")
    style.finish(figure, "default")
    assert figure.get_suptitle() == "What it shows"
