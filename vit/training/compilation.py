"""torch.compile, for one training after the other in a process."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

C = TypeVar("C", bound=Callable[..., Any])


def compiled(target: C, **options: Any) -> C:
    """A model or a function through torch.compile, whatever was compiled in this process before.

    Dynamo keeps a few variants of a function for all who compile it and then leaves further ones as they are, so what
    earlier trainings compiled has to go first; and should the limit be hit all the same, it is an error.
    """
    torch.compiler.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return cast(C, torch.compile(target, **options))
