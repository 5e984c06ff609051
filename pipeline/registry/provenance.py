"""Records which code and which package versions a command runs with."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pipeline.graph.code_digest import ROOT, code_digests

PACKAGES = ("mlflow", "numpy", "pandas", "pillow", "pyarrow", "ray", "scikit-learn", "torch", "torchvision")


@dataclass(frozen=True)
class CodeState:
    """The state of this project's code when it trained."""

    commit: str | None
    """The git commit; None where the project is not a git checkout."""
    is_clean: bool | None
    """Whether all changes to tracked files were committed; None where git cannot tell."""
    digests: dict[str, str]
    """The digest of each module that can change a training's result, by name (`pipeline.graph.code_digest`)."""

    @staticmethod
    def now(*modules: str) -> "CodeState":
        """Returns the current state of the code; `modules` are those that a training starts from."""
        commit = _git("rev-parse", "HEAD")
        changes = None if commit is None else _git("status", "--porcelain", "--untracked-files=no")
        return CodeState(commit, None if changes is None else not changes, code_digests(*modules))


def _git(*arguments: str) -> str | None:
    """Returns git's output about the project; None where there is no git, or no checkout."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_versions() -> dict[str, str]:
    """Returns the installed versions of Python and of the packages that a training depends on, by name."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
