"""Computes digests of the code that a stage depends on, which change with the code but not with its comments."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLLOWED = (
    "vit", "tune_spaces", "pipeline.charts", "pipeline.figures", "pipeline.page", "pipeline.registry",
    "pipeline.report", "pipeline.results", "pipeline.search", "pipeline.stages", "pipeline.statistics",
    "pipeline.training", "pipeline.trials", "pipeline.planning.deadline", "pipeline.tracking.pages",
    "pipeline.tracking.run_files", "pipeline.tracking.test_set_reads", "pipeline.tracking.weights",
)  # fmt: skip
"""Packages whose code can change a stage's output; imports of them are followed. Other code cannot change an output: it
shows progress, holds resources, or keeps records (a run's metrics, figures and predictions, which stay unchanged once
the training has ended)."""
NOT_FOLLOWED = (
    # These read the images, which have a digest of their own.
    "vit.data.dataset", "vit.data.decode", "vit.data.image_files", "vit.data.parquet", "vit.data.sources",
    # This only defines the fields of the stages' outputs: an output with other fields cannot be read, and its stage
    # runs again.
    "pipeline.results.stage_outputs",
)  # fmt: skip


def code_digests(*modules: str) -> dict[str, str]:
    """Returns a digest of each of these modules and, recursively, of each module of `FOLLOWED` that they import.

    Comments, docstrings and layout do not count; templates beside a module whose names begin with its name do.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found[module], imported = _read(module)
            waiting += [name for name in imported if _is_followed(name)]
    return dict(sorted(found.items()))


def _is_followed(module: str) -> bool:
    return any(f"{module}.".startswith(f"{each}.") for each in FOLLOWED) and module not in NOT_FOLLOWED


@cache  # edits made while a command runs are not in the code that it runs
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Returns the module's digest, and the modules of this project that it imports."""
    tree = ast.parse(_file(module).read_text())
    nodes = list(ast.walk(tree))
    imported = tuple(sorted(set(_imports(nodes))))
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_docstring(each)] or [ast.Pass()]
    # Not `ast.dump`, which differs from one minor version of Python to the next.
    digest = hashlib.sha256(ast.unparse(tree).encode())
    for path in sorted(_file(module).parent.glob(f"{module.rpartition('.')[2]}.*.jinja")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16], imported


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py") if not path.is_dir() else path / "__init__.py"


def _imports(nodes: Iterable[ast.AST]) -> list[str]:
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from package import module`: the imported name may be a module itself.
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in within if _file(name).is_file()]
            found += modules if len(modules) == len(within) else [*modules, node.module]
    return found


def _is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a bare string: the docstring of a module, class or function, or of the field above it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
