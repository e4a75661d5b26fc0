"""The door: `import dfp` gives every public name, quickly, and each has an example that runs."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dfp
from dfp.stages.provenance import PACKAGE, direct_imports, modules

#: nothing that a fit does needs these, and they are slow to load
HEAVY = ("matplotlib", "seaborn", "sklearn", "wandb")


def fresh(text: str) -> str:
    """What a fresh process says that runs ``text``."""
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_the_door_opens_without_torch_and_lets_in_what_is_asked_for() -> None:
    heavy = "[name for name in sys.modules if name.split('.')[0] in ('torch', 'numpy', 'pandas')]"
    assert fresh(f"import sys, dfp; dir(dfp), dfp.__all__, dfp.__version__; print({heavy})") == "[]"
    loaded = "sorted({name.split('.')[0] for name in sys.modules})"
    stages = "import dfp.stages.fit, dfp.stages.infer, dfp.stages.train"
    found = fresh(f"import sys, dfp; dfp.fit, dfp.infer; {stages}; print({loaded})")
    assert "'torch'" in found and not [name for name in HEAVY if f"'{name}'" in found]


def test_importing_takes_a_third_of_a_second_at_most() -> None:
    clock = "import time; t = time.perf_counter(); import dfp; print(time.perf_counter() - t)"
    assert min(float(fresh(clock)) for _ in range(3)) < 0.3


def test_every_name_is_at_home_and_editors_see_the_same() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == dfp._HOMES and list(seen) == dfp.__all__
    assert set(dfp.__all__) <= set(dir(dfp))
    for name, home in seen.items():
        assert getattr(dfp, name).__module__ == home, name
    with pytest.raises(AttributeError, match="module 'dfp' has no attribute 'fitt'"):
        dfp.fitt  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_does_not_go_through_its_own_door() -> None:
    found = [name for name in modules() if "dfp" in direct_imports(name)]
    assert found == ["dfp.arguments", "dfp.stages.pretrain"]  # the version


@pytest.mark.parametrize("name", dfp.__all__)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    given = {"np": np, "torch": torch, "dfp": dfp}
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(dfp, name), name, globs=given)
    assert test.examples, f"dfp.{name} has no example"
    lines: list[str] = []
    state = torch.get_rng_state()
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=lines.append)
    assert result.failed == 0, "".join(lines)
    assert torch.equal(state, torch.get_rng_state()), "an example that leans on the global generator"


def test_the_examples_leave_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("fit", "infer"):
        test_every_public_name_has_an_example_that_runs(name)
    assert list(tmp_path.iterdir()) == []
