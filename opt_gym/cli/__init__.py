"""The command line `opt-gym`: one file a command.

Nothing heavy is imported before a command needs it, so that help and listings are immediate.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

from opt_gym.cli import _output

DESCRIPTION = """Learning to optimize: train a learned optimizer, compare it, take it home.

A first session:
  opt-gym list --family small_mlp          the tasks of a family
  opt-gym show small_mlp_family_seed200    one task: config, parameters, data, normalizer
  opt-gym train --tasks small_mlp/train --out runs/first
  opt-gym resume runs/first                goes on where it was interrupted
  opt-gym compare-trainers --seeds 1       evolution, backprop, search, RL side by side
  opt-gym evaluate runs/first/theta.safetensors --tasks small_mlp/held_out --out results
  opt-gym report runs/first/theta.safetensors --suite small --out report
  opt-gym scores --tasks small_mlp_family_seed200   what a return means there
  opt-gym normalize mlp_family_seed3       where its normalized loss is 0 and 1
  opt-gym stats --summary                  what the tasks of TaskSet are and cost
  opt-gym archive my_task.json             baselines for `opt-gym report`, on own tasks
  opt-gym import theta.state --out celo.safetensors   a θ that others published

A TASK is a name (mlp_family_seed3), an id (OptTask-mlp-v0), a frozen list
(small_mlp/held_out), or a .json file with a config that `opt-gym show` printed.

Results are cached in the user's cache folder; OPT_GYM_CACHE names another one."""


def console() -> int:
    """`main` as a program of its own, which a signal ends at once.

    XLA's threads may still compute what was begun: an interpreter that is taken down around
    them ends in a segmentation fault now and then. All files are whole at any time.
    """
    status = main()
    if status >= 128:
        _output.hush()
        os._exit(status)
    return status


def commands() -> dict[str, Callable[..., Any]]:
    """All of them by name."""
    from opt_gym.cli import (
        _numbers,
        archive,
        compare_trainers,
        evaluate,
        import_published,
        list,
        normalize,
        report,
        scores,
        show,
        stats,
        train,
    )

    found: dict[str, Callable[..., Any]] = {
        "list": list.list_names,
        "show": show.show,
        "train": train.train,
        "resume": train.resume,
        "evaluate": evaluate.evaluate,
        "report": report.report,
        "compare-trainers": compare_trainers.compare_trainers,
        "scores": scores.scores,
        "normalize": normalize.normalize,
        "stats": stats.stats,
        "archive": archive.archive,
        "import": import_published.import_published,
    }
    return {name: _numbers.checked(run) for name, run in found.items()}


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, or 2 after an error in what it was given.

    A training that a signal ended returns 128 and its number: 130 for Ctrl-C, 143 for
    SIGTERM.

    Args:
        args: instead of the process's own.
    """
    with _output.lasting():
        try:
            return _run(sys.argv[1:] if args is None else [*args])
        except KeyboardInterrupt:
            print("opt-gym: interrupted", file=sys.stderr)
            return 130
        except ValueError as error:
            print(f"opt-gym: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            print(f"opt-gym: {_what_to_do(error)}", file=sys.stderr)
            return 2


def _run(args: list[str]) -> int:
    import tyro

    known = commands()
    if args and args[0] in known:
        command = known[args[0]]
        return tyro.cli(command, prog=f"opt-gym {args[0]}", args=args[1:])
    # Help, or an error: the overview has one line a command.
    choices = tuple(
        Annotated[
            command,
            tyro.conf.subcommand(name, description=_first_line(command)),
        ]
        for name, command in known.items()
    )
    return tyro.cli(
        Union[choices],  # type: ignore[arg-type]  # noqa: UP007 — built at run time
        prog="opt-gym",
        description=DESCRIPTION,
        args=args or ["--help"],
    )


def _what_to_do(error: OSError) -> str:
    """An error of the file system: what, where, and what helps."""
    remedies = {
        errno.ENOSPC: "make room there, or name another folder",
        errno.EDQUOT: "make room there, or name another folder",
        errno.EACCES: "name a folder that you may write to",
        errno.EPERM: "name a folder that you may write to",
        errno.EROFS: "name a folder that you may write to",
        errno.ENOTDIR: "a file stands where a folder is needed: name another",
        errno.EEXIST: "a file stands where a folder is needed: name another",
        errno.EISDIR: "a folder stands where a file is needed: name another",
    }
    remedy = remedies.get(error.errno or 0)
    return f"{error}; {remedy}" if remedy else str(error)


def _first_line(command: Callable[..., Any]) -> str:
    return (command.__doc__ or "").strip().splitlines()[0]
