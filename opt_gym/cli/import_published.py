"""`opt-gym import`: a θ file of ours from what others published."""

from pathlib import Path
from typing import Annotated

import tyro


def import_published(
    path: Annotated[Path, tyro.conf.Positional],
    out: Path,
    format: str | None = None,
    options: dict[str, str] | None = None,
    trained_horizon: int | None = None,
) -> int:
    """Reads a published θ of others and writes it as a θ file, for every other command.

    Celo, Celo-Adam, Celo2, VeLO, and the optimizers of learned_optimization and of PyLO:
    `opt-gym list formats`. No pickle is ever loaded.

    Try:
      opt-gym import theta.state --out celo.safetensors --trained-horizon 2000
      opt-gym import velo.state --out velo.safetensors
        --options bugged_lstm_state true bugged_loss_features true
      opt-gym report celo.safetensors --suite small

    Args:
        path: msgpack of Flax, a .safetensors file, or a folder of these.
        out: the θ file to write.
        format: one of `opt-gym list formats`; the first that fits by default.
        options: settings of the architecture that the file does not tell, in JSON.
        trained_horizon: inner steps that it was trained for, if that is known.
    """
    import learned
    from learned.published import read_published
    from opt_gym import policy
    from opt_gym.cli._training import parsed

    if out.exists():
        raise ValueError(f"{out} is there already")
    found = read_published(path, format, parsed(options))
    optimizer = policy.trained_for(found.learned_optimizer, trained_horizon)
    training = {"imported": {"format": found.format, "file": path.name}}
    learned.save(out, optimizer, found.theta, training=training)
    count = sum(leaf.size for _, leaf in policy.named_leaves(found.theta))
    print(
        f"{out}: {optimizer.name!r} with {count:,} weights, read as {found.format!r} "
        f"from {path}"
    )
    return 0
