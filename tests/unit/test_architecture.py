"""Who may import whom, read from the files themselves; and what the repository holds."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "tune_spaces", "vit")
MODULES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LARGEST = 500_000


def imports_of(module: str) -> set[str]:
    """Every module that a file imports, also within functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def packages_of(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(module)}


FORBIDDEN = {
    "vit/": {"ray", "mlflow", "pipeline", "tune_spaces"},
    "tune_spaces/": {"pipeline", "mlflow"},
    "pipeline/": {"tests"},
    "pipeline/dag.py": {"ray", "mlflow", "torch", "vit", "tune_spaces", "numpy"},
    "pipeline/config.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/exits.py": {"ray", "mlflow", "torch", "numpy"},
    "pipeline/ranking.py": {"ray", "mlflow", "torch", "numpy"},
    # A process that starts while every core is busy reads them.
    "pipeline/report/trial_figures.py": {"ray", "mlflow", "torch", "vit"},
    "pipeline/trials/folder.py": {"ray", "mlflow", "torch"},
    "pipeline/artifacts.py": {"ray", "mlflow", "torch"},
}


@pytest.mark.parametrize("where", FORBIDDEN)
def test_who_imports_whom(where: str) -> None:
    modules = [module for module in MODULES if module.startswith(where)]
    assert modules, f"{where} is gone: change the rule"
    wrong = {module: sorted(packages_of(module) & FORBIDDEN[where]) for module in modules}
    assert {module: names for module, names in wrong.items() if names} == {}


def test_ray_reaches_the_spaces_only_through_the_domains() -> None:
    """So that a space file is what a reader of Ray's documentation expects."""
    used = {name for module in MODULES if module.startswith("tune_spaces/") for name in imports_of(module)}
    assert {name for name in used if name.startswith("ray")} <= {"ray.tune", "ray.tune.search.sample.Domain"}


def test_the_reader_of_imports_sees_them(tmp_path: Path) -> None:
    """The rules above stand on it: an import within a function counts, a word in a string does not."""
    file = tmp_path / "module.py"
    file.write_text("import a.b as c\nfrom d.e import f, g\ndef h():\n    import i\n'import j'\n")
    assert imports_of(str(file)) == {"a.b", "d.e.f", "d.e.g", "i"}


def test_no_module_stands_where_it_would_hide_mlflow() -> None:
    assert list((ROOT / "mlflow").rglob("*.py")) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / module).read_text()))
    assert text, f"{module} has no docstring"
    assert text.splitlines()[0].endswith((".", ":")), f"{module}: the first line of its docstring is no sentence"


def test_every_package_is_installed() -> None:
    import tomllib

    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("*/**/__init__.py")}
    assert sorted(named) == sorted(name for name in found if name.partition(".")[0] in PACKAGES)


def test_no_large_file_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(files) > 20
    large = {str(path): path.stat().st_size for path in files if path.is_file() and path.stat().st_size > LARGEST}
    assert large == {}
