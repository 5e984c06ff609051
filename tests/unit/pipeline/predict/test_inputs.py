"""Tests which images the user's inputs stand for."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.predict.__main__ import main
from pipeline.predict.inputs import ImageSource, find_images
from tests.unit.vit.data.sample_data import colour, encoded, save, write_shard


def _names(sources: list[ImageSource]) -> list[str]:
    return [Path(source.path).name for source in sources]


def test_a_folder_is_searched_at_all_depths_by_name_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.JPG", "a/1.jpeg", ".hidden/3.png", "a/.4.png"):
        save(tmp_path / name, colour(1), format="png")
    (tmp_path / "notes.txt").write_text("no image")
    assert _names(find_images([str(tmp_path)])) == ["1.jpeg", "2.JPG", "b.png"]


def test_a_file_or_a_pattern_means_all_that_fits_whatever_its_ending_and_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x/1.bmp", "x/2.png", "3.bmp"):
        save(tmp_path / name, colour(1))
    monkeypatch.chdir(tmp_path)
    found = find_images(["3.bmp", "**/*.bmp", "x"])
    assert _names(found) == ["3.bmp", "1.bmp", "2.png"]
    assert all(Path(source.path).is_absolute() for source in found)


def test_a_parquet_file_is_cut_at_its_row_groups(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", [encoded(colour(shade)) for shade in range(5)], [0] * 5)
    pq.write_table(pq.read_table(path), path, row_group_size=2)
    found = find_images([str(tmp_path)])
    assert [(source.row_group, source.first_row, source.images) for source in found] == [
        (0, 0, 2),
        (1, 2, 2),
        (2, 4, 1),
    ]


def test_a_parquet_file_that_cannot_be_used_counts_as_one_image_beside_others(tmp_path: Path) -> None:
    save(tmp_path / "b.png", colour(1))
    broken = tmp_path / "a.parquet"
    broken.write_bytes(b"PAR1")
    first, second = find_images([str(tmp_path)])
    assert (first.images, first.broken[:38], second.broken) == (1, "is not a Parquet file that can be read", "")
    with pytest.raises(UsageError, match=r"a\.parquet is not a Parquet file that can be read"):
        find_images([str(broken)])


def test_a_file_whose_name_is_not_utf_8_counts_as_one_image_that_cannot_be_read(tmp_path: Path) -> None:
    save(tmp_path / "a.png", colour(1))
    for name in (b"\xe9.png", b"\xe9.parquet"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    first, *others = find_images([str(tmp_path)])
    assert (first.path, first.broken) == (str(tmp_path / "a.png"), "")
    reason = "has a name that is not UTF-8"
    assert [(each.path, each.broken) for each in others] == [
        (f"{tmp_path}/\\xe9.parquet", reason), (f"{tmp_path}/\\xe9.png", reason),
    ]  # fmt: skip


def test_links_are_followed_and_each_folder_is_searched_once(tmp_path: Path) -> None:
    for name in ("photos/a.png", "other/b.png"):
        save(tmp_path / name, colour(1))
    (tmp_path / "photos" / "linked").symlink_to("../other")
    (tmp_path / "photos" / "again").symlink_to("../other")
    (tmp_path / "photos" / "itself").symlink_to(".")
    assert sorted(_names(find_images([str(tmp_path / "photos")]))) == ["a.png", "b.png"]


def test_images_that_the_result_would_replace_are_refused_and_an_earlier_result_is_left_out(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.parquet", [encoded(colour(1))], [0])
    with pytest.raises(UsageError, match=r"^--out is .*/shard\.parquet, which is also one of the inputs: name another"):
        find_images([str(shard)], shard)
    earlier = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"path": ["a.png"], "predicted": ["cat"]}), earlier)
    assert _names(find_images([str(shard), str(earlier)], earlier)) == ["shard.parquet"]
    (tmp_path / "predictions.csv").write_text("path,predicted\n")
    table = tmp_path / "predictions.csv"
    assert _names(find_images([str(shard), str(table)], table)) == ["shard.parquet"]
    with pytest.raises(UsageError, match=r"/predictions\.parquet is the file of --out, and there is no other input$"):
        find_images([str(earlier)], earlier)


def test_what_an_earlier_command_wrote_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "a.png", colour(1))
    write_shard(tmp_path / "photos" / "deep" / "out.parquet", [encoded(colour(2))], [0])
    out = write_shard(tmp_path / "photos" / "out.parquet", [encoded(colour(3))], [0])
    (tmp_path / "link").symlink_to("photos")
    for given in ("photos", "photos/**", "link"):
        found = find_images([given], Path("photos/out.parquet"))
        assert [Path(source.path).parent.name for source in found] == [given.removesuffix("/**"), "deep"]
    with pytest.raises(UsageError, match=r"^photos/\*\.parquet names no file"):
        find_images(["photos/*.parquet"], out)


def test_a_folder_with_nothing_but_the_result_of_the_same_command_has_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_shard(tmp_path / "out.parquet", [encoded(colour(1))], [0])
    monkeypatch.setattr("sys.argv", ["predict", "--model", "models:/none@champion", str(tmp_path), "--out", str(out)])
    with pytest.raises(UsageError, match="is a folder that holds no image"):
        main()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("none.png", "none.png names no file, no folder, and no pattern that a file fits"),
        ("*.tif", r"\*.tif names no file, no folder, and no pattern"),
        ("empty", "empty is a folder that holds no image"),
    ],
)
def test_what_means_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=f"^{reason}"):
        find_images([given])
