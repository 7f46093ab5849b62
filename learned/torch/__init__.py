"""The way out into torch: (architecture, θ) as a `torch.optim.Optimizer`.

    optimizer = learned.torch.LearnedOptim(model.parameters())
    loss = loss_fn(model(x), y); loss.backward(); optimizer.step(loss=loss)

A step is the maths of the environment and of `to_optax`, the same lines of code. Tensors are
shown to it with their axes as JAX has them: a kernel [out, in, *window] as [*window, in, out].
"""

from learned.torch.guarded_optim import GuardedOptim
from learned.torch.learned_optim import LearnedOptim
from learned.torch.on_your_module import compare_on
from learned.torch.tensors import param_groups

__all__ = ["GuardedOptim", "LearnedOptim", "compare_on", "param_groups"]
