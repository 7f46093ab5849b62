# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # An honest comparison
#
# Is `nominal_small`, a θ that comes with the package, better than Adam? Than which Adam? On which tasks, over the
# run or at its end, by how much more than chance? `opt-gym report` asks what was fixed beforehand
# ([how it judges](../judging.md)); its baselines were measured once and come with the package, so that only the
# entrant is run. `--quick` takes a few tasks and one seed.

# %%
import csv
import json
import subprocess
from pathlib import Path

from IPython.display import Image, Markdown

OUT = Path("report")
command = f"opt-gym report nominal_small --suite small --quick --out {OUT}"
subprocess.run(command.split(), check=True, capture_output=True)
sorted(path.relative_to(OUT).as_posix() for path in OUT.rglob("*.*"))

# %% [markdown]
# `report.html` is one page, for a browser; `report.json` has the same numbers. Line by line:
#
# **The headline.** The primary score is the difference of the mean normalized loss to *the one-trial baseline*, one
# setting for all tasks that was chosen on training tasks: what you get from Adam without tuning. The word "better"
# is used only where the interval over tasks leaves out 0 and a sign-flip test has p < .05. Then the same of the
# final loss, beside the best of 14 Adams with a cosine.

# %%
report = json.loads((OUT / "report.json").read_text())
summary = report["summary"][0]
Markdown(f"> {summary['headline']}")

# %% [markdown]
# **The sentences.** Over the run; at the end, beside the best of 14 cosines (a hard judge: 14 trials, chosen on the
# very runs that are scored); where it loses; divergence; speed; cost.

# %%
Markdown(
    "\n".join(f"- **{one['about']}.** {one['text']}" for one in summary["sentences"])
)

# %% [markdown]
# **The limits.** What this report cannot say: how many tasks and seeds there were, what the entrant has seen before,
# what was not measured.

# %%
Markdown("\n".join(f"- {limit}" for limit in summary["limits"]))

# %% [markdown]
# **The tasks.** A row each, so that nobody has to trust a mean (`difference` is the primary score):

# %%
COLUMNS = ("task", "num_weights", "mean_cost", "difference", "final_cost", "test_loss")
with (OUT / "tasks.csv").open() as file:
    rows = [row for row in csv.DictReader(file) if row["optimizer"] == "nominal_small"]
lines = [COLUMNS, ["---"] * len(COLUMNS), *([row[c] for c in COLUMNS] for row in rows)]
Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))

# %% [markdown]
# **The pictures.** Curves of every task against the archive's Adams; and how an entrant is on its way to the end,
# over all tasks:

# %% mystnb={"figure": {"caption": "From the report: each task's curves."}, "image": {"alt": "Six panels of training losses, the entrant beside Adam baselines."}}
Image(filename=str(OUT / "figures/task_curves.png"))

# %% mystnb={"figure": {"caption": "From the report: the mean over tasks against steps."}, "image": {"alt": "Mean normalized loss over all tasks against steps, for the entrant and baselines."}}
Image(filename=str(OUT / "figures/aggregate_curve.png"))

# %% [markdown]
# Six small networks say little about yours: `--suite taskset-small-v1` has forty tasks of twelve families. What every
# word of a report means is in [reading a report](../guides/reading_a_report.md).

# %%
assert len(rows) == 6
assert summary["verdict"] == "better"
assert all(float(row["difference"]) < 0 for row in rows)
