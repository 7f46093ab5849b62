import os
import subprocess
import sys

import pytest

FORK = """
import sys
import gymnasium as gym
import opt_gym
from tests.gym import problems

if __name__ == "__main__":
    context = sys.argv[1]
    envs = gym.make_vec(problems.ID, num_envs=2, vectorization_mode="async",
        vector_kwargs={"context": context}, task=problems.quadratic(), horizon=2)
    try:
        observation, _ = envs.reset(seed=0)
        print("shape", observation.shape)
    except RuntimeError as error:
        print("refused:", error)
    envs.close()
"""


def run_async(context: str, tmp_path) -> str:
    script = tmp_path / "vectorized.py"
    script.write_text(FORK)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), context],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )
    return done.stdout + done.stderr


def test_async_with_fork_is_refused_with_the_remedy(tmp_path) -> None:
    output = run_async("fork", tmp_path)
    assert "refused: this process was forked" in output
    assert "vector_kwargs={'context': 'spawn'}" in output


@pytest.mark.slow
def test_async_with_spawn_works(tmp_path) -> None:
    assert "shape (2, 3, 31)" in run_async("spawn", tmp_path)
