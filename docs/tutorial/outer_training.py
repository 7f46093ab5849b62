# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Outer-training
#
# Now θ has 305 weights: the architecture `nominal` is Adam with a small net that sets the size of each tensor's step.
# PES trains it on two small networks that classify digits, and it is then tried on a third.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import agents
import learned
import opt_gym
from agents.outer_optimizers import clipped, outer_optimizer

OUTER_STEPS, HORIZON = 150, 300
optimizer = learned.make("nominal", per_parameter=False)
envs = [
    opt_gym.make(
        f"small_mlp_family_seed{seed}", learned_optimizer=optimizer, data="embedded"
    )
    for seed in (0, 1)
]

# %% [markdown]
# A *trainer* estimates gradients of θ, here from 8 pairs that each go on for 50 steps between two updates, in
# episodes of 50 to 300 steps; the two tasks take turns. Gradients are clipped to norm 1. An outer optimizer follows them: Adam again, with a warm-up and a cosine. The
# θ that is returned is a running average.

# %%
pes = agents.make(
    "pes",
    envs=envs,
    learned_optimizer=optimizer,
    outer_optimizer=clipped(outer_optimizer("adam", 2e-2, OUTER_STEPS), norm=1.0),
    num_pairs=8,
    trunc_length=50,
    sigma=0.1,
    horizon=(50, HORIZON),
    theta_average=0.98,
)
data = [opt_gym.load_data(env) for env in envs]
result = agents.train(pes, data, outer_steps=OUTER_STEPS, seed=0)
print(
    f"{result.outer_step} outer steps, the last outer-loss {result.reports[-1].outer_loss:.3f}"
)

# %% mystnb={"figure": {"caption": "Outer-training: the outer-loss of the unrolls."}, "image": {"alt": "A noisy curve that falls over 150 outer steps."}}
losses = np.array([report.outer_loss for report in result.reports])
fig, ax = plt.subplots(figsize=(7, 3))
ax.plot(losses, color="lightgray", label="one outer step")
ax.plot(
    np.arange(19, OUTER_STEPS),
    np.convolve(losses, np.ones(20) / 20, "valid"),
    label="mean of 20",
)
ax.set(xlabel="outer step", ylabel="outer-loss of the unrolls", ylim=(0, 0.6))
ax.legend(frameon=False)
fig.tight_layout()

# %% [markdown]
# The curve mixes episodes of all lengths, so it is a rough guide only. What counts is a task that training never
# saw. `opt_gym.evaluate` runs any optimizer there: here the untrained θ, which is Adam at .003, and the trained one.

# %%
task, theta = "small_mlp_family_seed200", result.theta
untrained = optimizer.init_theta(jax.random.key(0))
settings = {"horizon": HORIZON, "num_seeds": 3, "data": "embedded"}
runs = [
    *opt_gym.evaluate(optimizer, task, untrained, name="untrained", **settings),
    *opt_gym.evaluate(optimizer, task, theta, name="trained", **settings),
]
outer_losses = {run.optimizer: float(np.mean(run.mean_cost)) for run in runs}
print({name: round(value, 4) for name, value in outer_losses.items()})

# %% [markdown]
# Saved to a file, θ can be loaded by anybody; [Take it home](take_it_home.py) uses one. A real outer-training has more
# tasks and lasts longer; `opt-gym train` runs it with checkpoints ([outer-training](../outer_training.md)).

# %%
learned.save("theta.safetensors", result.learned_optimizer, result.theta)
assert outer_losses["trained"] < outer_losses["untrained"]
