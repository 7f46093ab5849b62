"""What several processes and devices do, as far as one process can see it."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from torch.distributed.tensor import Partial, Replicate, Shard

import learned
from learned.torch import LearnedOptim, ranks, sharded
from tests.citizenship.subjects import EVERY_ARCHITECTURE, transformation
from tests.learned.problems import moving_theta


@pytest.fixture
def group_of_one(tmp_path):
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group(
        "gloo", init_method=store, rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def moved(**settings: Any) -> list[float]:
    params = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3))]
    theta = moving_theta("hierarchical")
    optimizer = LearnedOptim(params, theta, horizon=10, **settings)
    for _ in range(2):
        for param in params:
            param.grad = torch.cos(param.detach())
        optimizer.step(loss=torch.tensor(0.5), valid_loss=0.7)
    return [x for param in params for x in param.detach().ravel().tolist()]


def test_a_group_of_one_changes_nothing(group_of_one):
    world = torch.distributed.group.WORLD
    assert moved() == moved(process_group=world) == moved(process_group=False)


def test_an_architecture_that_reads_no_loss_averages_none(group_of_one, monkeypatch):
    monkeypatch.setattr(ranks, "means", None)
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LearnedOptim([param], moving_theta("nn_adam"))
    param.grad = torch.ones(3)
    optimizer.step(loss=1.0)
    assert optimizer.t == 1


def test_unequal_parameters_are_refused(group_of_one, monkeypatch):
    reduce = torch.distributed.all_reduce

    def with_another(tensor: Any, op: Any = None, group: Any = None) -> None:
        reduce(tensor, group=group)
        if op is torch.distributed.ReduceOp.MAX:
            tensor += 1.0

    monkeypatch.setattr(torch.distributed, "all_reduce", with_another)
    with pytest.raises(ValueError, match="the parameters of the processes differ"):
        moved()


def test_parameters_in_parts_are_refused_where_they_cannot_be_trained():
    part: Any = types.SimpleNamespace(device_mesh="a mesh", shape=(4, 3), data=None)
    with pytest.raises(
        ValueError, match=r"DTensor \(shape \(4, 3\)\) of which 'nn_adam'"
    ):
        sharded.check_parameter(part, learned.make("nn_adam"))
    general = learned.make("general")
    for places in ([Shard(0), Shard(1)], [Replicate()], [Partial()]):
        part.placements = places
        with pytest.raises(ValueError, match="along one axis of a mesh"):
            sharded.check_parameter(part, general)
    part.placements = [Replicate(), Shard(0)]
    sharded.check_parameter(part, general)
    hidden: Any = types.SimpleNamespace(shape=(4, 3), data=part)
    with pytest.raises(ValueError, match="is one in disguise"):
        sharded.check_parameter(hidden, general)


@EVERY_ARCHITECTURE
def test_shardings_of_a_state_on_two_devices(name):
    mesh = Mesh(np.array(jax.devices()[:2]), ("x",))
    cut = NamedSharding(mesh, PartitionSpec("x"))
    shapes = {"w": jax.ShapeDtypeStruct((8, 6), jnp.float32)}
    tx = optax.chain(optax.clip_by_global_norm(1.0), transformation(name))
    shardings = learned.state_sharding(tx, shapes, {"w": cut})
    placed: Any = jax.jit(tx.init, out_shardings=shardings)({"w": jnp.ones((8, 6))})
    for leaf in jax.tree.leaves(placed[1].tensors):
        own = leaf.shape[-2:] == (8, 6)
        known = [*leaf.sharding.spec, *[None] * leaf.ndim][: leaf.ndim]
        assert known == [*[None] * (leaf.ndim - 2), "x", None] or not own


def test_what_has_no_sharding_is_said():
    tx = transformation("nn_adam")
    with pytest.raises(ValueError, match="needs a NamedSharding, got no tensors"):
        learned.state_sharding(tx, {})
    with pytest.raises(ValueError, match="needs a NamedSharding, got SingleDevice"):
        learned.state_sharding(tx, {"w": jnp.ones(3)})


def test_what_optax_cannot_do_is_said():
    optimizer, theta = moving_theta("nn_adam")
    with pytest.raises(ValueError, match="horizon must be an integer >= 1, got 0"):
        learned.to_optax(optimizer, theta, horizon=0)
    with pytest.raises(ValueError, match="decay='cosine' needs horizon="):
        learned.to_optax(optimizer, theta, decay="cosine")
    tx: Any = learned.to_optax(optimizer, theta, roles=("kernel",))
    with pytest.raises(ValueError, match="roles must name 2 tensors"):
        tx.init({"a": jnp.ones(2), "b": jnp.ones(2)})
    state = tx.init({"a": jnp.ones((2, 2))})
    with pytest.raises(ValueError, match="a learned optimizer needs params"):
        tx.update({"a": jnp.ones((2, 2))}, state)
