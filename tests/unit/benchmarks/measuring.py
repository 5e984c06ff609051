"""What the tests run in processes of their own; a module without slow imports, which these processes would repeat."""

import os
from multiprocessing.connection import Connection


def sends(first: int, second: int, connection: Connection) -> None:
    connection.send((first, second, os.getpid()))


def dies(*anything: object) -> None:
    os._exit(3)
