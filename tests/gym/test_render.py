import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo

from opt_gym.gym.render import _BEST, _CURVE, _DEAD, HEIGHT, WIDTH, Picture, frame
from opt_gym.records import Normalizer
from tests.gym import problems

PICTURE = Picture(
    title="a task",
    losses=[100.0, 30.0, 10.0, 3.0, 1.0],
    horizon=10,
    normalizer=Normalizer(initial=100.0, best=0.1, source="table"),
    diverged=False,
)


def pixels(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """[row, column] of every pixel of a colour."""
    return np.argwhere((image == colour).all(axis=-1))


def test_a_frame_shows_the_curve_and_the_baseline() -> None:
    image = frame(PICTURE)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    curve = pixels(image, _CURVE)
    # Half the horizon is done, and the loss fell all the way.
    assert 0.5 * WIDTH < curve[:, 1].max() < 0.6 * WIDTH
    first, last = (
        curve[curve[:, 1] == x, 0].mean() for x in np.unique(curve[:, 1])[[0, -1]]
    )
    assert first < last
    assert pixels(image, _BEST)[:, 0].max() > last  # the baseline is below
    assert not len(pixels(image, _DEAD))
    assert len(pixels(frame(PICTURE._replace(diverged=True)), _DEAD))


def test_equal_factors_are_equal_heights() -> None:
    """The axis is logarithmic: 100 to 10 takes the height that 10 to 1 takes."""
    heights = [
        pixels(frame(PICTURE._replace(losses=[loss])), _CURVE)[:, 0].mean()
        for loss in (100.0, 10.0, 1.0)
    ]
    np.testing.assert_allclose(*np.diff(heights), atol=1.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": []},
        {"losses": [float("nan"), float("inf")]},
        {"losses": [2.0, -1.0, 0.0]},
        {"losses": [1e-30, 1e30]},
        {"losses": [5.0], "normalizer": Normalizer(1.0, 0.0, "provisional")},
        {"losses": [-3.0], "normalizer": Normalizer(-1.0, -4.0, "cache")},
        {"losses": [1.0] * 20, "horizon": 5},
    ],
)
def test_every_loss_can_be_drawn(changes) -> None:
    image = frame(PICTURE._replace(**changes))
    finite = np.isfinite(changes["losses"]).any()
    assert bool(len(pixels(image, _CURVE))) == finite


def test_a_long_curve_keeps_its_spikes() -> None:
    losses = np.full(100_000, 10.0)
    losses[50_000] = 90.0
    picture = PICTURE._replace(losses=losses.tolist(), horizon=100_000)
    top = pixels(frame(picture), _CURVE)[:, 0].min()
    level = pixels(frame(picture._replace(losses=[10.0])), _CURVE)[:, 0].mean()
    assert top < level - 50


def test_environments_render_and_videos_are_written(tmp_path) -> None:
    env = RecordVideo(
        problems.single(render_mode="rgb_array"),
        str(tmp_path / "videos"),
        episode_trigger=lambda episode: True,
        disable_logger=True,
    )
    env.reset(seed=0)
    empty = np.asarray(env.render())
    for _ in range(5):
        env.step(env.action_space.sample())
    assert not np.array_equal(empty, np.asarray(env.render()))
    env.close()
    (video,) = (tmp_path / "videos").glob("*.mp4")
    assert video.stat().st_size > 1000

    envs = problems.vector(2, render_mode="rgb_array", horizon=2)
    envs.reset(seed=0)
    actions = np.full((2, 3), 0.1, np.float32)
    actions[1] = np.nan
    envs.step(actions)
    frames = envs.render()
    assert frames is not None
    dead = [len(pixels(np.asarray(image), _DEAD)) > 0 for image in frames]
    assert dead == [False, True]


def test_rendering_needs_a_mode() -> None:
    with pytest.warns(UserWarning, match="render_mode"):
        assert problems.single(disable_env_checker=True).unwrapped.render() is None
    with pytest.warns(UserWarning, match="render_mode"):
        assert problems.vector(2).render() is None
    with pytest.raises(ValueError, match="render_mode"):
        gym.make_vec(problems.ID, num_envs=2, render_mode="ansi")
