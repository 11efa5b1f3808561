"""`echorank archive ls` and `verify`, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import Result

from tests.actors.archived_clicks import add
from tests.cluster.cli import command_line


def run(*arguments: str) -> Result:
    """What a command prints, and its exit code."""
    return command_line.run("archive", *arguments)


def archived(root: Path) -> None:
    """Two partitions, one with a gap."""
    add(root, 0, 1500)
    add(root, 1500, 2000, partition=0, day=2)
    add(root, 7, 20, partition=3, holes=[9])
    add(root, 30, 40, partition=3)


def test_ls_shows_each_partition(tmp_path: Path) -> None:
    """Files, clicks, offsets, dates and gaps, a row a partition;
    the directory comes from the configuration.
    """
    archived(tmp_path / "out" / "archive")
    result = run("ls")
    assert result.exit_code == 0, result.output
    rows = [
        line.split()
        for line in result.stdout.splitlines()
        if line.startswith(("│ 0", "│ 3", "│         "))
    ]
    cells = [[cell for cell in row if cell != "│"] for row in rows]
    assert [cells[0][at] for at in (0, 1, 2, 4, 5, 6, 8, 9)] == [
        *("0", "2", "2,000", "0", "2,000", "2023-11-14", "2023-11-16", "none")
    ]
    assert [cells[1][at] for at in (0, 1, 2, 4, 5, 9)] == ["3", "2", "22", "7", "40", "20-30"]


def test_ls_as_json_has_every_field(tmp_path: Path) -> None:
    """One partition of a directory that is named; gaps are half-open ranges."""
    archived(tmp_path / "elsewhere")
    result = run("ls", "--json", "--partition", "3", "--directory", str(tmp_path / "elsewhere"))
    [one] = json.loads(result.stdout)
    assert one.pop("size_bytes") > 0
    places = {
        "partition": 3,
        "files": 2,
        "clicks": 22,
        "start": 7,
        "stop": 40,
        "gaps": [[20, 30]],
        "overlaps": [],
    }
    assert one == places | {"first_date": "2023-11-14", "last_date": "2023-11-14", "unreadable": []}


def test_ls_of_nothing_says_where_it_looked(tmp_path: Path) -> None:
    """No archive, no such partition, and the directories of runs with an embedded broker."""
    result = run("ls")
    assert result.exit_code == 1
    assert "no archived clicks of out/archive; check the path" in result.stderr
    archived(tmp_path / "out" / "archive" / "run-ab12")
    assert "the newest is --directory out/archive/run-ab12" in run("ls").stderr
    assert run("ls", "--directory", "out/archive/run-ab12").exit_code == 0
    assert (
        "no archived clicks of partition 5"
        in run("ls", "-p", "5", "-d", "out/archive/run-ab12").stderr
    )


def test_verify_of_a_sound_archive_ends_well(tmp_path: Path) -> None:
    """It says how much it read."""
    add(tmp_path, 0, 20)
    add(tmp_path, 20, 40)
    result = run("verify", "--directory", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "2 files of 1 partitions: no problems.\n")


def test_verify_lists_what_is_wrong_and_fails(tmp_path: Path) -> None:
    """Exit code 1; a gap and a damaged file each have a line with the place and what to do."""
    archived(tmp_path)
    path = next(tmp_path.glob("partition=0/*/*01500.parquet"))
    content = bytearray(path.read_bytes())
    content[1000] ^= 4
    path.write_bytes(content)
    result = run("verify", "--directory", str(tmp_path))
    assert result.exit_code == 1
    gap, damage, total = result.stdout.splitlines()
    assert "partition 3: no file has the offsets 20 to 29" in gap
    assert f"archive file {path} is damaged" in damage
    assert "Bring it back from a copy" in damage
    assert total == "4 files of 2 partitions: 2 problems."
    assert run("verify", "--directory", str(tmp_path), "--partition", "3").stdout.endswith(
        "1 problem.\n"
    )
