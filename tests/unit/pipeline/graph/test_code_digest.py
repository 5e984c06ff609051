"""Tests which changes of the code alter its digests, on small modules and on the project's own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.graph import code_digest
from pipeline.graph.code_digest import code_digests

ROOT = Path(__file__).parents[4]
CODE = '''"""What it is for."""
import math
from core import parts

class Wheel:
    """Rolls."""
    radius: float = 0.5
    """In metres."""

    def turn(self) -> float:
        """Once."""
        return 2 * math.pi * self.radius  # the circumference
'''

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Returns a function that writes a module of a small project.

    The project has two packages: imports of `core` are followed, those of `shell` are not.
    """
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    monkeypatch.setattr(code_digest, "FOLLOWED", ("core",))

    def write_module(name: str, code: str) -> None:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
        code_digest._read.cache_clear()  # as in another process

    for name in ("core.__init__", "shell.__init__", "core.parts"):
        write_module(name, "")
    write_module("core.wheel", CODE)
    yield write_module
    code_digest._read.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("the circumference", "all the way round"),
        ("  # the circumference", ""),
        ("What it is for.", "Another purpose."),
        ('    """Rolls."""\n', ""),
        ("In metres.", "In feet."),
        ('        """Once."""\n', '        """Once\n\n        and no more."""\n'),
        ("2 * math.pi * self.radius", "(2 * math.pi\n            * self.radius)"),
        ("import math\n", "import math\n\n\n"),
        ('"""Once."""', "'Once.'"),
    ],
)
def test_words_and_layout_are_not_in_the_digest(write: Write, old: str, new: str) -> None:
    before = code_digests("core.wheel")
    assert CODE.count(old) == 1
    write("core.wheel", CODE.replace(old, new))
    assert code_digests("core.wheel") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.6"),
        ("2 * math.pi", "3 * math.pi"),
        ("import math", "import cmath as math"),
        ("radius: float", "radius: int"),
        ("def turn(self)", "def turn(self, times: int = 1)"),
        ("        return", "        'once'; return 1\n        return"),
    ],
)
def test_what_the_code_does_is(write: Write, old: str, new: str) -> None:
    before = code_digests("core.wheel")
    assert CODE.count(old) == 1
    write("core.wheel", CODE.replace(old, new))
    after = code_digests("core.wheel")
    assert after["core.wheel"] != before["core.wheel"]
    assert after["core.parts"] == before["core.parts"]


def test_a_digest_is_what_it_was_under_every_version_of_python(write: Write) -> None:
    """The digest is kept in the stores of users who have changed to another version of Python since."""
    assert code_digests("core.wheel") == {"core.parts": "d74ff0ee8da3b980", "core.wheel": "e4f6bf6217d1108c"}


def test_a_function_of_nothing_but_words_is_still_a_function(write: Write) -> None:
    write("core.parts", 'def nothing() -> None:\n    """Does nothing."""\n')
    words = code_digests("core.parts")
    write("core.parts", "def nothing() -> None:\n    pass\n")
    assert code_digests("core.parts") == words


def test_a_string_that_is_used_is_no_docstring(write: Write) -> None:
    write("core.parts", "UNIT = 'm'\n")
    metres = code_digests("core.parts")
    write("core.parts", "UNIT = 'ft'\n")
    assert code_digests("core.parts") != metres


@pytest.mark.parametrize(
    "line",
    [
        "import core.wheel", "import core.wheel as it", "from core.wheel import Wheel", "from core import wheel",
        "def later() -> None:\n    from core import wheel", "import os, core.wheel",
    ],
)  # fmt: skip
def test_imports_are_followed_however_they_are_written(write: Write, line: str) -> None:
    write("shell.main", f"{line}\n")
    assert {"shell.main", "core.wheel", "core.parts"} <= set(code_digests("shell.main"))


def test_only_named_modules_of_other_packages_count(write: Write) -> None:
    write("shell.other", "import core.parts\n")
    write("shell.main", "import os\nfrom shell import other\nfrom shell.other import core\n")
    assert list(code_digests("shell.main")) == ["shell.main"]
    assert list(code_digests("shell.main", "shell.other")) == ["core.parts", "shell.main", "shell.other"]


def test_modules_that_import_each_other_come_to_an_end(write: Write) -> None:
    write("core.parts", "from core import wheel\n")
    assert list(code_digests("core.wheel")) == ["core.parts", "core.wheel"]


def test_a_change_deep_below_is_reported_of_the_module_that_has_it(write: Write) -> None:
    write("shell.main", "from core.wheel import Wheel\n")
    before = code_digests("shell.main")
    write("core.parts", "SPOKES = 32\n")
    after = code_digests("shell.main")
    assert {module for module in after if after[module] != before[module]} == {"core.parts"}


def test_what_a_training_stands_on() -> None:
    found = set(code_digests("pipeline.training.training"))
    assert {
        "pipeline.training.training",
        "vit.training.fit",
        "vit.model.config",
        "vit.model.layers",
        "vit.training.augment",
        "vit.training.optim",
        "vit.training.recipes",
    } <= found
    assert not found & {"vit.data.sources", "vit.data.dataset"}  # the images' own digest shows what these do
    assert {module for module in found if module.startswith("pipeline.")} == {
        "pipeline.training.training", "pipeline.training.training_folder", "pipeline.training.epoch_metrics",
        "pipeline.trials.folder",
    }  # fmt: skip


def test_digests_are_the_same_in_another_process() -> None:
    program = "from pipeline.graph.code_digest import code_digests; print(code_digests('pipeline.training.training'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(code_digests("pipeline.training.training")), done.stderr
