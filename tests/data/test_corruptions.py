"""Corruptions: what each does to an image, and which are held out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.data import corruptions
from opt_gym.data.corruptions import FUNCTIONS, SETS, Corruption, corrupt


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    return jnp.asarray(rng.uniform(0.2, 0.8, size=(16, 12, 10, 3)), jnp.float32)


def apply(name, images, strength):
    return np.asarray(FUNCTIONS[name](jax.random.key(0), images, strength))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_images_stay_images_and_more_strength_changes_more(images, name):
    strengths = {"blur": (0.3, 2.0)}.get(name, (0.1, 0.5))
    changes = []
    for strength in strengths:
        changed = apply(name, images, strength)
        assert changed.shape == images.shape
        assert changed.dtype == np.float32
        assert changed.min() >= 0
        assert changed.max() <= 1
        changes.append(np.mean((changed - images) ** 2))
    assert 0 < changes[0] < changes[1]


def test_gaussian_noise_has_its_deviation():
    grey = jnp.full((4, 64, 64, 1), 0.5)
    assert np.std(apply("gaussian", grey, 0.1)) == pytest.approx(0.1, rel=0.02)


def test_salt_and_pepper_take_their_share_of_pixels():
    grey = jnp.full((4, 64, 64, 3), 0.5)
    changed = apply("salt_and_pepper", grey, 0.2)
    assert np.mean(changed == 1) == pytest.approx(0.1, abs=0.01)
    assert np.mean(changed == 0) == pytest.approx(0.1, abs=0.01)
    # A pixel changes in all channels or in none.
    assert np.array_equal(changed[..., 0], changed[..., 2])


def test_blur_spreads_a_point_as_a_normal_density():
    point = jnp.zeros((1, 15, 15, 1)).at[0, 7, 7, 0].set(1.0)
    spread = apply("blur", point, 1.0)[0, :, :, 0]
    assert spread.sum() == pytest.approx(1.0, abs=1e-3)
    assert spread[7, 8] / spread[7, 7] == pytest.approx(np.exp(-0.5), rel=1e-4)
    flat = jnp.full((1, 15, 15, 1), 0.3)
    np.testing.assert_allclose(apply("blur", flat, 1.0), flat, rtol=1e-5)


def test_contrast_takes_its_share_of_the_deviation(images):
    changed = apply("contrast", images, 0.7)
    ratio = changed.std((1, 2, 3)) / np.asarray(images).std((1, 2, 3))
    np.testing.assert_allclose(ratio, 0.3, rtol=1e-4)


def test_occlusion_hides_one_rectangle_at_a_place_of_its_own(images):
    hidden = np.all(apply("occlusion", images, 0.5) == 0.5, axis=-1)
    assert set(hidden.sum((1, 2))) == {6 * 5}
    starts = {tuple(np.argwhere(mask)[0]) for mask in hidden}
    assert len(starts) > 8
    for mask in hidden:
        rows, columns = np.argwhere(mask).T
        assert np.ptp(rows) == 5
        assert np.ptp(columns) == 4


def test_what_is_held_out_is_not_trained_on():
    training, held_out = (set(SETS[name]) for name in ("training", "held_out"))
    assert not training & held_out
    assert not {c.name for c in training} & {"blur", "occlusion"}
    assert {c.name for c in training | held_out} == set(FUNCTIONS)
    for name in {c.name for c in training}:
        trained = max(c.strength for c in training if c.name == name)
        kept = min(c.strength for c in held_out if c.name == name)
        assert kept > trained


def test_every_corruption_of_a_set_is_drawn(images):
    chosen = (Corruption("contrast", 1.0), Corruption("gaussian", 0.05))
    draw = jax.jit(lambda key: corrupt(key, images, chosen))
    flat = [
        bool(np.ptp(draw(jax.random.key(seed)), axis=(1, 2, 3)).max() < 1e-5)
        for seed in range(16)
    ]
    assert 2 < sum(flat) < 14


def test_a_batch_follows_from_its_key(images):
    draw = jax.jit(lambda key: corrupt(key, images))
    same = [draw(jax.random.key(3)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], draw(jax.random.key(4)))


def test_errors_name_what_was_wrong(images):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="unknown set of corruptions: 'trainin'"):
        corrupt(key, images, "trainin")
    with pytest.raises(ValueError, match="unknown corruption: 'fog'"):
        corrupt(key, images, (Corruption("fog", 1.0),))
    with pytest.raises(ValueError, match=r"at least one, got \(\)"):
        corrupt(key, images, ())
    for name, strength in (("blur", 0.0), ("gaussian", -1.0), ("contrast", 1.5)):
        with pytest.raises(ValueError, match=f"the strength of '{name}' must be"):
            corrupt(key, images, (Corruption(name, strength),))
    assert corruptions.SETS.keys() == {"training", "held_out"}
