"""Draws how truncation misleads: short-sighted gradients settle on the wrong learning rate.

    python examples/figure_truncation_bias.py

θ is the learning rate of SGD on a noisy quadratic (Wu et al. 2018, arXiv:1803.02021):

    ℓ(φ) = ½ Σ_i h_i (φ_i − s z_i)²,  z ~ N(0, I) anew at every step,  h = (1, 0.02)

A large rate pays within a few steps: noise along the steep direction. What it gains, along the
flat one, is seen only after many. So whoever looks K = 5 steps ahead lowers the rate, however
long it is trained: backprop and evolution through truncated unrolls alike. Persistent evolution
strategies (Vicol et al. 2021, arXiv:2112.13835), one perturbation an episode, and backprop
through all T = 100 steps find the rate that is best, which is known here: with m = E φ²,
m_i ← (1 − θ h_i)² m_i + (θ h_i s)².

A few minutes of one core. Writes truncation_bias.png and .csv into `--out`.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import agents
import learned
import opt_gym
from agents.outer_optimizers import outer_optimizer
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_picture
from opt_gym.records import Batch, Normalizer, Task
from opt_gym.runtime import strategy
from opt_gym.runtime.files import write_table

CURVATURES, NOISE, START = (1.0, 0.02), 0.5, (1.0, 6.0)
HORIZON = 100
NORMALIZER = Normalizer(4.0, 0.0, "given")  # so wide that no loss is clipped


class Method(NamedTuple):
    """An outer-trainer, what to call it, and how it is drawn."""

    title: str
    trainer: str
    settings: dict[str, Any]
    color: str
    line: Any


def methods(window: int, num: int, sigma: float) -> list[Method]:
    """The five that are compared; `num` unrolls of backprop, half as many pairs."""
    pairs = {"num_pairs": num // 2, "sigma": sigma}
    dashed, dotted = (0, (5, 1.5)), (0, (1.5, 1))
    return [
        Method(
            f"backprop, {window} steps",
            "backprop",
            {"num_problems": num, "trunc_length": window},
            OTHER_COLORS[0],
            "-",
        ),
        Method(
            f"truncated ES, {window} steps",
            "truncated_es",
            {**pairs, "trunc_length": window},
            OTHER_COLORS[1],
            dashed,
        ),
        Method(
            f"PES, {window} steps",
            "pes",
            {**pairs, "trunc_length": window},
            SUBJECT_COLOR,
            "-",
        ),
        Method(
            f"ES-single, {window} steps",
            "es_single",
            {**pairs, "trunc_length": window},
            OTHER_COLORS[3],
            dashed,
        ),
        Method(
            f"backprop, all {HORIZON} steps",
            "backprop",
            {"num_problems": num, "trunc_length": HORIZON},
            OTHER_COLORS[2],
            dotted,
        ),
    ]


class Found(NamedTuple):
    """One method from one start: θ after every outer step, and its mean over the last fifth."""

    method: Method
    thetas: np.ndarray

    @property
    def settled(self) -> float:
        """Where θ is at the end, noise averaged out."""
        return float(np.mean(self.thetas[-max(len(self.thetas) // 5, 1) :]))


def main(
    out: Path = Path("runs/figures"),
    outer_steps: int = 400,
    num: int = 32,
    window: int = 5,
    sigma: float = 0.05,
    starts: tuple[float, ...] = (0.1, 1.2),
    seed: int = 0,
) -> list[Found]:
    """Trains θ by five methods from several starts; returns what each found.

    Args:
        out: folder.
        outer_steps: of every run.
        num: unrolls at a time.
        window: K, of the truncated ones.
        sigma: of the perturbations of θ.
        starts: learning rates to begin with.
        seed: of outer-training.
    """
    began = time.monotonic()
    rates = np.linspace(0.01, 1.5, 299)
    losses = outer_losses(rates)
    best = rates[np.argmin(losses)]
    print(f"The best θ is {best:.2f}: outer-loss {losses.min():.3f}.")
    found = []
    for method in methods(window, num, sigma):
        runs = train(method, outer_steps, starts, seed)
        found += runs
        ends = [run.settled for run in runs]
        there = outer_losses(np.array(ends))
        told = [f"{r:.2f} ({loss:.3f})" for r, loss in zip(ends, there, strict=True)]
        print(f"{method.title:24s} θ (and its outer-loss): {', '.join(told)}")
    rows = [
        (run.method.title, float(run.thetas[0]), step, float(theta))
        for run in found
        for step, theta in enumerate(run.thetas)
    ]
    columns = ("method", "start", "outer_step", "theta")
    table = write_table(out / "truncation_bias.csv", columns, rows)
    picture = write_picture(
        out / "truncation_bias.png",
        (10, 4.2),
        lambda figure: draw(figure, found, rates, losses),
        dpi=110,
    )
    print(f"{picture} and {table}: {time.monotonic() - began:.0f} seconds.")
    return found


def noisy_quadratic() -> Task:
    """The task of this module's docstring."""
    h = jnp.array(CURVATURES)

    def loss(key: Any, params: Any, instance: Any, batch: Any) -> tuple[Any, dict]:
        (x,) = params
        distance = x - NOISE * jax.random.normal(key, x.shape)
        return 0.5 * jnp.sum(h * jnp.square(distance)), {}

    return Task(
        config={},
        batch_size=0,
        dataset="none",
        input_kind="none",
        loss_floor=0.0,
        roles=("kernel",),
        load_data=lambda source: {},
        init=lambda key, data: ((jnp.array(START),), ()),
        sample_batch=lambda key, data, instance, split: Batch((), ()),
        loss=loss,
        constrain=lambda params: params,
    )


