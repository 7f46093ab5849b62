"""Tables and logs: a damaged line spoils only itself, and no table makes a command refuse."""

import json
import math
import os
import threading
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from agents.callbacks import CsvLog, HeldOut, read_rows
from agents.records import Progress, Report
from envs_registry import names
from opt_gym import normalize
from opt_gym.cli import main, scores
from opt_gym.runtime import files, tables
from opt_gym.task_statistics import statistics_table
from opt_gym.task_statistics.statistics_table import Row
from tests.runs.mutations import mutated
from tests.runs.test_caches import rows_of

ROWS = [
    Row(f"mlp_family_seed{i}", "mlp", 100 + i, 4, 8, "mnist", 0.5 + i, 1.0, 2.0, 3.0)
    for i in range(4)
]
MADE = Row("tiny", "mlp", error='took "over"\n8 s, and more')


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.mark.filterwarnings("ignore:.*(damaged|is empty)")
@pytest.mark.parametrize("num", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_statistics_never_give_other_numbers(tmp_path, num):
    path, random = tmp_path / "statistics.csv", np.random.default_rng(0)
    statistics_table.write_table(path, [*ROWS, MADE])
    content, whole = path.read_bytes(), statistics_table.read_table(path)
    assert whole["tiny"].error == 'took "over" 8 s, and more'
    kept = 0
    for _ in range(num):
        path.write_bytes(mutated(content, random))
        try:
            found = statistics_table.read_table(path)
        except ValueError:
            continue
        assert found.items() <= whole.items()
        kept += len(found)
    assert kept > 2 * num  # a damaged line spoils only itself


def test_every_flipped_bit_of_a_row_spoils_that_row_only(tmp_path):
    path = tmp_path / "statistics.csv"
    statistics_table.write_table(path, ROWS)
    content, whole = path.read_bytes(), statistics_table.read_table(path)
    begin = content.index(b"mlp_family_seed1")
    end = content.index(b"\n", begin)
    for place in range(begin, end):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.warns(UserWarning, match=r"lines? 3.* damaged") as caught:
                found = statistics_table.read_table(path)
            assert len(caught) == 1
            assert (
                found.items()
                == {k: v for k, v in whole.items() if v != ROWS[1]}.items()
            )


def test_tables_without_checksums_are_read_and_get_some(tmp_path):
    path = tmp_path / "mine.csv"
    shipped = names.STATISTICS_TABLE.read_text()
    assert tables.CHECKSUM not in shipped
    path.write_text(shipped)
    before = statistics_table.read_table(path)
    assert len(before) == shipped.count("\n") - 1
    statistics_table.append_row(path, ROWS[0])
    assert tables.CHECKSUM in path.read_text()
    after = statistics_table.read_table(path)
    assert str(after) == str(before | {ROWS[0].name: ROWS[0]})  # NaN is not itself


@pytest.mark.parametrize("cut", [3, 60, 190])
def test_stats_repairs_a_table_that_was_cut(tmp_path, cut, capsys):
    path = tmp_path / "st.csv"
    statistics_table.write_table(path, ROWS[:1])
    path.write_bytes(half := path.read_bytes()[:cut])
    if cut < 100:  # what is left is no table, and might be something else
        assert main(["stats", "quadratic_family_seed0", "--table", str(path)]) == 2
        assert "is not a table" in capsys.readouterr().err
        return
    with pytest.warns(UserWarning, match="line 2 is damaged"):
        assert main(["stats", "quadratic_family_seed0", "--table", str(path)]) == 0
    assert list(statistics_table.read_table(path)) == ["quadratic_family_seed0"]
    assert path.with_name("st.csv.aside").read_bytes() == half


DAMAGE = {
    "empty": lambda path, content: path.write_bytes(b""),
    "header": lambda path, content: path.write_bytes(b"nbme" + content[4:]),
    "not text": lambda path, content: path.write_bytes(b"\xff" + content[1:]),
    "long cell": lambda path, content: path.write_bytes(content + b"x" * 200_000),
    "folder": lambda path, content: path.unlink() or path.mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_named_and_done_without(own_cache, damage):
    table, mine = normalize.user_table(), statistics_table.user_table()
    normalize.write_rows(table, rows_of(("2", "1")))
    statistics_table.append_row(mine, ROWS[0])
    for path in (table, mine):
        DAMAGE[damage](path, path.read_bytes())
    with pytest.warns(UserWarning, match=r"normalizers\.csv"):
        normalize.read_table(table)
    for command in (
        ["show", "quadratic_family_seed0"],
        ["list", "--max-params", "9", "--contains", "TwoD"],
    ):
        with pytest.warns(UserWarning, match=r"(normalizers|statistics)\.csv"):
            assert main(command) == 0
    with pytest.warns(UserWarning, match=r"normalizers\.csv"):
        normalize.write_rows(table, rows_of(("3", "1")))
    with pytest.warns(UserWarning, match=r"statistics\.csv"):
        statistics_table.append_row(mine, ROWS[1])
    assert normalize.read_table(table)["c0", "train", "d"]["initial"] == "3"
    assert ROWS[1] in statistics_table.read_table(mine).values()
    asides = {path.name for path in own_cache.glob("*.aside")}
    lost = {f"{path.name}.aside" for path in (table, mine)}
    assert asides == (set() if damage == "empty" else lost)


def test_quotes_are_read_strictly(tmp_path):
    lines = ['a"b', '"a"b', '"a', '"a, b"', ""]
    with pytest.warns(UserWarning, match="lines 5, 6 are damaged"):
        found = tables.parse_lines(tmp_path, lines, tuple, first=4)
    assert found == ([('a"b',), ("a, b",)], True)


def test_what_is_set_aside_keeps_what_was_set_aside_before(tmp_path):
    path = tmp_path / "a.csv"
    asides = []
    for text in "xyz":
        path.write_text(text)
        asides.append(files.set_aside(path))
    assert [aside.name for aside in asides] == [
        "a.csv.aside",
        "a.csv.aside2",
        "a.csv.aside3",
    ]
    assert [aside.read_text() for aside in asides] == ["x", "y", "z"]


def test_special_files_are_written_to(tmp_path, capsys, monkeypatch):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(
        target=lambda: heard.append(pipe.read_bytes()), daemon=True
    )
    reader.start()
    files.write_atomically(pipe, b"content")
    reader.join(timeout=10)
    assert heard == [b"content"]
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    with files.alone_with(pipe):
        assert tables.read_lines(pipe) == []


def test_an_error_names_the_file_and_nothing_else(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        files.write_atomically(tmp_path / "folder", b"")
    assert str(caught.value) == f"[Errno 21] Is a directory: '{tmp_path / 'folder'}'"
    with pytest.raises(OSError, match=r"left on device: '/dev/full'$"):
        files.write_atomically(files.Path("/dev/full"), b"x")


def test_scores_are_written_as_a_whole(tmp_path, monkeypatch):
    from opt_gym.evaluation import scores as evaluated

    monkeypatch.setattr(evaluated, "score", lambda *args: {})
    monkeypatch.setattr(evaluated, "format_scores", lambda *args: "a table")
    out = tmp_path / "folder" / "table.md"
    written = []
    monkeypatch.setattr(files, "write_atomically", lambda *args: written.append(args))
    assert scores.scores(["quadratic_family_seed0"], "mlp_small", out=out) == 0
    assert written == [(out, b"a table\n")]


NOBODY: Any = None
REPORT = Report(*(float(i) for i in range(len(Report._fields))))


def log_of(path, steps):
    log = CsvLog(path)
    log.begin(0)
    for step in range(1, steps + 1):
        log(Progress(step, steps, REPORT, 0.5 * step, NOBODY, None))
    log.close()
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:.*damaged")
@pytest.mark.parametrize("num", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_damage_in_a_log_spoils_only_its_lines(tmp_path, num):
    path, random = tmp_path / "log.csv", np.random.default_rng(0)
    content = log_of(path, 20)
    whole = read_rows(path, CsvLog.COLUMNS, 20)
    assert len(whole) == 20
    for _ in range(num):
        damaged = mutated(content, random)
        path.write_bytes(damaged)
        rows = read_rows(path, CsvLog.COLUMNS, 10**12)
        kept = sum(row in rows for row in whole)
        assert kept >= min(len(whole) - 2, damaged.count(b"\n") - 2)


def test_a_resumed_log_names_and_keeps_what_is_damaged(tmp_path):
    path = tmp_path / "log.csv"
    content = log_of(path, 5_000)
    lines = content.splitlines(keepends=True)
    lines[2] = b'"' + lines[2]
    lines[5_000] = lines[5_000].replace(b"2500.000", b"2/00.000")
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(lines).replace(b"\n", b"\r\n"))
    log = CsvLog(path)
    with pytest.warns(
        UserWarning, match=r"log\.csv, lines 3, 5001 are damaged"
    ) as caught:
        log.begin(5_000)
    log(Progress(5_001, 5_001, REPORT, 1.0, NOBODY, None))
    log.close()
    assert len(caught) == 1
    rows = read_rows(path, CsvLog.COLUMNS, 5_001)
    assert [int(row[0]) for row in rows] == [1, *range(3, 5_000), 5_001]
    assert rows[-1][1] == "2500.500"  # counted on from the last row that is whole
    assert b'"2,' in path.with_name("log.csv.aside").read_bytes()


Number = namedtuple("Number", "value")
Summary = namedtuple(
    "Summary", "mean_cost final_cost valid_loss test_loss num_diverged num_runs"
)
TRAINER: Any = namedtuple("Trainer", "theta")(lambda state: state)


class Training:
    """Evaluations whose cost is known, in a folder."""

    def __init__(self, folder, costs, done=0):
        self.folder, self.costs = folder, costs
        self.held_out = HeldOut({"set, one": self.evaluate}, folder, self.save, every=1)
        self.held_out.begin(done)

    def evaluate(self, step):
        return Summary(Number(self.costs[step]), 1.0, 1.0, 1.0, 0, 1)

    def save(self, path, theta, step):
        path.write_text(str(step))

    def run(self, *steps):
        for step in steps:
            self.held_out(Progress(step, 99, REPORT, 1.0, TRAINER, step))
        return (self.folder / "best.safetensors").read_text()


COSTS = {1: 0.5, 2: 0.353, 3: 0.4, 4: math.nan, 5: 1.7, 6: 0.2}


def test_the_best_survives_damage_in_its_table(tmp_path):
    assert Training(tmp_path, COSTS).run(1, 2, 3, 4) == "2"
    table = tmp_path / "evaluations.csv"
    content = table.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        table.write_bytes(damaged)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *args, **kwargs: None)
            again = Training(tmp_path, COSTS, done=4)
            assert again.run(5) == "2"
    assert again.run(6) == "6"


def test_a_best_of_unknown_cost_is_set_aside(tmp_path):
    Training(tmp_path, COSTS).run(1, 2)
    table = tmp_path / "evaluations.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(lines[0] + lines[1] + b'"' + lines[2])
    best = json.loads((tmp_path / "best.json").read_text())
    (tmp_path / "best.json").write_text(json.dumps(best | {"mean_cost": 0.153}))
    with pytest.warns(UserWarning, match="is damaged") as caught:
        again = Training(tmp_path, COSTS, done=2)
    said = [str(warning.message) for warning in caught]
    assert "evaluations.csv, line 3 is damaged" in said[0]
    assert "best.json is damaged" in said[1]
    assert (tmp_path / "best.safetensors.aside").read_text() == "2"
    assert again.run(3) == "3"
    assert (tmp_path / "evaluations.csv.aside").exists()


def test_a_run_of_an_earlier_version_has_its_costs_in_the_table(tmp_path):
    Training(tmp_path, COSTS).run(1, 2)
    (tmp_path / "best.json").unlink()
    assert Training(tmp_path, COSTS, done=2).run(3, 5) == "2"


def test_what_comes_after_the_checkpoint_is_not_the_best_yet(tmp_path):
    Training(tmp_path, COSTS).run(1, 2, 6)
    assert Training(tmp_path, COSTS, done=1).run(2) == "2"
