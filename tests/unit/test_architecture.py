"""Which modules may import which, as read from their source, and what the repository may hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "tune_spaces", "vit")
MODULES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LARGEST = 500_000
"""The most bytes that a file in the repository may have."""
LONGEST = 250
"""The most lines that a module may have."""


@cache
def imports_of(module: str) -> set[str]:
    """The full names of all that a file imports, also within functions: `a.b` for `from a import b`."""
    return _imported(ast.walk(ast.parse((ROOT / module).read_text())))


def imports_in_functions(module: str) -> set[str]:
    """The full names of all that a file imports from this project within functions."""
    nodes = ast.walk(ast.parse((ROOT / module).read_text()))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    found = _imported(node for function in functions for node in ast.walk(function))
    return {name for name in found if name.partition(".")[0] in PACKAGES}


def _imported(nodes: Iterable[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports relatively"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def packages_of(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(module)}


LAYERS = (
    "vit.data", "vit.model", "vit.training", "vit.fused", "vit.timing", "vit.files", "tune_spaces",
    "pipeline.errors", "pipeline.config", "pipeline.statistics", "pipeline.trials", "pipeline.results",
    "pipeline.charts", "pipeline.figures", "pipeline.terminal", "pipeline.cluster", "pipeline.tracking",
    "pipeline.graph", "pipeline.training", "pipeline.search", "pipeline.registry", "pipeline.page",
    "pipeline.session", "pipeline.planning",
    "pipeline.report", "pipeline.stages", "pipeline.train_actions", "pipeline.reproduce", "pipeline.sweep_actions",
    "pipeline.sweep", "pipeline.train", "pipeline.promote", "pipeline.ui",
    "pipeline.diagnosis", "pipeline.doctor", "pipeline.predict", "pipeline.compare", "pipeline.copy_store",
)  # fmt: skip
"""The layers, lowest first: a module may import from its own layer and from those before it."""
FORBIDDEN = {
    "pipeline.trials": {"pipeline.config"},
    "pipeline.results": {"pipeline.config"},
    "pipeline.figures": {"pipeline.config", "pipeline.results"},
    "pipeline.terminal": {"pipeline.results", "pipeline.figures"},
    "pipeline.cluster": {"pipeline.results", "pipeline.figures", "pipeline.terminal"},
    "pipeline.tracking": {"pipeline.config", "pipeline.results", "pipeline.terminal", "pipeline.cluster"},
    "pipeline.graph": {
        "pipeline.config", "pipeline.trials", "pipeline.results", "pipeline.cluster", "vit", "tune_spaces",
    },
    "pipeline.training": {"pipeline.config", "pipeline.figures", "pipeline.terminal", "pipeline.graph"},
    "pipeline.search": {"pipeline.config", "pipeline.figures", "pipeline.terminal", "pipeline.graph"},
    "pipeline.registry": {"pipeline.trials", "pipeline.tracking", "pipeline.training", "pipeline.search"},
    "pipeline.charts": {"pipeline"},
    "pipeline.page": {
        "pipeline.config", "pipeline.results", "pipeline.terminal", "pipeline.cluster", "pipeline.graph",
        "pipeline.training", "pipeline.search", "pipeline.registry",
    },
    "pipeline.promote": {
        "pipeline.results", "pipeline.figures", "pipeline.cluster", "pipeline.graph", "pipeline.training",
        "pipeline.search", "pipeline.planning", "pipeline.report", "pipeline.stages", "pipeline.train_actions",
        "pipeline.sweep_actions", "pipeline.sweep", "pipeline.train",
    },
    "pipeline.diagnosis": {
        "pipeline.search", "pipeline.training", "pipeline.page", "pipeline.report", "pipeline.planning",
        "pipeline.stages", "pipeline.train_actions", "pipeline.sweep_actions", "pipeline.sweep", "pipeline.train",
        "pipeline.promote", "pipeline.ui",
    },
    # These commands read what the tracking store and the registry hold, whichever command wrote it.
    "pipeline.predict": {"pipeline.training", "pipeline.search", "pipeline.session", "pipeline.stages"},
    "pipeline.compare": {"pipeline.training", "pipeline.search", "pipeline.session", "pipeline.stages"},
    "pipeline.copy_store": {
        "pipeline.graph", "pipeline.training", "pipeline.search", "pipeline.registry", "pipeline.session",
        "pipeline.planning", "pipeline.report", "pipeline.stages", "pipeline.train_actions", "pipeline.sweep_actions",
        "pipeline.sweep", "pipeline.train", "pipeline.promote", "pipeline.ui", "pipeline.diagnosis", "pipeline.doctor",
    },
}  # fmt: skip
"""For some layers, the lower layers that they must not import although these are lower."""
LAZY = {
    # Bad usage and --help should not wait for the seconds that the frameworks take to import.
    "pipeline.sweep", "pipeline.train", "pipeline.doctor", "pipeline.promote.__main__", "pipeline.reproduce.__main__",
    "pipeline.predict.__main__", "pipeline.compare.__main__", "pipeline.copy_store.__main__",
    # matplotlib and altair are needed only by the process that draws figures and at the end of a sweep.
    "pipeline.tracking.artifacts", "pipeline.report.recording", "pipeline.report.__main__",
    # mlflow.pytorch is needed only once a command registers a model.
    "pipeline.registry.registration",
    # Ray is needed only for placement groups: the doctor command can look for other leftovers without it.
    "pipeline.diagnosis.placement_groups",
}  # fmt: skip
"""The modules that import modules of this project within a function, because the import takes seconds."""
FRAMEWORKS = {
    "vit/": {"ray", "mlflow"},
    "tune_spaces/": {"mlflow"},
    "tune_spaces/trial_spec.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/errors.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/config.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/statistics/": {"ray", "mlflow", "torch"},
    "pipeline/trials/": {"ray", "mlflow", "torch"},
    "pipeline/results/": {"ray", "mlflow", "torch", "numpy"},
    # They are imported by a process that starts while every core is busy.
    "pipeline/figures/": {"ray", "mlflow", "torch"},
    "pipeline/charts/": {"ray", "mlflow", "torch", "numpy"},
    # Rendering a sweep's page again takes neither a cluster nor a model.
    "pipeline/page/": {"ray", "torch"},
    "pipeline/tracking/artifacts.py": {"ray", "mlflow", "torch"},
    "pipeline/tracking/": {"ray", "torch"},
    "pipeline/graph/graph.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/graph/reuse.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/graph/stage.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/graph/": {"ray", "torch"},
    "pipeline/search/asha.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/search/driver.py": {"ray", "mlflow"},
    "pipeline/registry/": {"ray"},
    "pipeline/promote/ledger.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/promote/rules.py": {"ray", "mlflow", "torch"},
    "pipeline/promote/": {"ray"},
    "pipeline/compare/": {"ray", "torch"},
    "pipeline/copy_store/": {"ray", "torch"},
    # Workers that decode images need nothing beyond what decoding needs.
    "pipeline/predict/decoding.py": {"ray", "mlflow", "torch"},
    # Each registered model contains a copy of this file.
    "vit/data/pixels.py": {"ray", "mlflow", "torch", "pandas"},
    "pipeline/session/folder.py": {"ray", "mlflow", "torch"},
    "pipeline/session/lock.py": {"ray", "mlflow", "torch"},
}
"""The frameworks that a file, or the files of a folder, must not import."""


def name_of(module: str) -> str:
    return module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def layer_of(name: str) -> str | None:
    """The layer that a module belongs to; None for the root modules of `pipeline` and `vit`."""
    return next((layer for layer in LAYERS if name == layer or name.startswith(f"{layer}.")), None)


@cache
def own_imports(module: str) -> set[str]:
    """The modules of this project that a file imports."""
    names = {name_of(each) for each in MODULES}
    return {name if name in names else name.rpartition(".")[0] for name in imports_of(module)} & names


def import_fault(importing: str, imported: str) -> str | None:
    """Returns what is wrong with an import, given the two modules' names; None if nothing is."""
    upper, lower = layer_of(importing), layer_of(imported)
    if upper is None or lower is None or upper == lower:
        return None
    if LAYERS.index(lower) > LAYERS.index(upper):
        return f"{importing} imports {imported}, of a higher layer"
    if any(f"{lower}.".startswith(f"{layer}.") for layer in FORBIDDEN.get(upper, ())):
        return f"{importing} imports {imported}, though {upper} must not import {lower}"
    return None


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_from_higher_layers_to_lower_ones(module: str) -> None:
    found = (import_fault(name_of(module), imported) for imported in own_imports(module))
    assert [wrong for wrong in found if wrong] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stands_in_a_layer(module: str) -> None:
    assert layer_of(name_of(module)) is not None or name_of(module) in ("pipeline", "vit")