def outer_losses(rates: np.ndarray) -> np.ndarray:
    """The expected loss, averaged over steps 1 … T, at each learning rate: exactly."""
    h, rate = np.array(CURVATURES), rates[:, None]
    m, total = np.square(START) * np.ones_like(rate), np.zeros(len(rates))
    for _ in range(HORIZON):
        m = (1 - rate * h) ** 2 * m + (rate * h * NOISE) ** 2
        total += 0.5 * np.sum(h * (m + NOISE**2), axis=1)
    return total / HORIZON


def train(
    method: Method, outer_steps: int, starts: tuple[float, ...], seed: int
) -> list[Found]:
    """One method from every start."""
    optimizer = learned.make("sgd")
    env = opt_gym.make(
        noisy_quadratic(),
        learned_optimizer=optimizer,
        normalizer=NORMALIZER,
        second_derivatives=True,  # the whole gradient: how g depends on φ, too
    )
    # Clipped: at a rate too large for backprop through all steps, its gradient explodes.
    adam = outer_optimizer("adam", 0.02, outer_steps, warm_up=0, end=0.1)
    trainer = agents.make(
        method.trainer,
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=optax.chain(optax.clip(1.0), adam),
        horizon=HORIZON,
        theta_average=0.0,
        **method.settings,
    )
    found = []
    for start in starts:
        theta = strategy.gather({"learning_rate": jnp.float32(start)})
        thetas = [start]

        def note(progress: Any, thetas: list[float] = thetas) -> None:
            now = progress.trainer.theta(progress.state)
            thetas.append(float(now["learning_rate"]))

        agents.train(
            trainer,
            [{}],
            outer_steps=outer_steps,
            seed=seed,
            theta=theta,
            callbacks=[note],
        )
        found.append(Found(method, np.array(thetas)))
    return found


def draw(
    figure: Any, found: list[Found], rates: np.ndarray, losses: np.ndarray
) -> None:
    """Left θ against outer steps; right the outer-loss over the same θ axis."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    best = rates[np.argmin(losses)]
    left.axhline(best, color="#22262b", lw=0.9)
    named = set()
    for run in found:
        method = run.method
        label = None if method.title in named else method.title
        named.add(method.title)
        look = {"color": method.color, "ls": method.line, "lw": 1.6}
        left.plot(run.thetas, label=label, **look)
        at = outer_losses(np.array([run.settled]))
        right.plot(at, run.settled, "o", color=method.color, ms=6, mew=0, zorder=3)
    left.annotate(
        f"best: {best:.2f}",
        (1.0, best),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 4),
        textcoords="offset points",
        ha="right",
    )
    left.legend(frameon=False, loc="upper right", ncols=2, handlelength=3)
    left.set_title("What each gradient makes of θ", loc="left", fontsize=10)
    left.set_xlabel("outer step")
    left.set_ylabel("θ: the learning rate of SGD")
    left.set_ylim(0, rates[-1])
    right.plot(losses, rates, color="#22262b", lw=1.4)
    right.axhline(best, color="#22262b", lw=0.9)
    right.set_title("The true outer-loss, and where they end", loc="left", fontsize=10)
    right.set_xlabel(f"expected loss, mean over {HORIZON} inner steps")


if __name__ == "__main__":
    tyro.cli(main)
