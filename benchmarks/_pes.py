"""What the PES benchmarks share: one MLP task, the MLP of 2019, and the prototype beside."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import optax

import agents
import learned
import opt_gym
from agents.records import OuterTrainer
from benchmarks._outer_steps import stepper
from opt_gym.records import Config, Normalizer

TRUNC_LENGTH = 20
NORMALIZER = Normalizer(2.3, 0.0, "given")
PROTOTYPE = Path(
    os.environ.get(
        "OPT_GYM_PES_PROTOTYPE",
        Path(__file__).resolve().parents[2] / "shared" / "bench" / "pes_prototype.py",
    )
)
"""A flat program without env or records that does the same inner work; not ours to ship."""


def task(pixels: int) -> Config:
    """A pixels-32-10 relu network, batch 128, on digits of 8x8 or 28x28."""
    family, dataset = {64: ("small_mlp", "digits"), 784: ("mlp", "mnist")}[pixels]
    return {
        "family": family,
        "layer_sizes": [32],
        "activation": "relu",
        "w_init": ["glorot_normal", None],
        "dataset": [dataset, {"bs": 128}, None],
        "center_data": False,
    }


def trainer(
    pixels: int, unrolls: int, name: str = "pes"
) -> tuple[OuterTrainer, tuple[Any, ...]]:
    """An estimator with everything: env, records, perturbations, accumulators, outer Adam."""
    optimizer = learned.make("mlp")
    env = opt_gym.make(
        task(pixels),
        learned_optimizer=optimizer,
        data="embedded",
        normalizer=NORMALIZER,
    )
    made = agents.make(
        name,
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(3e-4),
        num_pairs=unrolls // 2,
        trunc_length=TRUNC_LENGTH,
        horizon=1000,
        sigma=0.01,
        theta_average=0.0,
    )
    return made, (opt_gym.load_data(env),)


def steps_per_second(pixels: int, unrolls: int, repeats: int = 30) -> float:
    """Executed inner steps a second, resets included, the median over outer steps."""
    step = stepper(*trainer(pixels, unrolls))
    seconds = [step().seconds for _ in range(repeats)]
    return unrolls * TRUNC_LENGTH / statistics.median(seconds)


def prototype(pixels: int, unrolls: int) -> float:
    """Inner steps a second of the prototype's best mode, in a process of its own."""
    command = [
        *(sys.executable, str(PROTOTYPE), "--arch", "metz2019", "--mode", "shard"),
        *("--pixels", str(pixels), "--particles", str(unrolls)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["inner_steps_per_s"]


def compare(pixels: int, unrolls: int, rounds: int = 3) -> dict[str, Any]:
    """Ours and the prototype in turn, in fresh processes; medians and the median ratio."""
    module = f"pes_mlp{'' if pixels == 64 else pixels}"
    ours, theirs = [], []
    for _ in range(rounds):
        command = [sys.executable, "-m", "benchmarks", module, "--alone", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        ours.append(json.loads(done.stdout.splitlines()[-1])["inner_steps_per_s"])
        if PROTOTYPE.exists():
            theirs.append(prototype(pixels, unrolls))
    result: dict[str, Any] = {"inner_steps_per_s": statistics.median(ours)}
    if theirs:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        result["baseline_inner_steps_per_s"] = statistics.median(theirs)
        result["ratio"] = statistics.median(ratios)
    return result