def test_an_arrow_turned_round_is_found() -> None:
    """For every import between two layers, an import in the opposite direction would be found wrong."""
    arrows = [(name_of(module), imported) for module in MODULES for imported in own_imports(module)]
    between = [(a, b) for a, b in arrows if layer_of(a) and layer_of(b) and layer_of(a) != layer_of(b)]
    assert len(between) > 300
    assert [(a, b) for a, b in between if import_fault(b, a) is None] == []


def test_no_imports_form_a_circle() -> None:
    arrows = {name_of(module): own_imports(module) - {name_of(module)} for module in MODULES}
    assert len(list(TopologicalSorter(arrows).static_order())) == len(MODULES)


def test_no_import_hides_in_a_function_but_for_what_it_costs() -> None:
    lazy = {name_of(module) for module in MODULES if imports_in_functions(module)}
    assert lazy == LAZY


@pytest.mark.parametrize("where", FRAMEWORKS)
def test_who_does_without_which_framework(where: str) -> None:
    modules = [module for module in MODULES if module.startswith(where)]
    assert modules, f"{where} is gone: change the rule"
    wrong = {module: sorted(packages_of(module) & FRAMEWORKS[where]) for module in modules}
    assert {module: names for module, names in wrong.items() if names} == {}


def test_who_does_without_ray_does_not_get_it_through_another_module() -> None:
    rayless = sorted(
        name_of(module)
        for module in MODULES
        if any(module.startswith(where) and "ray" in without for where, without in FRAMEWORKS.items())
    )
    program = (
        f"import importlib, sys; [importlib.import_module(name) for name in {rayless}]; print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


FOLDERS = ("vit", "tune_spaces", *(f"pipeline.{file.parent.name}" for file in ROOT.glob("pipeline/*/__init__.py")))
"""The folders whose docstrings end with the lists of what imports them and of what they import.

`vit` is one of them: its docstring covers the folders inside it.
"""


def short_name(module: str) -> str:
    """The name that the docstrings use for a module's layer: `vit`, `tune_spaces`, or its name in `pipeline`."""
    package, *within = module.split(".")
    return within[0] if package == "pipeline" else package


@cache
def imports_between_layers() -> set[tuple[str, str]]:
    arrows = {(name_of(module), imported) for module in MODULES for imported in own_imports(module)}
    named = {(short_name(a), short_name(b)) for a, b in arrows if "pipeline" not in (a, b)}
    return {(a, b) for a, b in named if a != b}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_who_imports_it_and_what_it_imports(folder: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / folder.replace(".", "/") / "__init__.py").read_text())) or ""
    said = re.search(r"^Imported by: (.*)\.\nImports: (.*)\.$", text, re.MULTILINE | re.DOTALL)
    assert said, f"the docstring of {folder} does not end with its two lines on imports"
    imported_by, imports = (set(re.findall(r"`([^`]+)`", names)) for names in said.groups())
    arrows, name = imports_between_layers(), short_name(folder)
    assert imported_by == {a for a, b in arrows if b == name}
    assert imports == {b for a, b in arrows if a == name}


