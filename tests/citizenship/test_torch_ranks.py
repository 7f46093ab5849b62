"""Two processes that train one model are one optimizer; what cannot be is refused."""

import json
import runpy
import subprocess
import sys

import pytest
import torch

import learned
from tests.citizenship.subjects import HARDEST
from tests.citizenship.test_optax_state import environment

PROGRAM = """
import json, os, sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from learned.torch import GuardedOptim, LearnedOptim
from tests.learned.problems import moving_theta

GUARDED = "guarded "

def optimizer_of(name, params):
    if not name.startswith(GUARDED):
        # Where weights explode, nothing stays equal for twenty steps.
        lr = 0.1 if name == "sgd" else 1.0
        return LearnedOptim(params, moving_theta(name), lr, horizon=20)
    inside = optimizer_of(name.removeprefix(GUARDED), params)
    return GuardedOptim(inside, torch.optim.AdamW(params, 0.01))

rank, port, *names = sys.argv[1:]
rank, several = int(rank), port != "0"
torch.set_num_threads(1)
if several:
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 130), torch.nn.Linear(130, 1)
    )

def losses_of(model):
    # Of twenty batches, each process's share of them; gradients are there with the loss.
    torch.manual_seed(1)
    for _ in range(20):
        x = torch.randn(8, 4)
        x = x[4 * rank :][:4] if several else x
        model.zero_grad()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        yield loss

told = {}
for name in names:
    model = net()
    inner = DistributedDataParallel(model) if several else model
    optimizer = optimizer_of(name, [*model.parameters()])
    for loss in losses_of(inner):
        optimizer.step(loss=loss)
    told[name] = [x for p in model.parameters() for x in p.detach().ravel().tolist()]

def cut_model():
    # As FSDP2 cuts it: unevenly, by inputs, and of some tensors one process has nothing.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard
    model = net()
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(model[0], mesh=mesh)
    by_inputs = lambda p: Shard(p.ndim - 1)
    fully_shard(model[3], mesh=mesh, shard_placement_fn=by_inputs)
    fully_shard(model, mesh=mesh)
    return model

def saved_and_restored(model, optimizer):
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint import state_dict
    state = state_dict.get_optimizer_state_dict(model, optimizer)
    folder = os.path.join(os.path.dirname(sys.argv[0]), "checkpoint")
    checkpoint.save(state, checkpoint_id=folder)
    fresh = LearnedOptim(model.parameters(), moving_theta("general"), horizon=20)
    state = state_dict.get_optimizer_state_dict(model, fresh)
    checkpoint.load(state, checkpoint_id=folder)
    state_dict.set_optimizer_state_dict(model, fresh, state)
    return fresh

def trained_in_parts():
    model = cut_model() if several else net()
    optimizer = LearnedOptim(model.parameters(), moving_theta("general"), horizon=20)
    for t, loss in enumerate(losses_of(model)):
        if t == 5 and rank == 0:  # one process's part of one gradient
            grad = model[0].weight.grad
            (grad.to_local() if several else grad)[0, 0] = torch.nan
        optimizer.step(loss=loss)
        if t == 10 and several:
            optimizer = saved_and_restored(model, optimizer)
    whole = [p.full_tensor() if several else p for p in model.parameters()]
    return [x for p in whole for x in p.detach().ravel().tolist()]

told["in parts"] = trained_in_parts()

def refusal(params, **settings):
    optimizer = LearnedOptim(params, moving_theta("nn_adam"), **settings)
    for p in params:
        p.grad = torch.ones_like(p)
    try:
        optimizer.step(loss=1.0)
    except ValueError as error:
        return str(error)
    return "accepted"

if several:
    part = list(net().parameters())[2 * rank :][:2]  # as ZeRO shares them out
    told["parts"] = refusal(part)
    torch.manual_seed(rank)
    other = list(torch.nn.Linear(4, 3).parameters())
    told["unrelated"] = refusal(other)
    told["alone"] = refusal(other, process_group=False)
    told["same"] = refusal(list(net().parameters()))
    from torch.distributed.algorithms.join import Join
    model = net()
    inner = DistributedDataParallel(model)
    optimizer = LearnedOptim(model.parameters(), moving_theta("velo_like"), horizon=20)
    with Join([inner, optimizer]):
        for _ in range(2 + 2 * rank):
            optimizer.zero_grad()
            loss = inner(torch.ones(2, 4)).square().mean()
            loss.backward()
            optimizer.step(loss=loss)
    told["joined"] = [x for p in model.parameters() for x in p.detach().ravel().tolist()]
    told["steps"] = optimizer.t
    missing = LearnedOptim(model.parameters(), moving_theta("velo_like"), horizon=20)
    try:
        missing.step(loss=1.0 if rank else None, valid_loss=None if rank else 1.0)
    except ValueError as error:
        told["missing"] = str(error)
    told["skipped"] = missing.skipped
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor
    mesh = init_device_mesh("cpu", (2,))
    cut = torch.nn.Parameter(distribute_tensor(torch.ones(4, 3), mesh))
    try:
        LearnedOptim([cut], moving_theta("nn_adam"))
    except ValueError as error:
        told["dtensor"] = str(error)
    try:
        LearnedOptim(cut_model().parameters(), moving_theta("velo_like"), horizon=5)
    except ValueError as error:
        told["cut"] = str(error)
    dist.destroy_process_group()
print(json.dumps(told))
"""


OWN = ("steps", "missing", "skipped")
"""What ranks say that differs: whose data ended first, and who had no loss."""


def start(script, rank, port, names):
    return subprocess.Popen(
        [sys.executable, script, str(rank), str(port), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def told_by(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


def free_port():
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.parametrize(
    "names", [HARDEST[1::2], pytest.param(learned.names(), marks=pytest.mark.slow)]
)
def test_ranks_stay_equal_and_equal_to_one_process(
    names, tmp_path, monkeypatch, capsys
):
    names = [*names, "guarded velo_like"]
    script = tmp_path / "rank.py"
    script.write_text(PROGRAM)
    port = free_port()
    ranks = [start(script, rank, port, names) for rank in (0, 1)]
    first, second = map(told_by, ranks)
    own = [{key: said.pop(key, None) for key in OWN} for said in (first, second)]
    assert first == second  # bit for bit, refusals included
    # Of uneven data the first rank had half; the second left it out of its mean.
    assert [said["steps"] for said in own] == [2, 4]
    assert "needs the loss" in own[0]["missing"]
    assert [said["skipped"] for said in own] == [0, 1]
    monkeypatch.setattr(sys, "argv", [str(script), "0", "0", *names])
    num_threads = torch.get_num_threads()
    runpy.run_path(str(script))
    torch.set_num_threads(num_threads)
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])
    for name in [*names, "in parts"]:
        largest = max(map(abs, alone[name]))
        for a, b in zip(first[name], alone[name], strict=True):
            assert abs(a - b) <= 1e-5 * largest, name
    for refused in ("parts", "unrelated"):
        assert "the parameters of the processes differ" in first[refused]
        assert "DistributedDataParallel" in first[refused]
    assert "a DTensor (shape (4, 3))" in first["dtensor"]
    assert "'velo_like' would see this process's part alone" in first["cut"]
    assert (first["alone"], first["same"]) == ("accepted", "accepted")
