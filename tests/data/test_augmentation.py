"""Augmentation: each part alone, and colours against colorsys."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.data import augmentation
from opt_gym.data.augmentation import Augmentation, augment

NOTHING = Augmentation(0, False, False, False, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    return jnp.asarray(rng.uniform(size=(64, 5, 6, 3)), jnp.float32)


def apply(images, **changes):
    chosen = NOTHING._replace(**changes)
    return jax.jit(lambda key, x: augment(key, x, chosen))(jax.random.key(0), images)


def test_nothing_chosen_changes_nothing(images):
    np.testing.assert_array_equal(apply(images), images)


def test_crops_are_windows_and_every_window_comes_up(images):
    cropped = apply(images, crop_amount=2)
    assert cropped.shape == (64, 3, 4, 3)
    places = set()
    for before, after in zip(np.asarray(images), np.asarray(cropped), strict=True):
        matches = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if np.array_equal(before[i : i + 3, j : j + 4], after)
        ]
        assert len(matches) == 1
        places.add(matches[0])
    assert len(places) == 9


@pytest.mark.parametrize(("name", "axis"), [("left_right", 1), ("up_down", 0)])
def test_about_half_is_flipped(images, name, axis):
    flipped = apply(images, **{f"flip_{name}": True})
    count = 0
    for before, after in zip(np.asarray(images), np.asarray(flipped), strict=True):
        same = np.array_equal(before, after)
        assert same or np.array_equal(np.flip(before, axis), after)
        count += not same
    assert 16 < count < 48


def test_brightness_adds_one_number_an_image(images):
    # Bright enough to stay positive: saturation is clipped where a channel is not.
    images = 0.3 + 0.7 * images
    added = np.asarray(apply(images, do_color_aug=True, brightness=0.2) - images)
    per_image = added.reshape(64, -1)
    np.testing.assert_allclose(per_image, per_image[:, :1].repeat(90, 1), atol=2e-6)
    assert np.abs(per_image).max() <= 0.2 + 1e-6
    assert np.std(per_image[:, 0]) == pytest.approx(0.2 / 3**0.5, rel=0.25)


def test_contrast_scales_about_each_channels_mean(images):
    after = np.asarray(apply(images, do_color_aug=True, contrast=0.5))
    before = np.asarray(images)
    np.testing.assert_allclose(after.mean((1, 2)), before.mean((1, 2)), atol=1e-6)
    ratio = after.std((1, 2)) / before.std((1, 2))
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(3, 1), rtol=1e-4)
    assert 0.5 <= ratio.min() < 0.7 < 1.3 < ratio.max() <= 1.5


@pytest.mark.parametrize(("name", "channel"), [("hue", 0), ("saturation", 1)])
def test_hue_and_saturation_leave_the_others_alone(images, name, channel):
    after = apply(images, do_color_aug=True, **{name: 0.3})
    before = augmentation.rgb_to_hsv(images)
    hsv = augmentation.rgb_to_hsv(after)
    for other in {0, 1, 2} - {channel}:
        turn = (hsv[..., other] - before[..., other] + 0.5) % 1.0 - 0.5
        # A hue is ill determined where there is little colour.
        clear = before[..., 1] > 0.05
        assert float(jnp.max(jnp.abs(jnp.where(clear, turn, 0.0)))) < 1e-4
    assert float(jnp.max(jnp.abs(hsv[..., channel] - before[..., channel]))) > 0.05
    assert float(hsv[..., 1].max()) <= 1.0 + 1e-6


def test_conversions_are_those_of_the_standard_library():
    rng = np.random.RandomState(1)
    rgb = rng.uniform(size=(100, 3)).astype(np.float32)
    rgb[:3] = [[0, 0, 0], [0.4, 0.4, 0.4], [1, 0, 0]]
    expected = [colorsys.rgb_to_hsv(*map(float, row)) for row in rgb]
    hsv = augmentation.rgb_to_hsv(jnp.asarray(rgb))
    np.testing.assert_allclose(hsv, expected, atol=1e-5)
    np.testing.assert_allclose(augmentation.hsv_to_rgb(hsv), rgb, atol=1e-5)


def test_grey_images_keep_their_colours():
    grey = jnp.linspace(0, 1, 16).reshape(1, 4, 4, 1)
    same = apply(grey, do_color_aug=True, brightness=0.2, contrast=0.5)
    np.testing.assert_array_equal(same, grey)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_amount": 5}, "crop_amount must be 0 ... 4, got 5"),
        ({"crop_amount": 1.5}, "crop_amount must be .* got 1.5"),
        ({"flip_up_down": 1}, "flip_up_down must be true or false, got 1"),
        ({"hue": 0.7}, r"hue must be in \[0, 0.5\], got 0.7"),
        ({"contrast": "much"}, "contrast must be .* got 'much'"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        augmentation.check("here", NOTHING._replace(**changes), (5, 6, 3))