def test_the_top_of_the_pipeline_reads_as_a_table_of_contents() -> None:
    assert len(list((ROOT / "pipeline").glob("*.py"))) <= 10


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    assert len((ROOT / module).read_text().splitlines()) <= LONGEST


def test_ray_reaches_the_spaces_only_through_the_domains() -> None:
    """The spaces use only Ray Tune's domains, so that a space file looks as a reader of Ray's documentation expects."""
    used = {name for module in MODULES if module.startswith("tune_spaces/") for name in imports_of(module)}
    assert {name for name in used if name.startswith("ray")} <= {"ray.tune", "ray.tune.search.sample.Domain"}


def test_the_reader_of_imports_sees_them(tmp_path: Path) -> None:
    """The rules above depend on how imports are read: one within a function counts, one in a string does not."""
    file = tmp_path / "module.py"
    file.write_text(
        "import a.b as c\nfrom d.e import f, g\ndef h():\n    import i, vit.k\n'import j'\n"
        "async def l():\n    from pipeline.m import n\n"
    )
    assert imports_of(str(file)) == {"a.b", "d.e.f", "d.e.g", "i", "vit.k", "pipeline.m.n"}
    assert imports_in_functions(str(file)) == {"vit.k", "pipeline.m.n"}


def test_no_module_stands_where_it_would_hide_mlflow() -> None:
    assert list((ROOT / "mlflow").rglob("*.py")) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / module).read_text()))
    assert text, f"{module} has no docstring"
    assert text.splitlines()[0].endswith((".", ":")), f"{module}: the first line of its docstring is no sentence"


def test_every_package_is_installed_and_nothing_else() -> None:
    import tomllib

    from setuptools import find_packages

    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    found = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("*/**/__init__.py")}
    expected = sorted(name for name in found if name.partition(".")[0] in PACKAGES)
    assert sorted(find_packages(str(ROOT), include=options["include"])) == expected


def test_no_large_file_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(files) > 20
    large = {str(path): path.stat().st_size for path in files if path.is_file() and path.stat().st_size > LARGEST}
    assert large == {}
