# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A task by hand
#
# A *task* is one small training problem: initial weights φ, batches, and a loss. Nothing of it knows what an
# optimizer is. This lesson trains one by hand, with optax, to see what is there to be learned.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import opt_gym

config = opt_gym.task_config("small_mlp_family_seed0")
config

# %% [markdown]
# A task's config is plain JSON: this one is a network of two layers on 8x8 digits. `make_task` builds it,
# as a record of pure functions ({class}`~opt_gym.records.Task`), and `replay` gives what one training run
# sees: the initial weights, and for every step t a batch and a key for the loss.

# %%
task = opt_gym.make_task(config)
data = task.load_data("embedded")
replay = opt_gym.replay(task, data, jax.random.key(0))
jax.tree.map(lambda leaf: leaf.shape, replay.params)

# %% [markdown]
# The loop is the one that you would write for any model. It returns the losses of all steps.

# %%
HORIZON = 1000


def train(optimizer):
    """The training loss at each of 1,000 steps."""
    loss_and_grad = jax.value_and_grad(task.loss, argnums=1, has_aux=True)

    def step(carry, t):
        params, state = carry
        (loss, _), grad = loss_and_grad(
            replay.loss_key(t), params, replay.instance, replay.batch(t)
        )
        updates, state = optimizer.update(grad, state, params)
        return (optax.apply_updates(params, updates), state), loss

    start = replay.params, optimizer.init(replay.params)
    return jax.lax.scan(step, start, jax.numpy.arange(HORIZON))[1]


rates = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
curves = {
    rate: np.array(jax.jit(lambda r=rate: train(optax.adam(r)))()) for rate in rates
}

# %% [markdown]
# Losses of unlike tasks are in unlike units. Here a loss is *normalized*: 1 is the mean loss at the start, 0 the best
# that Adam reached at any of 14 rates. Those two numbers of a task are its normalizer, and come in a table.

# %%
normalizer = opt_gym.make(task, data="embedded").normalizer


def normalized(losses):
    """1 at the start, 0 at the best of 14 Adams; clipped to ±2."""
    return np.clip(
        (losses - normalizer.best) / (normalizer.initial - normalizer.best), -2, 2
    )


# %% mystnb={"figure": {"caption": "Adam at six learning rates on one task."}, "image": {"alt": "Normalized loss over 1,000 steps for six learning rates. At 0.1 it falls fastest; at 0.00001 it hardly moves."}}
fig, ax = plt.subplots(figsize=(7, 3.5))
for rate, losses in curves.items():
    smooth = np.convolve(normalized(losses), np.ones(20) / 20, "valid")
    ax.plot(smooth, label=f"Adam {rate:g}")
ax.set(xlabel="inner step", ylabel="normalized loss", ylim=(-0.1, 1.3))
ax.legend(ncols=2, frameon=False)
fig.tight_layout()

# %% [markdown]
# The mean over the run is the number that this package calls the *outer-loss*: low for whoever is fast and ends
# low. A decade off the best rate it is several times as large, and three decades below next to nothing is
# learned. That is the first thing that a learned optimizer has to find out by itself.

# %%
outer_losses = {
    rate: float(normalized(losses).mean()) for rate, losses in curves.items()
}
for rate, outer_loss in outer_losses.items():
    print(f"Adam {rate:<8g} outer-loss {outer_loss:.3f}")

# %%
best = min(outer_losses, key=outer_losses.get)
assert outer_losses[best] < 0.05 < 0.5 < outer_losses[1e-5]
