"""Frozen lists of tasks: explicit, never discovered, and chosen before any result was seen.

A name here is what `opt_gym.make` takes. The lists that are long are files in `sets/`, one
name a line; a digest of each is pinned by a test, and a change is a new version.

`small_mlp/...`: tasks of that family (new shapes, activations, initializers, batch sizes; the
data are the same digits). An outer-trainer trains on a `train` list, recipes are chosen on a
`development` list, and a `held_out` list is looked at once; no list of one kind shares a task
with a list of another. All are seeds in turn but `train_27`, which leaves nothing to the luck
of the draw: from seed 1000 on, the first seed of each of the nine activations at each of the
three depths (of the 24 of `train`, one has sigmoids). `held_out_16` and `development_24` begin
with the shorter lists; `held_out_32` are 32 others, chosen after results on the 16 had been
seen and before any on the 32. A seed would be left out only if its initial loss were not
finite, or if none of Adam's 14 learning rates lowered it; none had to be.

`taskset-small-v1/...`: a hundred of TaskSet's tasks that run a thousand steps in six seconds
at most, with embedded data. From each family's published tasks in a random order, the first
ones that stayed finite over ten steps of Adam and took under 60 seconds per 10,000 steps on
a core that had other work too: six for `train` and two for `held_out`, ten from each of the
two `held_out_families`, mlp_ae and rnn_text_classification. One whose mean initial loss is
infinite, so that it has no normalizer, gave way to the next: mlp_vae's seed 53. (Language
models on words are costly: only the sixteen of the fewest multiplications were looked at.)

`taskset-small-v2/...`: forty tasks for the judge, which nobody has looked at: `test`, two of
each of ten families, and `test_families`, ten of each of the two that v1 holds out. The rule
is v1's, on seeds 400 to 499, which TaskSet never published (`choose_tasks.py`); no config is
one of an older list. A θ is entered there at most twice, each look written down in results/
with its date and the digest of θ. v1's `held_out` and `held_out_families` were looked at
while things were designed: they are development lists now.

`taskset-tiny-v1/...`: tiny twins (`opt_gym.twins`), to outer-train on many tasks in minutes:
`train`, twelve of each of the ten families that taskset-small trains on, from seed 500 on, and
`development`, two or three of each, from seed 700 on. The seeds are in order, but for those on
which nothing can be learned, each with its reason (`choose_tiny.py` prints them). mlp_ae and
rnn_text_classification stay held out. The stand-in for MNIST is the 1,797 digits that
small_mlp trains on, too.

`modern-tiny-v1/...` and `modern-small-v1/...`: families that TaskSet lacks, attention first:
transformer_lm, mixer, resnet, mobilenet, outer_training, fine_tuning and rl_policy in `train`
and `held_out`, vit and physics whole in `held_out_families`. Tiny twins, and the tasks
themselves; from seeds in order those whose loss and gradient take at most 6e7 and 1.5e8
operations, and whose loss some rate of Adam lowers by a twentieth (`choose_modern.py`). No
result beyond that was seen before.

`transfer/...`: what no θ of ours was trained on, neither tasks nor data: `tables`, the first
two seeds of the family table_mlp with each of its four tables, and `text`, recurrent language
models of Python code. No result was seen before.

`taskset-full-v1/...`: all of TaskSet that can be built. `held_out_families` are all tasks of
the same two families; `held_out` 84 others at random, those of the small set among them;
`train` the remaining 1,000, those of the small set first, each part in random order.
`train_1`, `train_10`, `train_100`, `train_1000` are its beginnings: do more tasks train
better optimizers?
"""

from pathlib import Path

_FOLDER = Path(__file__).with_name("sets")


def _small_mlp(seeds: range) -> tuple[str, ...]:
    return tuple(f"small_mlp_family_seed{seed}" for seed in seeds)


def _listed(name: str) -> tuple[str, ...]:
    return tuple((_FOLDER / f"{name}.txt").read_text().split())


SMALL_MLP_TRAIN = _small_mlp(range(24))
SMALL_MLP_TRAIN_27 = _listed("small_mlp_train_27")
SMALL_MLP_DEVELOPMENT = _small_mlp(range(100, 112))
SMALL_MLP_DEVELOPMENT_24 = _small_mlp(range(100, 124))
SMALL_MLP_HELD_OUT = _small_mlp(range(200, 212))
SMALL_MLP_HELD_OUT_16 = _small_mlp(range(200, 216))
SMALL_MLP_HELD_OUT_32 = _small_mlp(range(216, 248))

QUADRATIC_10 = {
    "family": "quadratic",
    "A_dist": ["normal", {"mean": 0.0, "std": 1.0}],
    "initial_dist": ["normal", {"mean": 0.0, "std": 1.0}],
    "output_fn": "identity",
    "dims": 10,
    "seed": None,
    "loss_scale": 1.0,
    "noise": None,
}
"""A config, not a list: ten weights, a new matrix every episode. What every outer-trainer can
do, reinforcement learning included, and what the Gymnasium face is timed on."""

TRANSFER_TABLES = tuple(
    f"table_mlp_family_seed{seed}" for seed in (4, 8, 1, 6, 7, 13, 0, 2)
)
TRANSFER_TEXT = tuple(
    f"PythonSource_{net}_patch64_bs32"
    for net in ("GRU64", "LSTM64", "VRNN96", "IRNN96")
)

_PARTS = ("train", "held_out", "held_out_families")
_FULL_TRAIN = _listed("taskset-full-v1_train")

BENCHMARK_SETS = {
    "small_mlp/train": SMALL_MLP_TRAIN,
    "small_mlp/train_27": SMALL_MLP_TRAIN_27,
    "small_mlp/development": SMALL_MLP_DEVELOPMENT,
    "small_mlp/development_24": SMALL_MLP_DEVELOPMENT_24,
    "small_mlp/held_out": SMALL_MLP_HELD_OUT,
    "small_mlp/held_out_16": SMALL_MLP_HELD_OUT_16,
    "small_mlp/held_out_32": SMALL_MLP_HELD_OUT_32,
    **{
        f"{name}/{part}": _listed(f"{name}_{part}")
        for name in (
            "taskset-small-v1",
            "taskset-full-v1",
            "modern-tiny-v1",
            "modern-small-v1",
        )
        for part in _PARTS
    },
    **{
        f"taskset-small-v2/{part}": _listed(f"taskset-small-v2_{part}")
        for part in ("test", "test_families")
    },
    **{
        f"taskset-tiny-v1/{part}": _listed(f"taskset-tiny-v1_{part}")
        for part in ("train", "development")
    },
    "transfer/tables": TRANSFER_TABLES,
    "transfer/text": TRANSFER_TEXT,
    **{
        f"taskset-full-v1/train_{count}": _FULL_TRAIN[:count]
        for count in (1, 10, 100, 1000)
    },
}
"""Every list by its name, which the command line takes too."""
