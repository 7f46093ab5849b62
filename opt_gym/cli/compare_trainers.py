"""`opt-gym compare-trainers`: every way to outer-train, on the same tasks and budget."""

from pathlib import Path
from typing import Any, Literal


def compare_trainers(
    out: Path = Path("runs/compare-trainers"),
    trainers: list[str] | None = None,
    tasks: list[str] | None = None,
    architecture: str = "mlp",
    architecture_options: dict[str, str] | None = None,
    inner_steps: int = 1_000_000,
    horizon: int = 50,
    trunc_length: int = 10,
    sigma: float = 0.03,
    learning_rate: float = 3e-3,
    seeds: int = 3,
    points: int = 10,
    options: dict[str, str] | None = None,
    data: Literal["auto", "embedded", "tfds"] = "auto",
) -> int:
    """Runs outer-trainers on the same tasks with the same number of inner steps.

    Every θ is measured on the same episodes, at the start and ten times on the way; a table
    with wall times is printed, and points.csv and comparison.png are written. A trainer that
    cannot do the tasks (a package that is missing, a rollout that is too large) is left out,
    and it is said why.

    Try:
      opt-gym compare-trainers --trainers es pes backprop --seeds 1
      opt-gym compare-trainers --tasks small_mlp_family_seed0 --horizon 200 --trunc-length 20
      opt-gym compare-trainers --options pes.sigma 0.1 ppo.num_envs 64

    Args:
        out: folder for points.csv, table.md and comparison.png.
        trainers: all by default.
        tasks: names, ids, frozen lists or .json files; quadratics of ten weights by default.
        architecture, architecture_options: of the learned optimizer; with values in JSON.
        inner_steps: the budget of a run, unrolls of both halves of a pair counted.
        horizon: of all episodes.
        trunc_length: K, for the trainers that truncate.
        sigma: of perturbations.
        learning_rate: of the outer optimizer, Adam, gradients clipped at norm 1;
            stable-baselines3 has its own (`--options sb3_ppo.learning_rate 3e-4`).
        seeds: runs of every trainer.
        points: measurements of a run.
        options: trainer.setting and its value in JSON.
        data: where data sets come from.
    """
    import opt_gym

    opt_gym.use_all_cores()
    import agents
    from agents.trainers_compared import format_points, plot_points, run_seed
    from envs_registry.benchmark_sets import QUADRATIC_10
    from opt_gym.cli._tasks import expand
    from opt_gym.runtime.files import write_atomically, write_table

    named = expand(tasks) if tasks else {"quadratic 10": QUADRATIC_10}
    common = {"horizon": horizon, "trunc_length": trunc_length, "sigma": sigma}
    common["num_steps"] = horizon
    chosen = trainers or agents.names()
    own = _own_options(options, chosen)
    measured: list[Any] = []
    for name in chosen:
        plugin = _architecture(name, architecture, _parsed(architecture_options))
        try:
            contestant = _contestant(
                name, plugin, named, common, own.get(name, {}), learning_rate, data
            )
            loaded = [opt_gym.load_data(env) for env in contestant.trainer.envs]
            for seed in range(seeds):
                measured += run_seed(
                    contestant,
                    loaded,
                    inner_steps=inner_steps,
                    num_points=points,
                    seed=seed,
                )
                # After every seed, so that little is lost with a run that is cut off.
                write_table(out / "points.csv", measured[0]._fields, measured)
                last = measured[-1]
                print(
                    f"{name}, seed {seed}: outer-loss {last.outer_loss:.4f} after "
                    f"{last.inner_steps:,} inner steps, {last.seconds:.0f} s",
                    flush=True,
                )
        except (ImportError, ValueError) as error:
            print(f"{name} is left out: {error}", flush=True)
    if not measured:
        raise ValueError("none of the trainers could run")
    table = format_points(measured)
    title = f"{', '.join(named) if len(named) < 4 else f'{len(named)} tasks'}: {seeds} seeds"
    write_atomically(out / "table.md", (table + "\n").encode())
    picture = plot_points(out / "comparison.png", measured, title)
    print(f"\n{table}\n\nwrote {picture}, points.csv and table.md beside it")
    return 0


def _architecture(
    trainer: str, name: str, options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The architecture that a trainer trains, with its settings, `options` last."""
    from agents.records import traits_of
    from opt_gym import plugins

    traits = traits_of(plugins.spec("trainer", trainer))
    if traits.architecture is not None:
        return traits.architecture, {}
    known = plugins.spec("architecture", name).settings
    needed = traits.architecture_options
    return name, {**{k: v for k, v in needed.items() if k in known}, **options}


def _contestant(
    name: str,
    plugin: tuple[str, dict[str, Any]],
    named: dict[str, Any],
    common: dict[str, Any],
    own: dict[str, Any],
    learning_rate: float,
    data: str,
) -> Any:
    """A trainer with the settings it knows, and how its θ are measured."""
    import optax

    import agents
    import learned
    import opt_gym
    from agents.outer_optimizers import clipped
    from agents.records import traits_of
    from agents.trainers_compared import TrainerContestant
    from opt_gym import plugins
    from opt_gym.evaluation.evaluations import evaluator
    from opt_gym.evaluation.runs import EvaluationSettings

    spec = plugins.spec("trainer", name)
    optimizer = learned.make(plugin[0], **plugin[1])
    envs = [
        opt_gym.make(task, learned_optimizer=optimizer, data=data)
        for task in named.values()
    ]
    known = {key: value for key, value in common.items() if key in spec.settings}
    adam = clipped(optax.adam(learning_rate), norm=1.0)
    trainer = agents.make(
        name,
        envs=envs,
        learned_optimizer=optimizer,
        outer_optimizer=adam if agents.takes_outer_optimizer(name) else None,
        **{**known, **traits_of(spec).settings, **own},
    )
    settings = EvaluationSettings(
        common["horizon"], 64, num_points=2, num_batches=1, data=data
    )
    summary = evaluator(optimizer, named, settings)
    return TrainerContestant(
        name, trainer, lambda theta: summary(theta).mean_cost.value
    )


def _own_options(
    options: dict[str, str] | None, trainers: list[str]
) -> dict[str, dict[str, Any]]:
    """The settings of each trainer.

    Raises:
        ValueError: an unknown trainer or setting, or settings of one that does not run.
    """
    from opt_gym import plugins

    own: dict[str, dict[str, Any]] = {}
    for key, value in _parsed(options).items():
        trainer, dot, setting = key.partition(".")
        if not dot:
            raise ValueError(f"an option is trainer.setting, got {key!r}")
        own.setdefault(trainer, {})[setting] = value
    for name in trainers:
        plugins.with_defaults(plugins.spec("trainer", name), own.get(name, {}))
    for name in own:
        if name not in trainers:
            raise ValueError(plugins.unknown("trainer of --options", name, trainers))
    return own


def _parsed(options: dict[str, str] | None) -> dict[str, Any]:
    from opt_gym.cli._training import parsed

    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in parsed(options).items()
    }
