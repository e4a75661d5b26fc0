"""What ``--help`` prints is English: nothing of the formatting that it is written in."""

from __future__ import annotations

import argparse

import pytest

from dfp.arguments import make_parser


def commands() -> dict[str, argparse.ArgumentParser]:
    (made,) = [one for one in make_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return {"": make_parser(), **made.choices}


@pytest.mark.parametrize("command", commands())
def test_help_holds_no_doubled_percent_and_no_placeholder(command: str) -> None:
    text = commands()[command].format_help()
    assert text.startswith("usage: dfp")
    assert "%%" not in text and "%(" not in text and "``" not in text


def test_the_interval_of_infer_is_told_in_percent() -> None:
    assert "central 90% interval" in " ".join(commands()["infer"].format_help().split())
