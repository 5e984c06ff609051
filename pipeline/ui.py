"""The command that opens the MLflow UI on this machine's runs.

python -m pipeline.ui
"""

import os
import socket
import sys

from pipeline.config import resolve_tracking_uri
from pipeline.errors import UsageError, without_passwords
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.tracking.server import prepare_mlflow, refuse_missing_database, refuse_unreachable

HOST = "127.0.0.1"


def build_parser() -> Parser:
    parser = Parser(prog="python -m pipeline.ui", description="Open the MLflow UI on this machine's runs.")
    parser.add_argument("--port", type=int, default=5000, help=f"port on {HOST}")
    parser.add_argument("--tracking-uri", help="database of the runs; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    return parser


def main() -> None:
    flags = build_parser().parse_args()
    if not 1 <= flags.port <= 65535:
        raise UsageError(f"--port is {flags.port}, but must be from 1 to 65535")
    uri = resolve_tracking_uri(flags.tracking_uri)
    if uri.startswith(("http://", "https://")):
        print(f"the runs are on a server with a UI of its own: {without_passwords(uri)}")
        return
    prepare_mlflow()
    refuse_missing_database(uri)
    refuse_unreachable(uri)
    _refuse_port_in_use(flags.port)
    print(f"MLflow UI: http://{HOST}:{flags.port} (Ctrl-C ends it)", flush=True)
    # MLflow's jobs evaluate the answers of language models, which is of no use here: without them, MLflow starts eight
    # processes fewer and saves 1.4 GB.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    options = ["--backend-store-uri", uri, "--host", HOST, "--port", str(flags.port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *options])


def _refuse_port_in_use(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(f"--port is {port}, which cannot be used ({error.strerror}): name another") from error


if __name__ == "__main__":
    run_command(main)
