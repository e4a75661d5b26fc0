"""The tiny experiment, trained once a module; and a command that has to be refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny import Place, dfp

from dfp.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The tiny experiment, trained and evaluated command by command."""
    made = Place(tmp_path_factory.mktemp("place"))
    for data in ("one", "two"):
        assert dfp("simulate", "--experiment", made.config, "--dataset", data, "--out", made.data(data)) == 0
    for name, data in (("factorised", "one"), ("factorised", "two"), ("fixed_point", "one")):
        assert main(made.train(name, data)) == 0
        checkpoint, out = made.checkpoint(name, data), made.run(name, data) / "metrics.csv"
        assert dfp("evaluate", "--checkpoint", checkpoint, "--data", made.data(data), "--out", out) == 0
    return made


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to be refused; its one sentence."""

    def run(*arguments: object, code: int = 2) -> str:
        capsys.readouterr()
        assert dfp(*arguments) == code
        told = capsys.readouterr()
        assert told.out == ""
        lines = told.err.splitlines()
        # a progress bar may stand before the sentence
        assert lines[-1].startswith(f"dfp {arguments[0]}: ") and "Traceback" not in told.err
        # and what is noted of a recording, which begins with its path
        assert len([line for line in lines if line[:1] != "/"]) == 1 or code == 3, told.err
        return lines[-1]

    return run
