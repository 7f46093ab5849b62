# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Take it home
#
# (In torch? [Jump to it](#in-torch).) A θ file holds an architecture's name and its weights. `learned.load` takes the path of one, a name that comes with
# the package, or a repository of the Hugging Face Hub. From there it is an ordinary optimizer: first in optax.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import torch
from sklearn.datasets import load_digits

import learned
from learned.torch import LearnedOptim

optimizer, theta = learned.load("nominal_small")
images, labels = load_digits(return_X_y=True)
images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
STEPS, BATCH = 300, 64
index = np.random.default_rng(0).integers(0, len(images), (STEPS, BATCH))
first = np.random.default_rng(1)
W1, W2 = (
    first.normal(size=s).astype(np.float32) / np.sqrt(s[0])
    for s in ((64, 48), (48, 10))
)

# %%


def loss_of(params, x, y):
    """The cross entropy of a network with one hidden layer."""
    logits = jax.nn.relu(x @ params["w1"]) @ params["w2"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def train(tx):
    """(losses, weights) of a plain loop; `value=` tells the loss to those who read it."""
    tx = optax.with_extra_args_support(tx)  # Adam takes no `value=`; so it may be given

    def step(carry, i):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_of)(params, images[i], labels[i])
        updates, state = tx.update(grads, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), loss

    params = {"w1": jnp.array(W1), "w2": jnp.array(W2)}
    (params, _), losses = jax.lax.scan(step, (params, tx.init(params)), index)
    return losses, params


images, labels = jnp.array(images), jnp.array(labels)
curves = {
    "nominal_small": jax.jit(lambda: train(learned.to_optax(optimizer, theta)))()[0],
    "adam 1e-3, torch's default": jax.jit(lambda: train(optax.adam(1e-3)))()[0],
    "adam 1e-2": jax.jit(lambda: train(optax.adam(1e-2)))()[0],
}

# %% mystnb={"figure": {"caption": "A learned optimizer and Adam on one network."}, "image": {"alt": "Training loss over 300 steps on a logarithmic axis, for nominal_small and Adam at two rates."}}
fig, ax = plt.subplots(figsize=(7, 3.2))
for name, losses in curves.items():
    ax.semilogy(np.convolve(losses, np.ones(10) / 10, "valid"), label=name)
ax.set(xlabel="step", ylabel="training loss")
ax.legend(frameon=False)
fig.tight_layout()

# %% [markdown]
# These are the digits that `nominal_small` was trained on, and Adam at 1e-2 is close behind: this shows how to use
# it, not that it pays on your model. Of the θ that come with the package, [a table](../../results/bundled.md) says
# what each can do; `nominal_medium_valid` keeps the validation loss low.
#
# ## In torch
#
# `LearnedOptim` stands where `torch.optim.Adam` stood. It runs the same lines of code on the same θ, so the numbers
# are the same, up to rounding:

# %%
model = torch.nn.Sequential(
    torch.nn.Linear(64, 48, bias=False),
    torch.nn.ReLU(),
    torch.nn.Linear(48, 10, bias=False),
)
with torch.no_grad():
    model[0].weight.copy_(torch.tensor(W1.T))
    model[2].weight.copy_(torch.tensor(W2.T))
torch_optimizer = LearnedOptim(model.parameters(), "nominal_small")
x, y = torch.tensor(np.array(images)), torch.tensor(np.array(labels)).long()
in_torch = []
for i in index[:20]:
    loss = torch.nn.functional.cross_entropy(model(x[i]), y[i])
    torch_optimizer.zero_grad()
    loss.backward()
    torch_optimizer.step(loss=loss)
    in_torch.append(loss.item())
print("in optax", curves["nominal_small"][:20:6], "in torch", np.array(in_torch[::6]))

# %% [markdown]
# Whether it pays on *your* model, `learned.torch.compare_on(model, loss, batches)` measures in two minutes, in JAX
# `learned.compare_on(loss, params, batches)`
# ([in your training loop](../optax_and_torch.md#does-it-pay-on-your-model)). And
# [when it is the wrong tool](../guides/wrong_tool.md) is a page of its own.

# %%
assert np.allclose(in_torch, curves["nominal_small"][:20], rtol=1e-3)
assert (
    curves["nominal_small"][-50:].mean()
    < curves["adam 1e-3, torch's default"][-50:].mean()
)
