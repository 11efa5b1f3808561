"""What `archive ls` and `archive verify` find."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.archive.check import gaps, overlaps, problem, problems_between, summary
from actors.archive.files import ArchiveFile
from tests.actors.archived_clicks import DAY_MS, add, archive


def test_a_summary_counts_what_is_there(tmp_path: Path) -> None:
    """Clicks are rows, not offsets; dates are those of the files; ranges are half-open."""
    paths = [
        add(tmp_path, 5, 15, holes=[6]),
        add(tmp_path, 15, 20, day=3),
        add(tmp_path, 30, 40, day=1),
    ]
    found = archive(tmp_path).find(0)
    one = summary(archive(tmp_path), found)
    assert (one.partition, one.files, one.clicks, one.start, one.stop) == (0, 3, 24, 5, 40)
    assert one.size_bytes == sum(path.stat().st_size for path in paths)
    assert (one.first_date, one.last_date) == ("2023-11-14", "2023-11-17")
    assert (one.gaps, one.overlaps, one.unreadable) == (((20, 30),), (), ())
    assert DAY_MS == 86_400_000


def test_undated_files_count_and_have_no_date(tmp_path: Path) -> None:
    """The layout of older versions: files right below the partition."""
    path = add(tmp_path, 0, 10)
    path.rename(tmp_path / "partition=0" / path.name)
    one = summary(archive(tmp_path), archive(tmp_path).find(0))
    assert (one.clicks, one.first_date, one.last_date) == (10, None, None)


def test_a_footer_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    """The others are counted; the damaged file is named."""
    add(tmp_path, 0, 10)
    path = add(tmp_path, 10, 20)
    path.write_bytes(path.read_bytes()[:-20])
    one = summary(archive(tmp_path), archive(tmp_path).find(0))
    assert one.clicks == 10
    [text] = one.unreadable
    assert str(path) in text


def test_overlaps_and_gaps_are_ranges(tmp_path: Path) -> None:
    """A file inside another, two that share an end, and a gap after both."""
    for start, stop, day in ((0, 20, 0), (5, 10, 0), (15, 30, 1), (40, 50, 0)):
        add(tmp_path, start, stop, day=day)
    found: list[ArchiveFile] = archive(tmp_path).find(0)
    assert list(gaps(found)) == [(30, 40)]
    assert list(overlaps(found)) == [(5, 10), (15, 20)]
    first, second, third = problems_between(found)
    assert "partition 0: no file has the offsets 30 to 39" in first
    assert "more than one file has the offsets 5 to 9" in second
    assert "more than one file has the offsets 15 to 19" in third


def test_a_sound_archive_has_no_problems(tmp_path: Path) -> None:
    """Holes inside files and files without clicks are none."""
    add(tmp_path, 0, 20, holes=range(3, 9))
    add(tmp_path, 20, 25, holes=range(20, 25))
    files = archive(tmp_path)
    assert [problem(files, file) for file in files.find(0)] == [None, None]
    assert list(problems_between(files.find(0))) == []


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "emptied", "renamed", "another file's", "no range"]
)
def test_each_damage_names_file_and_remedy(tmp_path: Path, damage: str) -> None:
    """Whatever happened to a file, it is the one that is named."""
    add(tmp_path, 0, 100)
    path = add(tmp_path, 100, 200)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "renamed":
        path = path.rename(path.with_name(f"{100:019d}-{300:019d}.parquet"))
    elif damage == "another file's":
        path.write_bytes(add(tmp_path, 200, 300).read_bytes())
    else:
        path = path.rename(path.with_name(f"{100:019d}-{100:019d}.parquet"))
    files = archive(tmp_path)
    [text] = [text for file in files.find(0) if (text := problem(files, file))]
    assert str(path) in text
    assert damage == "no range" or "Bring it back from a copy" in text
