# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Reinforcement learning
#
# For readers who know agents and want a hard environment (extra `rl`): the agent is the optimizer. An observation has a row for every
# weight of the network that is being trained, an action a number for every weight, and an episode is a whole
# training. If the policy is shared over rows, one policy serves tasks of 10 weights and of 100,000. Here it
# learns to minimize quadratics with ten weights, a new one every episode.

# %%
import gymnasium as gym
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

import learned
import opt_gym
from agents.rl.sb3.sb3_policy import PerParameterPolicy, PerParameterPPO
from agents.rl.sb3.sb3_vec_env import Sb3VecEnv
from agents.rl.sb3.sb3_weights import update_settings
from envs_registry.benchmark_sets import QUADRATIC_10

HORIZON, NUM_ENVS, SCALE = 20, 256, 0.1

# %% [markdown]
# ## stable-baselines3
#
# `gym.make_vec` steps all environments in one program; `Sb3VecEnv` wraps it for stable-baselines3. γ is 1 and the
# time is observed, so that a return is minus the outer-loss. To begin with, an agent of theirs as it comes: it sets
# learning rate and momentum of SGD, two numbers for all weights, and sees a summary of them.


# %%
def make_envs(num_envs, **keywords):
    """A vector environment for stable-baselines3, which expects a reset in the step that ends."""
    envs = gym.make_vec(
        "OptTask-v0",
        num_envs=num_envs,
        task=QUADRATIC_10,
        horizon=HORIZON,
        autoreset_mode="SameStep",
        **keywords,
    )
    return VecMonitor(Sb3VecEnv(envs))


def learn(model, rollouts):
    """The mean return of the last hundred episodes, after each step."""
    returns = []

    def remember(locals_, globals_):
        if model.ep_info_buffer:
            returns.append(np.mean([episode["r"] for episode in model.ep_info_buffer]))
        return True

    model.learn(rollouts * model.n_envs * HORIZON, callback=remember)
    print(f"mean return {returns[0]:.3f} at first, {returns[-1]:.3f} at the end")
    return returns


stock = PPO(
    "MlpPolicy",
    make_envs(64, action="hyperparameters", level="global"),
    n_steps=HORIZON,
    batch_size=128,
    learning_rate=1e-3,
    gamma=1.0,
    policy_kwargs={"log_std_init": -0.5},
    device="cpu",
    seed=0,
)
stock_returns = learn(stock, 12)

# %% [markdown]
# Now an agent that moves every weight. Its network is the learned optimizer `mlp`, applied to every row, so that its
# weights are a θ. PPO's ratio of joint probabilities over many weights is nearly always clipped, so
# `PerParameterPPO` takes and clips it weight by weight.

# %%
architecture = learned.make("mlp", step_multiplier=SCALE, action_scale=SCALE)
per_weight = PerParameterPPO(
    PerParameterPolicy,
    make_envs(NUM_ENVS, action_scale=SCALE),
    policy_kwargs={"settings": update_settings(architecture)},
    n_steps=HORIZON,
    batch_size=NUM_ENVS * HORIZON // 8,
    n_epochs=4,
    learning_rate=1e-3,
    gamma=1.0,
    seed=0,
)
sb3_returns = learn(per_weight, 15)

# %% [markdown]
# `agents.rl.sb3.sb3_weights.theta_from_policy` gives its weights as a θ, for optax, torch, and tasks of other sizes.
#
# ## A PPO of a page
#
# In JAX: `jit` compiles a function, `vmap` adds a batch axis to it, `scan` is a loop, and random numbers come from
# explicit keys. (Skip this part if stable-baselines3 is enough.) `opt_gym.flat` is the same environment as pure
# functions, so that agent and environment are one compiled program. Nothing resets inside of it: a window is a whole episode, and a new one begins before the next.

# %%
env = opt_gym.make(QUADRATIC_10)
data = opt_gym.load_data(env)
flat = opt_gym.flat(env, data, action_scale=SCALE)
NUM_FEATURES = len(env.features.row_names) + len(env.features.shared_names)
CLIP, LAMBDA, EPOCHS, BATCHES, HIDDEN = 0.2, 0.95, 4, 8, 32


def init(key):
    """Two small networks, shared over rows: of the actor and of the critic."""

    def net(key, outputs, last):
        k_in, k_out = jax.random.split(key)
        return {
            "w": jax.random.normal(k_in, (NUM_FEATURES, HIDDEN))
            / np.sqrt(NUM_FEATURES),
            "b": jnp.zeros(HIDDEN),
            "out": last * jax.random.normal(k_out, (HIDDEN, outputs)) / np.sqrt(HIDDEN),
        }

    k_actor, k_critic = jax.random.split(key)
    return {
        "actor": net(k_actor, 1, 0.01),
        "critic": net(k_critic, 1, 1.0),
        "log_std": jnp.zeros(()),
    }


