"""Where torch keeps what it has compiled."""

import os

from pipeline.config import CommandConfig
from pipeline.session.folder import COMPILED_FOLDER, absolute_storage


def keep_compiled_code(config: CommandConfig) -> None:
    """Keeps it with the storage: the next command compiles nothing twice that has not changed.

    For this process and those that Ray starts from it. On a cluster that is joined, or with a storage that is no
    folder, or where the user has named one, torch keeps it where it is used to.
    """
    if config.compile and config.address is None and "://" not in config.storage:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{absolute_storage(config.storage)}/{COMPILED_FOLDER}")
