"""The command line `opt-gym`: one file a command.

Nothing heavy is imported before a command needs it, so that help and listings are immediate.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

DESCRIPTION = """Learning to optimize: train a learned optimizer, compare it, take it home.

A first session:
  opt-gym list --family small_mlp          the tasks of a family
  opt-gym show small_mlp_family_seed200    one task: config, parameters, data, normalizer
  opt-gym train --tasks small_mlp/train --out runs/first
  opt-gym resume runs/first                goes on where it was interrupted
  opt-gym compare-trainers --seeds 1       evolution, backprop, search, RL side by side
  opt-gym evaluate runs/first/theta.safetensors --tasks small_mlp/held_out --out results
  opt-gym scores --tasks small_mlp_family_seed200   what a return means there
  opt-gym normalize mlp_family_seed3       where its normalized loss is 0 and 1
  opt-gym stats --summary                  what the tasks of TaskSet are and cost

A TASK is a name (mlp_family_seed3), an id (OptTask-mlp-v0), a frozen list
(small_mlp/held_out), or a .json file with a config that `opt-gym show` printed.

Results are cached in the user's cache folder; OPT_GYM_CACHE names another one."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, or 2 after an error in what it was given.

    Args:
        args: instead of the process's own.
    """
    from opt_gym.cli import (
        compare_trainers,
        evaluate,
        list,
        normalize,
        scores,
        show,
        stats,
        train,
    )

    commands: dict[str, Callable[..., Any]] = {
        "list": list.list_names,
        "show": show.show,
        "train": train.train,
        "resume": train.resume,
        "evaluate": evaluate.evaluate,
        "compare-trainers": compare_trainers.compare_trainers,
        "scores": scores.scores,
        "normalize": normalize.normalize,
        "stats": stats.stats,
    }
    try:
        return _run(commands, sys.argv[1:] if args is None else [*args])
    except (ValueError, FileNotFoundError) as error:
        print(f"opt-gym: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("opt-gym: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `opt-gym list | head`
        # The interpreter flushes at its end, once more into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(commands: dict[str, Callable[..., Any]], args: list[str]) -> int:
    import tyro

    if args and args[0] in commands:
        command = commands[args[0]]
        return tyro.cli(command, prog=f"opt-gym {args[0]}", args=args[1:])
    # Help, or an error: the overview has one line a command.
    choices = tuple(
        Annotated[
            command,
            tyro.conf.subcommand(name, description=_first_line(command)),
        ]
        for name, command in commands.items()
    )
    return tyro.cli(
        Union[choices],  # type: ignore[arg-type]  # noqa: UP007 — built at run time
        prog="opt-gym",
        description=DESCRIPTION,
        args=args or ["--help"],
    )


def _first_line(command: Callable[..., Any]) -> str:
    return (command.__doc__ or "").strip().splitlines()[0]
