"""The cache of compiled programs: what was cut or exchanged in it is made again, once."""

import json
import os
import subprocess
import sys
import types
import zlib

import numpy as np
import pytest

from opt_gym.runtime import compiled_programs
from opt_gym.runtime.compiled_programs import remove_damaged
from tests.citizenship.test_optax_state import environment
from tests.runs.mutations import mutated

CONTENT = zlib.compress(np.random.default_rng(0).bytes(300) * 4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three entries that another process wrote long ago."""
    monkeypatch.setattr(compiled_programs, "IN_THE_MAKING", 0.0)
    for name in "abc":
        write(tmp_path / f"{name}-cache", zlib.compress(name.encode() * 100))
    return tmp_path


def write(path, content):
    path.write_bytes(content)


def entries(folder):
    return sorted(path.name[0] for path in folder.glob("*-cache"))


def test_sound_entries_stay_and_are_read_once(folder, monkeypatch):
    remove_damaged(folder)
    assert sorted(json.loads((folder / compiled_programs.RECORD).read_bytes())) == [
        f"{name}-cache" for name in "abc"
    ]
    monkeypatch.setattr(compiled_programs, "_is_whole", None)  # cannot be called
    remove_damaged(folder)
    for path in folder.glob("*-cache"):  # a copy of the folder, another time
        os.utime(path, (1, 1))
    remove_damaged(folder)
    assert entries(folder) == ["a", "b", "c"]


@pytest.mark.parametrize("num", [200, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.filterwarnings("ignore:.*compiled again")
def test_damaged_entries_are_removed(folder, num, is_known):
    random, kept = np.random.default_rng(0), 0
    path = folder / "d-cache"
    for number in range(num):
        (folder / compiled_programs.RECORD).unlink(missing_ok=True)
        write(path, CONTENT)
        os.utime(path, (number, number))
        if is_known:
            remove_damaged(folder)
        damaged = mutated(CONTENT, random)
        write(path, damaged)
        remove_damaged(folder)
        if path.exists() and not is_known:  # read without any doubt by JAX, too
            begins = damaged[:1] == b"\x78"
            kept += not begins
            assert not begins or zlib.decompress(damaged) == zlib.decompress(CONTENT)
        else:
            assert not path.exists() or damaged == CONTENT
    assert kept < 0.05 * num  # of a format that is not known
    assert entries(folder)[:3] == ["a", "b", "c"]


def test_another_entry_s_content_is_noticed(folder):
    remove_damaged(folder)
    write(folder / "a-cache", (folder / "b-cache").read_bytes())
    with pytest.warns(UserWarning, match="a-cache is damaged: removed, to be compiled"):
        remove_damaged(folder)
    assert entries(folder) == ["b", "c"]
    remove_damaged(folder)


def test_what_another_process_writes_just_now_is_left(folder, monkeypatch):
    monkeypatch.setattr(compiled_programs, "IN_THE_MAKING", 60.0)
    write(folder / "a-cache", CONTENT[:-9])
    remove_damaged(folder)
    assert entries(folder) == ["a", "b", "c"]
    monkeypatch.setattr(compiled_programs, "IN_THE_MAKING", 0.0)
    with pytest.warns(UserWarning, match="compiled again"):
        remove_damaged(folder)
    assert entries(folder) == ["b", "c"]


def test_a_large_cache_is_checked_bit_by_bit(folder, monkeypatch):
    write(folder / "a-cache", CONTENT[:-9])
    monkeypatch.setattr(compiled_programs, "SECONDS", -1.0)
    remove_damaged(folder)
    assert entries(folder) == ["a", "b", "c"]
    assert not (folder / compiled_programs.RECORD).exists()


def test_entries_of_zstandard_are_checked_where_it_can_be_read(folder, monkeypatch):
    entry = folder / "z-cache"
    write(entry, compiled_programs._ZSTD + b"whole")
    for name in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)  # an ImportError
    assert compiled_programs._is_whole(entry.read_bytes())

    def decompress(content):
        if not content.endswith(b"whole"):
            raise RuntimeError("cut")

    zstandard = types.SimpleNamespace(
        ZstdDecompressor=lambda: types.SimpleNamespace(decompress=decompress)
    )
    python = types.SimpleNamespace(decompress=decompress)
    for name, module in (("zstandard", zstandard), ("compression.zstd", python)):
        monkeypatch.setitem(sys.modules, name, module)
        assert compiled_programs._is_whole(entry.read_bytes())
        assert not compiled_programs._is_whole(entry.read_bytes()[:-1])


@pytest.mark.parametrize("record", [b"", b"[]", b'{"a-cache": 3}', b'{"a-cache": [1]}'])
def test_a_damaged_record_is_none(folder, record):
    (folder / compiled_programs.RECORD).write_bytes(record)
    remove_damaged(folder)
    assert entries(folder) == ["a", "b", "c"]
    assert b"b-cache" in (folder / compiled_programs.RECORD).read_bytes()


def test_a_folder_that_cannot_be_changed_is_left(folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "no", "it")

    write(folder / "a-cache", b"")
    (folder / "d-cache").mkdir()
    (folder / "e-cache").symlink_to(folder / "nowhere")
    monkeypatch.setattr(compiled_programs, "write_atomically", refuse)
    monkeypatch.setattr(compiled_programs.Path, "unlink", refuse)
    with pytest.warns(UserWarning, match="no: 'it': damaged, to be compiled again"):
        remove_damaged(folder)
    remove_damaged(folder / "none")


PROGRAM = """
import jax
from opt_gym.runtime.strategy import use_compilation_cache
use_compilation_cache()
use_compilation_cache()
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event.rpartition("/")[2])
)
one = jax.jit(lambda x: x + 1.0)(jax.numpy.float32(1.0))
two = jax.jit(lambda x: jax.numpy.stack([x, x]) * 3.0)(jax.numpy.float32(2.0))
print(float(one), two.tolist(), hits.count("cache_hits"))
"""


def run_program(cache):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment(
            OPT_GYM_CACHE=str(cache), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0"
        ),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers, _, hits = done.stdout.strip().rpartition(" ")
    assert numbers == "2.0 [6.0, 6.0]"
    return int(hits), done.stderr


@pytest.mark.slow
def test_programs_that_were_cut_or_exchanged_are_compiled_again(tmp_path):
    compiled = tmp_path / "compiled"
    assert run_program(tmp_path) == (0, "")
    hits, said = run_program(tmp_path)
    assert hits >= 2
    assert said == ""
    first, second, *_ = sorted(compiled.glob("jit__lambda*-cache"))
    content = first.read_bytes()
    for damaged in (content[: len(content) // 2], second.read_bytes()):
        first.write_bytes(damaged)
        fewer, said = run_program(tmp_path)
        assert fewer == hits - 1
        assert f"{first} is damaged: removed, to be compiled again" in said
        assert "Traceback" not in said
        assert run_program(tmp_path) == (hits, "")


def test_what_jax_says_of_its_cache_is_never_an_error(tmp_path):
    run_program(tmp_path)
    compiled = tmp_path / "compiled"
    compiled.rename(tmp_path / "moved")
    compiled.write_text("a file in place of the folder")
    done, said = run_program(tmp_path)
    assert done == 0
    assert "Traceback" not in said
