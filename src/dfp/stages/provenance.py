"""Which source a stage really uses, and on what machine it ran. Imports nothing heavy."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent

#: modules that tell of a run and cannot change a number of it; the door names modules that count themselves
TELLING = frozenset({"dfp", "dfp.tracking", "dfp.tracking.tracker", "dfp.stages.provenance"})


@cache
def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def direct_imports(module: str | Path, package: Path = PACKAGE) -> frozenset[str]:
    """Modules of the package that ``module`` names itself, anywhere in its text, by a static walk.

    Args:
        module: a dotted name, or the path of a file outside the package.
    """
    known = modules(package)
    named: set[str] = set()
    for source, aliases in _named(module, package):
        named |= {source, *(f"{source}.{alias}" for alias in aliases)}
    return frozenset(name for name in named if name in known)


@cache
def _named(module: str | Path, package: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every import in the text of ``module``: what it reads from, and the names it takes from there.

    Leading dots are resolved; in a file outside the package they stay. The package itself loads nothing until
    a name is asked for: its lazy names (``from dfp import fit``) are resolved to where they live.
    """
    if module == package.name:
        return ()
    known = modules(package)
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(_tree(known[module] if isinstance(module, str) else module)):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source, aliases = _absolute(node, module, known), tuple(alias.name for alias in node.names)
            found.append((source, aliases))
            if source == package.name:
                found += [(_door(package)[name], (name,)) for name in aliases if name in _door(package)]
    return tuple(found)


@cache
def _door(package: Path) -> dict[str, str]:
    """The names that a package itself offers, and the modules that they are imported from."""
    path = modules(package).get(package.name)
    nodes = ast.walk(_tree(path)) if path is not None else ()
    return {
        alias.name: node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _absolute(node: ast.ImportFrom, module: str | Path, known: dict[str, Path]) -> str:
    """The dotted name that ``from … import`` reads from, with leading dots resolved."""
    if not node.level or isinstance(module, Path):
        return "." * node.level + (node.module or "")
    above = module.split(".")
    if known[module].name != "__init__.py":
        above = above[:-1]
    above = above[: len(above) - (node.level - 1)]
    return ".".join([*above, *([node.module] if node.module else [])])


@cache
def beside(path: Path) -> frozenset[Path]:
    """Files outside the package that ``path`` imports: siblings, and parts of other experiments.

    ``from .parts import x`` is ``parts.py`` beside it, ``from ..flows.fits import y`` is
    ``../flows/fits.py``; files named from the top (``from experiments.flows.fits import y``) count too.
    """
    found: set[Path] = set()
    for source, aliases in _named(path, PACKAGE):
        bare = source.lstrip(".")
        if level := len(source) - len(bare):
            top, words = path.parents[level - 1], bare.split(".") if bare else []
        else:
            top, words = path.parent.parent.parent, bare.split(".")
            if words[0] != path.parent.parent.name:
                continue
        for place in (words, *([*words, alias] for alias in aliases)):
            file = top.joinpath(*place).with_suffix(".py") if place else top
            if file.is_file():
                found.add(file.resolve())
    return frozenset(found)


def files_of(path: Path) -> set[Path]:
    """``path`` and all files outside the package that it reaches."""
    reached: set[Path] = set()
    waiting = [Path(path).resolve()]
    while waiting:
        now = waiting.pop()
        if now not in reached:
            reached.add(now)
            waiting += beside(now)
    return reached


@cache
def _reached(module: str | Path, package: Path) -> frozenset[str]:
    """What ``module`` makes Python load.

    That is what it names, the packages around those, and all modules of a package taken whole.

    A package is taken whole by ``import dfp.posteriors`` or ``from dfp import posteriors``: its modules are
    then found by discovery.
    """
    known = modules(package)
    named = set(direct_imports(module, package))
    for source, aliases in _named(module, package):
        whole = {f"{source}.{alias}" for alias in aliases} if aliases else {source}
        for name in whole & set(known):
            if known[name].name == "__init__.py":
                named |= {other for other in known if other.startswith(f"{name}.")}
    if isinstance(module, str):
        named.add(module)
    around = {".".join(name.split(".")[:depth]) for name in named for depth in range(1, name.count(".") + 1)}
    return frozenset(named | (around & set(known)))


def imports_of(module: str | Path, package: Path = PACKAGE) -> set[str]:
    """All modules of the package that ``module`` reaches, itself included where it is one of them.

    Args:
        module: a dotted name, or the path of a file outside the package, whose siblings are followed.

    Raises:
        KeyError: for a dotted name that is none of the package's modules.
    """
    reached: set[str] = set()
    waiting = (
        [module]
        if isinstance(module, str)
        else [name for file in files_of(module) for name in _reached(file, package)]
    )
    while waiting:
        now = waiting.pop()
        if now not in reached:
            reached.add(now)
            waiting += _reached(now, package)
    return reached


def code_hash(*entries: str | Path, package: Path = PACKAGE, docstrings: bool = False) -> str:
    """Hash of the code that ``entries`` reach: what a rule reruns for.

    Comments and layout do not count, nor docstrings unless asked for, nor the modules of ``TELLING``.

    Args:
        entries: dotted names of modules, or paths of files outside the package, which count with all files
            that they import from beside them and from their siblings' folders.
    """
    files = {
        name: modules(package)[name] for entry in entries for name in imports_of(entry, package) - TELLING
    }
    outside = {path for entry in entries if isinstance(entry, Path) for path in files_of(entry)}
    files |= {f"{path.parent.name}/{path.name}": path for path in outside}
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{_code(files[name], docstrings)}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _tree(path: Path) -> ast.Module:
    """The imports of a file, from wherever they stand in it, and nothing else."""
    whole = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = (ast.Import, ast.ImportFrom)
    return ast.Module([node for node in ast.walk(whole) if isinstance(node, imports)], [])


@cache
def _code(path: Path, docstrings: bool) -> str:
    """Hash of what a file means to Python."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in () if docstrings else ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def environment() -> dict[str, Any]:
    """Device, processor, threads, versions and commit: what a number was measured on."""
    import numpy
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "device": gpu or "cpu",
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "commit": commit(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit(package: Path = PACKAGE) -> str | None:
    """The commit of the repository that holds ``src/<package>``; None where there is none.

    A ``+`` follows when tracked files differ from it.
    """
    try:
        top = _git(package, "rev-parse", "--show-toplevel").strip()
        if not top or Path(top).resolve() != package.resolve().parent.parent:
            return None  # installed somewhere below another project's repository
        head = _git(package, "rev-parse", "--short=12", "HEAD").strip()
        changed = _git(package, "status", "--porcelain", "--untracked-files=no").strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if changed else head


def _git(folder: Path, *arguments: str) -> str:
    # many jobs ask at once: none may take the index's lock
    asked = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return asked.stdout
