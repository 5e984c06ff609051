"""Tests that the file of predictions is written completely or not at all."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.predict.output import refuse_unfit, written_whole

SCHEMA = pa.schema({"path": pa.string(), "probability": pa.float32(), "top_classes": pa.list_(pa.string())})
ROWS = [
    {"path": 'a,"b".png', "probability": 0.25, "top_classes": ["x", 'y"']},
    {"path": "c.png", "probability": None, "top_classes": None},
]


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_what_is_appended_is_read_back_and_replaces_what_stood_there(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"p{ending}"
    out.write_text("old")
    with written_whole(out, SCHEMA) as append:
        for row in ROWS:
            append(pa.Table.from_pylist([row], SCHEMA))
        assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    if ending == ".parquet":
        assert pq.read_table(out).to_pylist() == pa.Table.from_pylist(ROWS, SCHEMA).to_pylist()
        return
    with out.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["path"], first["probability"], json.loads(first["top_classes"])) == ('a,"b".png', "0.25", ["x", 'y"'])
    assert second == {"path": "c.png", "probability": "", "top_classes": ""}


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_an_end_on_the_way_leaves_what_stood_there(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"p{ending}"
    out.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_whole(out, SCHEMA) as append:
        append(pa.Table.from_pylist(ROWS, SCHEMA))
        raise KeyboardInterrupt
    assert (out.read_text(), [path.name for path in tmp_path.iterdir()]) == ("old", [out.name])


def test_another_format_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--out is p.xlsx, but must end in .parquet or .csv"):
        refuse_unfit(Path("p.xlsx"))
    (tmp_path / "p.csv").mkdir()
    with pytest.raises(UsageError, match="but that is a folder"):
        refuse_unfit(tmp_path / "p.csv")