def act(theta, seen):
    """(mean of the action of each row, value of the state) of [..., n, F]."""

    def rows(net):
        return (jnp.tanh(seen @ net["w"] + net["b"]) @ net["out"])[..., 0]

    return rows(theta["actor"]), rows(theta["critic"]).mean(-1)


def log_prob(theta, mean, action):
    """Of every row by itself."""
    z = (action - mean) * jnp.exp(-theta["log_std"])
    return -0.5 * z**2 - theta["log_std"]


def episode(theta, key):
    """What was seen and done at each of the steps, under the exploring policy."""
    k_reset, k_noise = jax.random.split(key)

    def step(carry, k):
        state, seen = carry
        mean, value = act(theta, seen)
        action = mean + jnp.exp(theta["log_std"]) * jax.random.normal(k, mean.shape)
        state, after, out = flat.step(data, state, action.clip(-1, 1))
        logp = log_prob(theta, mean, action)
        return (state, after), (seen, action, logp, value, out.reward)

    begun = flat.reset(k_reset, data, horizon=HORIZON)
    return jax.lax.scan(step, begun, jax.random.split(k_noise, HORIZON))[1]


def advantages(rewards, values):
    """Generalized, with γ = 1 and nothing beyond the horizon: [T]."""

    def back(carry, step):
        following, advantage = carry
        reward, value = step
        advantage = reward + following - value + LAMBDA * advantage
        return (value, advantage), advantage

    return jax.lax.scan(back, (0.0, 0.0), (rewards, values), reverse=True)[1]


def loss(theta, batch):
    """PPO's, the ratio a row's own."""
    seen, action, logp, advantage, target = batch
    mean, value = act(theta, seen)
    ratio = jnp.exp(log_prob(theta, mean, action) - logp)
    scaled = ((advantage - advantage.mean()) / (advantage.std() + 1e-8))[:, None]
    gain = jnp.minimum(ratio * scaled, ratio.clip(1 - CLIP, 1 + CLIP) * scaled)
    return -gain.mean() + 0.5 * ((value - target) ** 2).mean()


tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))


def improve(carry, key):
    """One outer step: an episode in every environment, then epochs of minibatches."""
    theta, state = carry
    k_episodes, *k_epochs = jax.random.split(key, 1 + EPOCHS)
    found = jax.vmap(episode, (None, 0))(theta, jax.random.split(k_episodes, NUM_ENVS))
    seen, action, logp, value, reward = found
    advantage = jax.vmap(advantages)(reward, value)
    samples = (seen, action, logp, advantage, advantage + value)
    samples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)

    def minibatch(carry, index):
        theta, state = carry
        grads = jax.grad(loss)(theta, jax.tree.map(lambda x: x[index], samples))
        updates, state = tx.update(grads, state, theta)
        return (optax.apply_updates(theta, updates), state), None

    order = [jax.random.permutation(k, NUM_ENVS * HORIZON) for k in k_epochs]
    index = jnp.stack(order).reshape(EPOCHS * BATCHES, -1)
    carry, _ = jax.lax.scan(minibatch, (theta, state), index)
    return carry, reward.sum(axis=1).mean()


theta = init(jax.random.key(0))
steps = jax.random.split(jax.random.key(1), 100)
train = jax.jit(lambda carry: jax.lax.scan(improve, carry, steps))
(theta, _), returns = train((theta, tx.init(theta)))
print(f"mean return {returns[0]:.3f} at first, {returns[-1]:.3f} at the end")

# %% mystnb={"figure": {"caption": "Three agents learn to be optimizers."}, "image": {"alt": "Mean return against inner steps; all three curves rise."}}
fig, ax = plt.subplots(figsize=(7, 3))
samples = np.arange(len(returns)) * NUM_ENVS * HORIZON / 1e3
ax.plot(samples, returns, label="a PPO of a page, under jit")
for label, found, rollouts, size in (
    ("stable-baselines3, weight by weight", sb3_returns, 15, NUM_ENVS),
    ("stable-baselines3, learning rate and momentum", stock_returns, 12, 64),
):
    ax.plot(
        np.linspace(0, rollouts * size * HORIZON / 1e3, len(found)), found, label=label
    )
ax.set(xlabel="thousand inner steps", ylabel="mean return")
ax.legend(frameon=False)
fig.tight_layout()

# %% [markdown]
# More: [every keyword of an environment](../environments.md#keywords), [what a reward
# means](../design.md#what-a-reward-means), [two makes](../start.md#two-makes), [loops of your
# own](../guides/your_own_loop.md). The trainer `ppo` of `agents.make` is the grown-up form of the second, with tasks, checkpoints and evaluations of
# every other outer-trainer ([outer-training](../outer_training.md#reinforcement-learning)).

# %%
assert returns[-5:].mean() > returns[:5].mean() + 0.1
assert sb3_returns[-1] > sb3_returns[0]
assert stock_returns[-1] > stock_returns[0]
