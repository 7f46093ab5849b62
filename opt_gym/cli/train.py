"""`opt-gym train`: outer-trains a learned optimizer."""

import json
import sys
from pathlib import Path
from typing import Any, Literal

RECIPE: dict[str, Any] = {
    "num_pairs": 8,
    "trunc_length": 50,
    "sigma": 0.1,
    "horizon": [50, 1000],
    "theta_average": 0.998,
}
"""Defaults of the trainer's options, where it has them: good for `nominal`."""


def train(
    out: Path,
    tasks: list[str] | None = None,
    trainer: str = "pes",
    architecture: str = "nominal",
    outer_steps: int = 2400,
    seed: int = 0,
    learning_rate: float = 1e-2,
    options: dict[str, str] | None = None,
    architecture_options: dict[str, str] | None = None,
    start: str | None = None,
    objective: Literal["train", "valid", "noisy"] = "train",
    data: Literal["auto", "embedded", "tfds"] = "auto",
    resume: bool = False,
) -> int:
    """Outer-trains a learned optimizer on tasks, one task an outer step, in turn.

    Ctrl-C leaves a checkpoint and θ so far; the same command with --resume goes on, bit for
    bit. Every distinct task costs seconds of compilation.

    Try:
      opt-gym train --out runs/first --tasks small_mlp_family_seed0 small_mlp_family_seed1
      opt-gym train --out runs/first --tasks small_mlp/train --outer-steps 4000
      opt-gym train --out runs/es --trainer es --options sigma 0.03 horizon 200
      opt-gym train --out runs/small --architecture-options per_parameter false

    Args:
        out: folder for checkpoints, log.csv and theta.safetensors.
        tasks: names, ids, frozen lists or .json files; the first eight of small_mlp/train
            by default.
        trainer: one of `opt-gym list trainers`.
        architecture: one of `opt-gym list architectures`.
        outer_steps: in all, those before a resume included.
        seed: of the run and of the initial θ.
        learning_rate: of the outer optimizer, Adam: 20 steps of warm-up, then a cosine to a
            twentieth, gradients clipped at norm 1.
        options: of the trainer, with values in JSON: sigma 0.03 horizon [50,1000].
        architecture_options: the same for the architecture.
        start: a θ file or bundled name to start from, instead of a random θ; it brings its
            architecture.
        objective: whose loss counts: on training, validation or corrupted inputs.
        data: where data sets come from.
        resume: go on from the newest checkpoint in `out`.
    """
    import opt_gym
    from agents import checkpoint

    header = checkpoint.newest_header(out) if resume else None
    # A run is bit for bit the same only on as many devices as it was begun on.
    opt_gym.use_all_cores(header["environment"]["devices"] if header else None)
    import agents
    import learned
    from agents.callbacks import ProgressBar
    from envs_registry.benchmark_sets import SMALL_MLP_TRAIN
    from opt_gym.cli._tasks import expand

    theta = None
    if start is not None:
        if architecture_options:
            raise ValueError("--start brings its own architecture: no options for it")
        optimizer, theta = learned.load(start)
    else:
        optimizer = learned.make(architecture, **_parsed(architecture_options))
    settings = _trainer_options(trainer, options)
    envs = [
        opt_gym.make(task, learned_optimizer=optimizer, objective=objective, data=data)
        for task in expand(tasks or SMALL_MLP_TRAIN[:8]).values()
    ]
    built = agents.make(
        trainer,
        envs=envs,
        learned_optimizer=optimizer,
        outer_optimizer=_outer_optimizer(learning_rate, outer_steps),
        **settings,
    )
    print(
        f"outer-training {optimizer.name!r} on {len(envs)} tasks; each compiles first"
    )
    result = agents.train(
        built,
        [opt_gym.load_data(env) for env in envs],
        outer_steps=outer_steps,
        seed=seed,
        theta=theta,
        out=out,
        resume=resume,
        callbacks=[ProgressBar()],
    )
    path = learned.save(
        out / "theta.safetensors",
        optimizer._replace(trained_horizon=_longest(settings)),
        result.theta,
        training={
            "trainer": [trainer, settings],
            "tasks": [env.task.config for env in envs],
            "objective": objective,
            "outer_steps": result.outer_step,
            "seed": seed,
            "learning_rate": learning_rate,
        },
    )
    print(f"{path} holds θ after {result.outer_step} outer steps")
    if result.interrupted:
        print(f"interrupted; go on with --out {out} --resume", file=sys.stderr)
        return 130
    return 0


def _trainer_options(trainer: str, options: dict[str, str] | None) -> dict[str, Any]:
    from opt_gym import plugins

    known = plugins.spec("trainer", trainer).settings
    settings = {key: value for key, value in RECIPE.items() if key in known}
    settings.update(_parsed(options))
    if isinstance(settings.get("horizon"), list):
        settings["horizon"] = tuple(settings["horizon"])
    return settings


def _parsed(options: dict[str, str] | None) -> dict[str, Any]:
    """Values in JSON; what is not JSON is a text."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {key: value(text) for key, text in (options or {}).items()}


def _outer_optimizer(learning_rate: float, outer_steps: int) -> Any:
    import optax

    warm_up = min(20, outer_steps // 2)
    rate = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, warm_up, max(outer_steps, warm_up + 1), learning_rate / 20
    )
    adam = optax.adam(rate, b1=0.9, b2=0.99)
    return optax.chain(optax.clip_by_global_norm(1.0), adam)


def _longest(settings: dict[str, Any]) -> int | None:
    horizon = settings.get("horizon")
    return max(horizon) if isinstance(horizon, tuple) else horizon
