"""Wraps torch.compile for processes that run one training after the other."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

C = TypeVar("C", bound=Callable[..., Any])


def compiled(target: C, **options: Any) -> C:
    """Compiles a model or a function by torch.compile, whatever was compiled in this process before.

    Dynamo keeps only a few compiled variants of a function per process and leaves further ones uncompiled. So what
    earlier trainings compiled is dropped first, and if the limit is hit all the same, it is an error.
    """
    torch.compiler.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return cast(C, torch.compile(target, **options))
