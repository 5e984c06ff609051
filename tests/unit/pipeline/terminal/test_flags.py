"""Tests the flags that the training commands share."""

import pytest

from pipeline.terminal.flags import Parser, add_shared_flags, shared_values
from vit.data.dataset import DataConfig


@pytest.mark.parametrize(("words", "mirror"), [([], True), (["--no-mirror"], False)])
def test_images_may_be_mirrored_unless_the_user_says_otherwise(words: list[str], mirror: bool) -> None:
    parser = Parser()
    add_shared_flags(parser)
    values = shared_values(parser.parse_args([*words, "--dataset", "letters"]))
    assert values["data"] == DataConfig("letters", mirror=mirror)
