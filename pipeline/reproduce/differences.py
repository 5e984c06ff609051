"""Finds what differs between the training that a passport describes and one here and now."""

from collections.abc import Mapping

from pipeline.registry.passport import Passport
from pipeline.registry.provenance import CodeState
from vit.training.machine import Machine

_MOST_MODULES = 5


def differences(passport: Passport, code: CodeState, packages: Mapping[str, str], machine: Machine) -> list[str]:
    """Returns a line for each thing that differs. If none does, a training on a CPU must be repeated bit for bit."""
    return [*_code(passport.code, code), *_packages(passport.packages, packages), *_machines(passport, machine)]


def _code(then: CodeState, now: CodeState) -> list[str]:
    modules = sorted(then.digests.keys() | now.digests.keys())
    changed = [name for name in modules if then.digests.get(name) != now.digests.get(name)]
    if not changed:  # a commit that changes other modules does not change the training
        return []
    shown = ", ".join(changed[:_MOST_MODULES]) + ("" if len(changed) <= _MOST_MODULES else ", and others")
    commits = f"{_commit(then)}, now {_commit(now)}"
    return [f"code: {len(changed)} of the modules that decide a training changed ({shown}); {commits}"]


def _commit(code: CodeState) -> str:
    if code.commit is None:
        return "no git checkout"
    return f"commit {code.commit[:12]}" + ("" if code.is_clean else " with changes")


def _packages(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = sorted(then.keys() | now.keys())
    return [
        f"package: {name} {then.get(name, 'not installed')}, now {now.get(name, 'not installed')}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def _machines(passport: Passport, machine: Machine) -> list[str]:
    if not passport.machines:
        return [f"machine: not recorded, now {machine}"]
    return [f"machine: {then}, now {machine}" for then in dict.fromkeys(passport.machines) if then != machine]
