"""LearnedOptim as its real clients use it: Lightning, Hugging Face, a gradient scaler."""

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


def test_a_lightning_trainer(tmp_path):
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
            return loss

        def configure_optimizers(self):
            optimizer = LearnedOptim(self.parameters(), "nominal_small")
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10)
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    def fit(model, steps, path=None):
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=steps,
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = torch.utils.data.DataLoader(list(batches()), batch_size=None)  # pyright: ignore[reportArgumentType]
        trainer.fit(model, data, ckpt_path=path)
        return trainer

    model = Classifier()
    trainer = fit(model, 20)
    assert model.losses[-1] < model.losses[0]
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    again = Classifier()
    resumed = fit(again, 24, tmp_path / "saved.ckpt")
    (optimizer,) = resumed.optimizers
    assert int(optimizer.state_dict()["learned_optimizer"]["t"]) == 24  # pyright: ignore[reportCallIssue]


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
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    tokens = torch.randint(0, 20, (64, 8))
    data = [
        {"input_ids": row, "attention_mask": torch.ones(8).long(), "labels": row[0] % 2}
        for row in tokens
    ]

    class Trainer(transformers.Trainer):
        def create_optimizer(self, *args, **kwargs):
            self.optimizer = LearnedOptim(param_groups(self.model), "nominal_small")
            return self.optimizer

        def compute_loss(self, *args, **kwargs):
            found = super().compute_loss(*args, **kwargs)
            loss = found[0] if isinstance(found, tuple) else found
            wrapped: Any = self.optimizer  # by Accelerate
            wrapped.optimizer.set_loss(loss)
            return found

    trainer = Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=12,
            per_device_train_batch_size=16,
            use_cpu=True,
            report_to=[],
            save_steps=6,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=data,
    )
    found = trainer.train()
    assert found.global_step == 12
    optimizer = trainer.optimizer.optimizer  # pyright: ignore[reportAttributeAccessIssue]
    assert int(optimizer.state_dict()["learned_optimizer"]["t"]) == 12
    saved = torch.load(tmp_path / "checkpoint-6" / "optimizer.pt", weights_only=True)
    assert int(saved["learned_optimizer"]["t"]) == 6
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
    assert int(optimizer.state_dict()["learned_optimizer"]["t"]) == 10
    assert losses[-1] < losses[0]
