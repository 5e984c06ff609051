"""Takes this folder's pictures again: a sweep's page and MLflow's own pages, in a browser without a window.

python docs/gallery/make.py --tracking-uri sqlite:////path/to/mlflow.db

It needs Chromium (Debian: `apt-get install chromium`) and a tracking store that holds a finished sweep, which it only
reads. It prints a line for each picture.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import resolve_tracking_uri
from pipeline.errors import PipelineError, UsageError
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.tracking.server import open_client, prepare_mlflow, refuse_missing_database, refuse_unreachable

HERE = Path(__file__).parent
CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--hide-scrollbars",
]  # fmt: skip
SCHEMES = {"light": 1, "dark": 0}
"""The colour schemes, with Chromium's numbers for them."""
TALLEST = 14_000
"""The most pixels of a page's height that are taken."""
COLORS = 256
"""The colours that a picture is reduced to: its file is then a third as large, and no difference is visible."""
ATTEMPTS = 4
"""How often each of MLflow's pages is taken: they load in parts, and the fullest picture is kept."""
PATIENCE = 150_000
"""How long the browser waits for a page, in milliseconds of its own clock, which runs ahead while a page is idle."""
SECONDS_TO_START = 120


def main() -> None:
    parser = Parser(prog="python docs/gallery/make.py", description="Take the gallery's pictures again.")
    parser.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    parser.add_argument("--sweep", help="name or run id; default: the newest with a result")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the pictures")
    parser.add_argument("--chromium", default="chromium", help="the browser's program")
    parser.add_argument("--port", type=int, default=5011, help="for the MLflow UI while the pictures are taken")
    flags = parser.parse_args()
    if shutil.which(flags.chromium) is None:
        raise UsageError(f"--chromium is {flags.chromium}, but there is no such program: install Chromium")
    uri = resolve_tracking_uri(flags.tracking_uri)
    prepare_mlflow()
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    flags.out.mkdir(parents=True, exist_ok=True)
    browser = Browser(flags.chromium, flags.out)
    picture_report(browser, uri, flags.sweep)
    picture_mlflow(browser, uri, flags.sweep, flags.port)


class Browser:
    """Takes pictures and keeps them in a folder."""

    def __init__(self, program: str, out: Path) -> None:
        self._program, self._out = program, out

    def take(self, url: str, width: int, height: int, scheme: str = "light") -> Image.Image:
        """Returns what a window of this size shows once the page has finished loading."""
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "picture.png")
            options = [
                f"--user-data-dir={scratch}/profile", f"--window-size={width},{height}", f"--screenshot={file}",
                f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--virtual-time-budget={PATIENCE}",
            ]  # fmt: skip
            command = [self._program, *CHROMIUM, *options, url]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            return Image.open(file).convert("RGB")

    def keep(self, image: Image.Image, name: str) -> None:
        path = self._out / f"{name}.png"
        image.quantize(COLORS, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


def picture_report(browser: Browser, uri: str, sweep: str | None) -> None:
    """Takes the sweep's page, made again: on a desk in pieces, on a phone as columns side by side; light and dark."""
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch, "report.html")
        wanted = [] if sweep is None else [sweep]
        command = [sys.executable, "-m", "pipeline.report", *wanted, "--tracking-uri", uri, "--out", str(page)]
        subprocess.run(command, check=True)
        for scheme in SCHEMES:
            desk = trimmed(browser.take(page.as_uri(), 1280, TALLEST, scheme))
            for number, piece in enumerate(pieces(desk, 2400), start=1):
                browser.keep(piece, f"report-1280-{scheme}-{number}")
            phone = trimmed(browser.take(page.as_uri(), 390, TALLEST, scheme))
            browser.keep(side_by_side(pieces(phone, 2200)), f"report-390-{scheme}")


def picture_mlflow(browser: Browser, uri: str, sweep: str | None, port: int) -> None:
    """Takes MLflow's own pages of the sweep: list of runs, trials by accuracy, the sweep's run, its trials compared."""
    from pipeline.report.sweep_choice import find_sweep

    client = open_client(uri)
    run = find_sweep(client, sweep)
    experiment, run_id = run.info.experiment_id, run.info.run_id
    condition = f"tags.`mlflow.parentRunId` = '{run_id}' AND tags.`pipeline.kind` = 'trial'"
    trials = [trial.info.run_id for trial in client.search_runs([experiment], condition)]
    by_accuracy = urllib.parse.urlencode(
        {
            "searchFilter": "tags.`pipeline.kind` = 'trial'", "orderByKey": "metrics.`val/accuracy`",
            "orderByAsc": "false", "compareRunsMode": "CHART",
        }
    )  # fmt: skip
    compared = urllib.parse.urlencode({"runs": json.dumps(trials), "experiments": json.dumps([experiment])})
    pages = {
        "mlflow-runs": f"experiments/{experiment}/runs",
        "mlflow-trials": f"experiments/{experiment}/runs?{by_accuracy}",
        "mlflow-sweep": f"experiments/{experiment}/runs/{run_id}",
        "mlflow-report": f"experiments/{experiment}/runs/{run_id}/artifacts/report.html",
        "mlflow-compare": f"compare-runs?{compared}",
    }
    with mlflow_ui(uri, port) as address:
        for name, page in pages.items():
            taken = [browser.take(f"{address}/#/{page}", 1600, 1200) for _ in range(ATTEMPTS)]
            browser.keep(max(taken, key=fullness), name)


@contextmanager
def mlflow_ui(uri: str, port: int) -> Iterator[str]:
    """Runs the MLflow UI on a store, if that is not a server itself, and gives its address."""
    if uri.startswith(("http://", "https://")):
        yield uri
        return
    command = [sys.executable, "-m", "pipeline.ui", "--tracking-uri", uri, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address, begun = f"http://127.0.0.1:{port}", time.monotonic()
        while not answers(address):
            if server.poll() is not None or time.monotonic() - begun > SECONDS_TO_START:
                raise PipelineError(f"the MLflow UI does not start: {' '.join(command)}")
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=2):
        return True
    return False


def fullness(picture: Image.Image) -> int:
    """Returns how much there is to see, measured by the bytes of the picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.tell()


def trimmed(page: Image.Image) -> Image.Image:
    """Returns the page without the empty space below it."""
    (used,) = np.nonzero(np.asarray(page.convert("L")).std(axis=1))
    return page.crop((0, 0, page.width, min(page.height, int(used.max()) + 30)))


def pieces(page: Image.Image, height: int) -> list[Image.Image]:
    """Returns the page cut into pieces of this height, from the top; the last may be lower."""
    tops = range(0, page.height, height)
    return [page.crop((0, top, page.width, min(page.height, top + height))) for top in tops]


def side_by_side(columns: list[Image.Image], gap: int = 16) -> Image.Image:
    whole = Image.new("RGB", (sum(column.width + gap for column in columns) - gap, columns[0].height), "#888888")
    left = 0
    for column in columns:
        whole.paste(column, (left, 0))
        left += column.width + gap
    return whole


if __name__ == "__main__":
    run_command(main)
