"""LearnedOptim as its real clients use it: Lightning, Hugging Face, a gradient scaler."""

import copy
import warnings
from typing import Any

import pytest
import torch

from learned.torch import LearnedOptim, param_groups

pytestmark = pytest.mark.filterwarnings("ignore")  # what the clients say of themselves


def batches(count=8):
    torch.manual_seed(0)
    for _ in range(count):
        x = torch.randn(16, 5)
        yield x, (x[:, 0] > 0).long()


def classifier() -> Any:
    """As the page on Lightning has it."""
    import pytorch_lightning as lightning

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.net = torch.nn.Linear(5, 2)
            self.losses = []

        def training_step(self, batch, index):
            x, y = batch
            loss = torch.nn.functional.cross_entropy(self.net(x), y)
            self.losses.append(loss.item())
            optimizer: Any = self.optimizers().optimizer  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
            parts = self.trainer.accumulate_grad_batches
            tell = optimizer.add_loss if index % parts else optimizer.set_loss
            tell(loss.detach() / parts)
            return loss

        def configure_optimizers(self):
            optimizer = LearnedOptim(self.parameters(), "nominal_small")
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10)
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    return Classifier()


def fit(model, folder, steps, path=None, **settings) -> Any:
    import pytorch_lightning as lightning

    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    data: Any = torch.utils.data.DataLoader(list(batches()), batch_size=None)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    trainer.fit(model, data, ckpt_path=path)
    return trainer


def test_a_lightning_trainer(tmp_path):
    model = classifier()
    trainer = fit(model, tmp_path, 20)
    assert model.losses[-1] < model.losses[0]
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    resumed = fit(classifier(), tmp_path, 24, tmp_path / "saved.ckpt")
    (optimizer,) = resumed.optimizers
    assert optimizer.t == 24


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
def test_lightning_s_loss_is_that_of_the_whole_batch(tmp_path, scaled, parts):
    from pytorch_lightning.plugins import MixedPrecision

    settings: dict[str, Any] = {"accumulate_grad_batches": parts}
    if scaled:
        scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
        settings["plugins"] = MixedPrecision("16-mixed", "cpu", scaler)
    model = classifier()
    seen = losses_read(lambda: fit(model, tmp_path, 4, **settings))
    whole = [
        sum(model.losses[i : i + parts]) / parts for i in range(0, 4 * parts, parts)
    ]
    assert seen == pytest.approx(whole)


def losses_read(train) -> list[float]:
    """What the optimizer took for the loss of each of its steps."""
    seen = []
    step = LearnedOptim._step

    def noting(self, loss, valid_loss):
        seen.append(float(loss))
        return step(self, loss, valid_loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LearnedOptim, "_step", noting)
        train()
    return seen


def test_a_hugging_face_trainer(tmp_path):
    import transformers

    transformers: Any = transformers
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        num_labels=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    tokens = torch.randint(0, 20, (64, 8))
    data = [
        {"input_ids": row, "attention_mask": torch.ones(8).long(), "labels": row[0] % 2}
        for row in tokens
    ]

    class Trainer(transformers.Trainer):
        goes_on = False

        def create_optimizer(self, *args, **kwargs):
            self.optimizer = LearnedOptim(param_groups(self.model), "nominal_small")
            return self.optimizer

        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            optimizer: Any = self.optimizer.optimizer  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
            (optimizer.add_loss if self.goes_on else optimizer.set_loss)(loss)
            self.goes_on = not self.accelerator.sync_gradients
            return loss

    def mean_over_the_batch(outputs, labels, num_items_in_batch=None):
        losses = torch.nn.functional.cross_entropy(
            outputs.logits, labels, reduction="none"
        )
        return losses.sum() / (num_items_in_batch or len(labels))

    def trainer_of(parts: int = 1, steps: int = 12) -> Any:
        return Trainer(
            model=copy.deepcopy(model),
            args=transformers.TrainingArguments(
                output_dir=str(tmp_path),
                max_steps=steps,
                per_device_train_batch_size=16 // parts,
                gradient_accumulation_steps=parts,
                use_cpu=True,
                report_to=[],
                save_steps=6,
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=data,
            eval_dataset=data,
            # Else sums of means are what some models' gradients are of.
            compute_loss_func=mean_over_the_batch,
        )

    trainer = trainer_of()
    assert trainer.evaluate()["eval_loss"] > 0  # before it has an optimizer
    assert trainer.train().global_step == 12
    optimizer = trainer.optimizer.optimizer
    assert optimizer.t == 12
    whole, in_parts = (
        losses_read(trainer_of(parts, steps=3).train) for parts in (1, 2)
    )
    assert in_parts == pytest.approx(whole, rel=1e-3)
    saved = torch.load(tmp_path / "checkpoint-6" / "optimizer.pt", weights_only=True)
    assert int(saved["state"][0]["shared.t"]) == 6
    optimizer.load_state_dict(saved)


def test_a_gradient_scaler_and_accumulation():
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 2)
    optimizer = LearnedOptim(model.parameters(), "nominal_small")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    losses = []
    for number, (x, y) in enumerate(batches(20)):
        loss = torch.nn.functional.cross_entropy(model(x), y) / 2
        scaler.scale(loss).backward()
        losses.append(loss.item())
        if number % 2:  # two batches a step
            scaler.step(optimizer, loss)
            scaler.update()
            optimizer.zero_grad()
    assert optimizer.t == 10
    assert losses[-1] < losses[0]
