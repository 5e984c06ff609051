"""Sets the folder in which torch keeps the code that it has compiled."""

import os

from pipeline.config import CommandConfig
from pipeline.session.folder import COMPILED_FOLDER, absolute_storage


def keep_compiled_code(config: CommandConfig) -> None:
    """Has torch keep compiled code in the storage, so that the next command recompiles only what has changed.

    This holds for this process and for those that Ray starts from it. torch's own setting stays if the command joins a
    running cluster, if the storage is a URI, or if the user has set TORCHINDUCTOR_CACHE_DIR.
    """
    if config.compile and config.address is None and "://" not in config.storage:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{absolute_storage(config.storage)}/{COMPILED_FOLDER}")
