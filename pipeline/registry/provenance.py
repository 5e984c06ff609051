"""Which code and which packages a command runs with."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pipeline.graph.code_digest import ROOT, code_digests

PACKAGES = ("mlflow", "numpy", "pandas", "pillow", "pyarrow", "ray", "scikit-learn", "torch", "torchvision")


@dataclass(frozen=True)
class CodeState:
    """This project's code, as it trained."""

    commit: str | None
    """Of git; None where the project is no checkout."""
    is_clean: bool | None
    """Whether all was committed."""
    digests: dict[str, str]
    """Of each module that decides what a training comes to (`pipeline.graph.code_digest`)."""

    @staticmethod
    def now(*modules: str) -> "CodeState":
        """As it is here; `modules` are those that a training starts from."""
        commit = _git("rev-parse", "HEAD")
        changes = None if commit is None else _git("status", "--porcelain", "--untracked-files=no")
        return CodeState(commit, None if changes is None else not changes, code_digests(*modules))


def _git(*arguments: str) -> str | None:
    """What git says of the project; None where there is no git, or no checkout."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_versions() -> dict[str, str]:
    """The installed versions of what a training stands on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
