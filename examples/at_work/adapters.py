# %% [markdown]
# # Low-rank adapters, with Hugging Face's peft
#
# A small GPT-2 is made and pretrained on the spot, on the source of Python's library; adapters
# of rank 8 then learn English. Half of an adapter begins at zero: a learned optimizer must move
# it all the same. `compare_on` trains them with the bundled `general` and with AdamW (weight
# decay, cosine, three rates), three times each, and says who is better on text held out.
#
# **What came, in nine minutes of one core: `general` validates better than AdamW at 3e-3 (2.00
# against 2.09)**, in steps twice as slow and in seconds about level; the largest of AdamW's
# three rates is its best, so a larger one may be better yet
# ([the figures](../../results/at_work.md)).
#
# ![Training loss by steps and by seconds](../../results/at_work/adapters/losses.png)

# %%
"""Low-rank adapters of a small pretrained language model, with Hugging Face's peft.

    python -m examples.at_work.adapters

A GPT-2 of two blocks is made and pretrained on the spot, on the source of Python's library; its
adapters learn English, which is the manual of the language as `pydoc` has it.
"""

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
import tyro
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

from examples.at_work.characters import (
    CONTEXT,
    LEARNED_FROM,
    VOCABULARY,
    batches_of,
    numbers_of,
    text_of,
)
from examples.at_work.shown import OPTIMIZERS, show
from learned.how_they_fared import Contest
from learned.torch import compare_on

RANK = 8


def loss(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The cross entropy of every next character."""
    return model(input_ids=tokens, labels=tokens).loss


def pretrained(steps: int) -> GPT2LMHeadModel:
    """A language model that knows some Python."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT + 1, n_embd=64, n_layer=2, n_head=4
    )
    model = GPT2LMHeadModel(config).eval()  # no dropout
    adamw = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for tokens in batches_of(text_of(LEARNED_FROM), steps, seed=0):
        adamw.zero_grad()
        loss(model, tokens).backward()
        adamw.step()
    return model


def main(
    out: Path = Path("runs/at_work/adapters"),
    budget_s: float = 540.0,
    pretraining: int = 400,
) -> Contest:
    """Pretrains, then trains adapters with each optimizer, three times.

    Args:
        out: folder of table and picture.
        budget_s: seconds for all of the comparison.
        pretraining: steps.
    """
    model = pretrained(pretraining)
    settings = LoraConfig(
        r=RANK, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True
    )
    adapted: Any = get_peft_model(model, settings)
    adapted.eval()
    text = numbers_of("\n".join(topics.values()))
    held_out = len(text) // 10
    contest = compare_on(
        adapted,
        loss,
        batches_of(text[held_out:], 1000, seed=1),
        valid_batches=batches_of(text[:held_out], 20, seed=2),
        optimizers=OPTIMIZERS,
        budget_s=budget_s,
    )
    return show(out, contest)


if __name__ == "__main__":
    tyro.cli(main)
