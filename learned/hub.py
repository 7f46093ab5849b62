"""To the Hugging Face Hub: a θ with its card and a picture, where `learned.load` finds it.

    learned.push_to_hub("runs/first/theta.safetensors", "me/first")  # with your token
    learned.load("me/first")

A repository has three files: `theta.safetensors`, `README.md` and, unless it is not wanted, a
picture.
"""

import os
import re
import shutil
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from learned import theta_file
from opt_gym import plugins

CARD, PICTURE = "README.md", "training.png"
NUM_TASKS = 4
ADAM_RATE = 0.003
LONGEST = 300
_FRONT = """---
library_name: opt-gym
license: apache-2.0
tags:
- learned-optimizer
- optax
- pytorch
---
"""
_USE = """
## Use

```python
import learned

optimizer, theta = learned.load("{repository}")
tx = learned.to_optax(optimizer, theta)  # optax

from learned.torch import LearnedOptim

optim = LearnedOptim(model.parameters(), "{repository}")  # torch
```
"""


def push_to_hub(
    path_or_name: str | os.PathLike[str],
    repository: str,
    *,
    card: str | os.PathLike[str] | None = None,
    picture: str | os.PathLike[str] | bool = True,
    private: bool = False,
    token: str | None = None,
) -> str:
    """Publishes a θ file as a repository of the Hugging Face Hub, in one commit.

    Args:
        path_or_name: a θ file or a bundled name.
        repository: "owner/name"; made where it is not there.
        card: a Markdown file about it; by default a bundled θ's own, or what the file says of
            its architecture and training.
        picture: a PNG file; True for one that is drawn here, of a thousand steps on four small
            networks beside Adam (half a minute); False for none.
        private: for a repository that is made.
        token: of the Hub; by default the one that `hf auth login` left.

    Returns:
        Where it is.

    Raises:
        ValueError: a name that is no "owner/name"; no θ file; no picture in PNG.
        FileNotFoundError: no such file or name.
        ImportError: huggingface_hub is not installed.
        OSError: the Hub cannot be reached, or refuses.
    """
    check_repository(repository)
    try:
        from huggingface_hub import HfApi, constants
    except ImportError as error:
        raise ImportError("push_to_hub needs: pip install 'opt-gym[hub]'") from error
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, path_or_name, repository, card, picture)
        api = HfApi(endpoint=constants.ENDPOINT, token=token)
        made: Any = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="A learned optimizer of opt-gym",
        )
    return str(made)


def check_repository(repository: str) -> None:
    """Raises ValueError for a `repository` that is no "owner/name"."""
    if not re.fullmatch(theta_file.REPOSITORY, repository):
        raise ValueError(f'repository must be "owner/name", got {repository!r}')


def prepare(
    folder: Path,
    path_or_name: str | os.PathLike[str],
    repository: str,
    card: str | os.PathLike[str] | None = None,
    picture: str | os.PathLike[str] | bool = True,
) -> None:
    """Writes into `folder` what `push_to_hub` uploads; arguments and errors as there."""
    file = theta_file.find_file(path_or_name)
    header = theta_file.read_header(file)
    text = _own_card(file) if card is None else Path(card).read_text()
    text = text or describe(header)
    if picture is True:
        draw(folder / PICTURE, file)
    elif picture is not False:
        if not Path(picture).read_bytes().startswith(b"\x89PNG"):
            raise ValueError(f"picture must be a PNG file, {picture} is none")
        shutil.copyfile(picture, folder / PICTURE)
    if picture is not False:
        text += f"\n![Loss against steps, beside Adam]({PICTURE})\n"
    shutil.copyfile(file, folder / theta_file.HUB_FILE)
    front = (
        "" if text.startswith("---\n") else _FRONT
    )  # a card from the Hub has its own
    (folder / CARD).write_text(front + text + _USE.format(repository=repository))


def describe(header: dict[str, Any]) -> str:
    """A card of what the `header` of a θ file says."""
    name, config = header["architecture"]
    training = header["training"]
    settings = ", ".join(f"{key} {value}" for key, value in config.items())
    points = [f"The architecture `{name}` of opt-gym: {settings or 'no settings'}."]
    # Whoever saved the file says of its training what he likes.
    points += [f"{key}: {_short(value)}" for key, value in training.items()]
    if header["trained_horizon"]:
        points.append(f"Trained for up to {header['trained_horizon']:,} inner steps.")
    wrapped = [
        textwrap.fill(point, 96, initial_indent="- ", subsequent_indent="  ")
        for point in points
    ]
    return "\n".join(["# A learned optimizer", "", *wrapped, ""])


def _short(value: Any) -> str:
    """A number or a word as it is, of many things how many."""
    is_long = len(str(value)) > LONGEST and isinstance(value, list | dict)
    return f"{len(value)}" if is_long else textwrap.shorten(str(value), LONGEST)


def draw(path: Path, theta: Path) -> None:
    """A picture at `path`: θ of the file `theta` and Adam on four small networks."""
    import opt_gym
    from envs_registry.benchmark_sets import SMALL_MLP_HELD_OUT
    from opt_gym.evaluation.plots import plot_comparison
    from opt_gym.normalize import REFERENCE_HORIZON

    optimizer, weights = theta_file.load(theta)
    usual = plugins.build("architecture", "adam", {"learning_rate": ADAM_RATE})
    runs = []
    for name, one, its in (
        (optimizer.name, optimizer, weights),
        (f"Adam {ADAM_RATE:g}", usual, None),
    ):
        runs += opt_gym.evaluate(
            one,
            SMALL_MLP_HELD_OUT[:NUM_TASKS],
            its,
            name=name,
            horizon=REFERENCE_HORIZON,
            num_seeds=2,
            data="embedded",
            timed=False,
        )
    title = f"{NUM_TASKS} small networks on 8x8 digits"
    plot_comparison(path, runs, subject=optimizer.name, title=title)


def _own_card(file: Path) -> str:
    """A bundled θ's, or that of a file that lies beside it; "" for none."""
    beside = file.with_suffix(".md")
    return beside.read_text() if beside.is_file() else ""
