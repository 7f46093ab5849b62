"""Caches are a convenience: damaged, read-only, missing or odd, the work is done."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from opt_gym import normalize
from opt_gym.data import encoders
from opt_gym.runtime import array_files, files, tables
from tests.agents.test_loop import same
from tests.citizenship.test_optax_state import environment
from tests.runs.mutations import mutated

ARRAYS = {"a": np.arange(7.0), "b": np.array([[1, 2]], np.int32)}


def test_a_kept_file_is_read(tmp_path):
    file = tmp_path / "folder" / "x.npz"
    same(array_files.keep_arrays(file, lambda: ARRAYS), ARRAYS)
    same(array_files.keep_arrays(file, never), ARRAYS)


def never():
    raise AssertionError("made again")


@pytest.mark.filterwarnings("ignore:.*made again")
@pytest.mark.parametrize("num", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_arrays_are_made_again_never_others(tmp_path, num):
    file, random = tmp_path / "x.npz", np.random.default_rng(0)
    array_files.write_arrays(file, ARRAYS)
    content = file.read_bytes()
    for _ in range(num):
        file.write_bytes(mutated(content, random))
        same(array_files.keep_arrays(file, lambda: ARRAYS), ARRAYS)
        same(array_files.keep_arrays(file, never), ARRAYS)


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "x.npz"
    file.write_bytes(b"no zip at all")
    with pytest.warns(UserWarning, match=r"x\.npz is damaged .*made again"):
        assert array_files.read_arrays(file) is None


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="nothing is kept in the cache|cannot be read"):
        same(
            array_files.keep_arrays(tmp_path / "file" / "x.npz", lambda: ARRAYS), ARRAYS
        )


def test_a_vocabulary_that_is_damaged_is_learned_again(tmp_path, monkeypatch):
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path))
    texts = encoders.from_bytes([b"a text of a few words", b"and another"], [0, 1])
    model = encoders.subword_model(texts)
    (file,) = (tmp_path / "vocabularies").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.warns(UserWarning, match="damaged"):
        assert encoders.subword_model(texts) == model


def test_odd_environments_have_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPT_GYM_CACHE", "")
    assert files.cache_folder().is_absolute()
    monkeypatch.delenv("OPT_GYM_CACHE")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # an unknown user
    assert files.cache_folder() == Path(f"/tmp/opt-gym-{os.getuid()}")


ROW = {"name": "x", "config": "c", "objective": "train", "data": "d"}


def rows_of(*numbers):
    return [
        {**ROW, "config": f"c{i}", "initial": initial, "best": best}
        for i, (initial, best) in enumerate(numbers)
    ]


def test_damaged_normalizers_are_left_out_and_named(tmp_path):
    path = tmp_path / "normalizers.csv"
    good, *_ = rows = rows_of(("2.0", "1.0"), ("nan", "1"), ("inf", "1"), ("1", "2"))
    normalize.write_rows(path, rows[:1])
    lines = path.read_text().splitlines()
    for row in rows[1:]:
        sums = tables.checksum(row, normalize._LAYOUT)
        cells = [*(row[column] for column in normalize.COLUMNS), "", "", "", sums]
        lines.append(",".join(cells))
    path.write_text("\n".join([*lines, lines[1].replace("c0", "c9")[:-3]]))
    with pytest.warns(UserWarning, match=r"lines 3, 4, 5, 6 are damaged") as caught:
        table = normalize.read_table(path)
    assert len(caught) == 1
    assert [key[0] for key in table] == [good["config"]]
    path.write_text("something else\n")
    with pytest.raises(ValueError, match="is not a table of normalizers"):
        normalize.read_table(path)


@pytest.mark.filterwarnings("ignore:.*(damaged|is empty)")
@pytest.mark.parametrize("num", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_tables_of_normalizers_never_give_other_numbers(tmp_path, num):
    path, random = tmp_path / "normalizers.csv", np.random.default_rng(0)
    normalize.write_rows(path, rows_of(*((f"{2 + i}.25", "1.5") for i in range(5))))
    content, whole = path.read_bytes(), normalize.read_table(path)
    for _ in range(num):
        path.write_bytes(mutated(content, random))
        try:
            table = normalize.read_table(path)
        except ValueError:
            continue
        for key, row in table.items():
            numbers = {name: row[name] for name in ("initial", "best")}
            assert whole[key].items() >= numbers.items()


WRITER = """
import sys
from pathlib import Path
from opt_gym import normalize
for number in range(int(sys.argv[2]), 40, 2):
    row = {"config": f"c{number}", "objective": "train", "data": "d", "name": "x"}
    normalize.write_rows(Path(sys.argv[1]), [{**row, "initial": "2", "best": "1"}])
"""


def test_two_writers_lose_no_rows(tmp_path):
    path = tmp_path / "normalizers.csv"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(first)], env=environment()
        )
        for first in (0, 1)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert len(normalize.read_table(path)) == 40
