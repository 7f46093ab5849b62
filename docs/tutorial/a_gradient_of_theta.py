# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A gradient of θ
#
# Outer-training follows the gradient of the outer-loss L(θ), the mean normalized loss over an episode
# ([the first lesson](a_task_by_hand.py)), with respect to the optimizer's own weights θ. Here θ is one
# number, the learning rate of SGD on random quadratics with ten weights, so that everything can be drawn.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import learned
import opt_gym
from envs_registry.benchmark_sets import QUADRATIC_10

HORIZON, WINDOW, SIGMA, NUM = 100, 10, 0.0005, 4096

sgd = learned.make("sgd")
env = opt_gym.make(QUADRATIC_10, learned_optimizer=sgd, second_derivatives=True)
data = opt_gym.load_data(env)


def start(rate, key):
    """A new episode."""
    return opt_gym.start(key, env, sgd, {"learning_rate": rate}, data, HORIZON)


def go_on(rate, state, num_steps):
    """(the state after so many steps, the mean cost of these)."""
    state, out = opt_gym.unroll(
        env, sgd, {"learning_rate": rate}, data, state, num_steps
    )
    return state, out.cost.mean()


def outer_loss(rate, key):
    """Of one episode."""
    return go_on(rate, start(rate, key), HORIZON)[1]


keys = jax.random.split(jax.random.key(0), NUM)
rates = jnp.geomspace(1e-3, 0.05, 40)
over_keys = jax.vmap(outer_loss, (None, 0))
curve = jax.jit(
    lambda rates: jax.lax.map(lambda r: over_keys(r, keys[:512]).mean(), rates)
)(rates)

# %% [markdown]
# ## The true gradient
#
# Everything is differentiable: `jax.grad` goes backwards through all hundred steps. (How a step's gradient depends
# on the weights is part of that, hence `second_derivatives=True`; by default it is cut, to save time.) Averaged over
# many quadratics it is the truth that the others are measured by.

# %%
RATE = 0.004  # left of the minimum, where truncation shows
exact = jax.jit(jax.vmap(jax.grad(outer_loss), (None, 0)))(RATE, keys)

# %% [markdown]
# ## Evolution
#
# An *antithetic pair* runs the same episode with θ + σε and θ − σε. The difference of both outer-losses,
# $\varepsilon \cdot (L(\theta + \sigma\varepsilon) - L(\theta - \sigma\varepsilon)) / 2\sigma$, is an unbiased
# estimate of the gradient of L, smoothed by σ. It needs no derivative, and whole episodes.

# %%


def split(key):
    """(the key of the episode, those of the perturbations of all windows)."""
    k_episode, k_noise = jax.random.split(key)
    return k_episode, jax.random.split(k_noise, HORIZON // WINDOW)


def es(key):
    """Evolution strategies: one perturbation, one episode."""
    k_episode, (k_noise, *_) = split(key)
    noise = jax.random.normal(k_noise)
    plus, minus = (outer_loss(RATE + s * SIGMA * noise, k_episode) for s in (1, -1))
    return noise * (plus - minus) / (2 * SIGMA)


# %% [markdown]
# To update θ sooner, cut the episode into *windows* of K steps, and estimate a gradient from each. **Truncated ES**
# starts both halves of a pair from the same weights, and so never sees what θ did to the windows before: it is
# biased. **Persistent ES** lets both halves go their own ways, and multiplies a window's difference by the *sum*
# of all perturbations since the episode began.

# %%


def truncated_es(key):
    """Both halves of a pair begin each window where θ itself has come to."""
    k_episode, k_windows = split(key)

    def window(state, k_noise):
        noise = jax.random.normal(k_noise)
        plus, minus = (
            go_on(RATE + s * SIGMA * noise, state, WINDOW)[1] for s in (1, -1)
        )
        return go_on(RATE, state, WINDOW)[0], noise * (plus - minus) / (2 * SIGMA)

    return jax.lax.scan(window, start(RATE, k_episode), k_windows)[1].mean()


def pes(key):
    """Each half keeps its own state, and perturbations add up."""
    k_episode, k_windows = split(key)

    def window(carry, k_noise):
        plus, minus, total = carry
        noise = jax.random.normal(k_noise)
        plus, above = go_on(RATE + SIGMA * noise, plus, WINDOW)
        minus, below = go_on(RATE - SIGMA * noise, minus, WINDOW)
        total += noise
        return (plus, minus, total), total * (above - below) / (2 * SIGMA)

    begun = start(RATE, k_episode)
    return jax.lax.scan(window, (begun, begun, 0.0), k_windows)[1].mean()


def told(estimates):
    """(mean, its standard error)."""
    return float(estimates.mean()), float(estimates.std() / np.sqrt(len(estimates)))


found = {"jax.grad": told(exact)}
for method in (es, truncated_es, pes):
    found[method.__name__] = told(jax.jit(jax.vmap(method))(keys))
for name, (mean, error) in found.items():
    print(f"{name:14s} {mean:8.2f} ± {error:.2f}")

# %% mystnb={"figure": {"caption": "Left: the outer-loss over θ. Right: its gradient at the line, by four methods."}, "image": {"alt": "Left, a curve with one minimum. Right, four points with error bars: ES and PES agree with jax.grad, truncated ES is closer to zero."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3))
left.semilogx(rates, curve, color="black")
left.axvline(RATE, color="gray", linewidth=0.8)
left.set(xlabel="θ, the learning rate", ylabel="outer-loss", ylim=(0, 0.3))
names = list(found)
means, errors = (np.array(column) for column in zip(*found.values(), strict=True))
right.errorbar(names, means, 4 * errors, fmt="o", capsize=4)
right.axhline(means[0], color="gray", linewidth=0.8)
right.set(ylabel="gradient, ± 4 standard errors")
fig.tight_layout()

# %% [markdown]
# ES and PES are right within their noise (about two standard errors here); truncated ES is not, and no number of samples mends it: a window only sees
# what it gains by itself. `agents.make("pes", ...)` is this PES, with episodes of different lengths side by
# side, several tasks, and a record of everything: the next lesson.

# %%
truth, of_truth = found["jax.grad"]


def errors_away(name):
    """From the true gradient, in standard errors of the difference."""
    mean, error = found[name]
    return abs(mean - truth) / np.hypot(error, of_truth)


assert errors_away("es") < 4
assert errors_away("pes") < 4
assert errors_away("truncated_es") > 4
