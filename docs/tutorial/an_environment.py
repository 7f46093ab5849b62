# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # An environment, and a policy in it
#
# The training run of [the lesson before](a_task_by_hand.py) is an episode: the state is the weights, the action an
# update of them, the observation what an optimizer may look at. `gym.make` gives it as any other Gymnasium
# environment.

# %%
import gymnasium as gym
import jax
import matplotlib.pyplot as plt
import numpy as np

import learned
import opt_gym

HORIZON = 200
env = gym.make("OptTask-small_mlp-v0", task_seed=0, horizon=HORIZON, data="embedded")
observation, info = env.reset(seed=0)
print("observation", observation.shape, "action", env.action_space.shape)
print("a row has", env.unwrapped.feature_names[:12], "...")

# %% [markdown]
# A row is one of the network's 2,710 weights, a column a feature of it: the gradient and momenta, each divided by
# its root mean square over the tensor, the time, ... A policy is applied to every row alike, so it serves networks of any size. This one follows the sign of
# a momentum, like Lion does.

# %%
MOMENTUM = env.unwrapped.feature_names.index("momentum_0.9")


def run(policy):
    """(return, losses) of one episode."""
    observation, _ = env.reset(seed=0)
    rewards, losses, done = [], [], False
    while not done:
        observation, reward, terminated, truncated, info = env.step(policy(observation))
        rewards.append(reward)
        losses.append(info["loss"])
        done = terminated or truncated
    return sum(rewards), np.array(losses)


generator = np.random.default_rng(0)
episodes = {
    "nothing": run(lambda rows: np.zeros(len(rows), np.float32)),
    "noise": run(lambda rows: generator.normal(size=len(rows)).astype("f")),
    "sign of momentum": run(lambda rows: -0.3 * np.sign(rows[:, MOMENTUM])),
}

# %% mystnb={"figure": {"caption": "Three policies in one environment."}, "image": {"alt": "Loss over 200 steps: it stays where it is without a policy and under noise, and falls under the sign of the momentum."}}
fig, ax = plt.subplots(figsize=(7, 3))
for name, (total, losses) in episodes.items():
    ax.plot(losses, label=f"{name}: return {total:.3f}")
ax.set(xlabel="inner step", ylabel="loss", ylim=(0, None))
ax.legend(frameon=False)
fig.tight_layout()

# %% [markdown]
# A reward is $-\tilde\ell / T$, with $\tilde\ell$ the normalized loss and $T$ the horizon. So a return is minus the
# outer-loss, the same number that every outer-trainer here makes smaller:

# %%
total, losses = episodes["sign of momentum"]
n = env.unwrapped.normalizer
by_hand = np.clip((losses - n.best) / (n.initial - n.best), -2, 2).mean()
print(f"return {total:.6f}, minus the outer-loss {-by_hand:.6f}")

# %% [markdown]
# Behind that face are pure functions. `opt_gym.make` gives them, `start` and `unroll` run a learned optimizer in
# them: policy and environment in one compiled loop, under `jit`, `vmap` and `grad` as you like. Eight episodes
# at once, with Adam as the policy:

# %%
adam = learned.make("adam", learning_rate=0.01)
theta = adam.init_theta(jax.random.key(0))
pure = opt_gym.make("small_mlp_family_seed0", learned_optimizer=adam, data="embedded")
data = opt_gym.load_data(pure)


@jax.jit
@jax.vmap
def returns(key):
    """Of one episode."""
    state = opt_gym.start(key, pure, adam, theta, data, HORIZON)
    _, out = opt_gym.unroll(pure, adam, theta, data, state, HORIZON)
    return out.reward.sum()


print(returns(jax.random.split(jax.random.key(1), 8)))

# %%
assert abs(total + by_hand) < 1e-5
assert total > max(episodes["nothing"][0], episodes["noise"][0])
