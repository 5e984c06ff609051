"""Tests Ctrl-C and SIGTERM on a real process, which prints what it does and continues only when the test says so."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deadline import DEADLINE

ROOT = Path(__file__).parents[4]
HEAD = """
import signal, sys
from contextlib import nullcontext
from pipeline.terminal.interrupt import Interrupt
interrupt = Interrupt()
def turn():
    print("requested" if interrupt.requested else "undisturbed", flush=True)
    # A signal's handler runs before the line is read.
    assert sys.stdin.readline() == "go on\\n"
"""
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


class Told:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()


@contextmanager
def program(body: str) -> Iterator[Told]:
    line = [sys.executable, "-c", HEAD + body]
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Told(process)
        finally:
            process.kill()


DEFERRING = """
with interrupt.handled():
    try:
        with interrupt.deferred():
            turn()
            turn()
            print("orderly end", flush=True)
    except KeyboardInterrupt:
        print("raised", flush=True)
"""


@SIGNALS
def test_the_first_signal_asks_and_the_work_goes_on(number: signal.Signals) -> None:
    with program(DEFERRING) as running:
        assert running.hear() == "undisturbed"
        running.process.send_signal(number)
        assert running.hear() == "stopping at the end of the epoch (Ctrl-C again: immediately)"
        running.go_on()
        assert running.hear() == "requested"
        running.go_on()
        assert running.hear() == "orderly end"
        assert running.process.wait(timeout=DEADLINE) == 0


@SIGNALS
def test_the_second_signal_ends_the_work_at_once(number: signal.Signals) -> None:
    with program(DEFERRING) as running:
        running.hear()
        running.process.send_signal(number)
        assert running.hear() == "stopping at the end of the epoch (Ctrl-C again: immediately)"
        running.go_on()
        assert running.hear() == "requested"
        running.process.send_signal(number)
        assert running.hear() == "raised"  # while the process was waiting for the next line


@SIGNALS
def test_outside_of_deferred_the_first_signal_ends_the_work(number: signal.Signals) -> None:
    body = """
with interrupt.handled():
    with interrupt.deferred():
        pass
    try:
        turn()
    except KeyboardInterrupt:
        print("raised", interrupt.requested, flush=True)
"""
    with program(body) as running:
        assert running.hear() == "undisturbed"
        running.process.send_signal(number)
        assert running.hear() == "raised True"


def test_the_handlers_of_before_come_back() -> None:
    body = """
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
with interrupt.handled():
    during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
print(before == after, set(before) & set(during) == set())
"""
    with program(body) as running:
        assert running.hear() == "True True"


WITHOUT_A_READER = """
with interrupt.handled(), interrupt.deferred():
    turn()
    sys.exit(7 if interrupt.requested else 8)
"""


@SIGNALS
def test_it_stops_in_good_order_though_nobody_reads_what_it_says(number: signal.Signals) -> None:
    """In `python -m pipeline.sweep | tee log`, Ctrl-C ends `tee` at once."""
    with program(WITHOUT_A_READER) as told:
        assert told.hear() == "undisturbed"
        assert told.process.stdout is not None
        told.process.stdout.close()
        told.process.send_signal(number)
        told.go_on()
        assert told.process.wait(DEADLINE) == 7
