"""A frame: the loss so far on a log axis, beside the best baseline."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from opt_gym.records import Normalizer

WIDTH, HEIGHT = 480, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 40
_PAPER, _INK, _GRID = (255, 255, 255), (60, 60, 60), (228, 228, 228)
_CURVE, _BEST, _INITIAL, _DEAD = (
    (31, 84, 168),
    (22, 128, 60),
    (150, 150, 150),
    (190, 30, 30),
)


class Picture(NamedTuple):
    """What a frame shows.

    Attributes:
        title: the name of the task.
        losses: one an inner step so far, what is not finite included.
        horizon: the right end of the axis.
        normalizer: its `initial` and `best` are drawn as lines.
        diverged: whether the episode ended so.
    """

    title: str
    losses: Sequence[float]
    horizon: int
    normalizer: Normalizer
    diverged: bool


class _Axis(NamedTuple):
    low: float
    high: float
    is_log: bool

    def place(self, value: float) -> float:
        """The height of a value, 0 at the lower and 1 at the upper end."""
        if self.is_log:
            value = math.log10(value) if value > 0 else -math.inf
        share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self) -> list[float]:
        if not self.is_log:
            return list(np.linspace(self.low, self.high, 5))
        powers = range(math.ceil(self.low), math.floor(self.high) + 1)
        every = max(1, math.ceil(len(powers) / 6))
        return [10.0**power for power in powers if power % every == 0]


def frame(picture: Picture) -> UInt8[np.ndarray, "320 480 3"]:
    """One frame, drawn with Pillow.

    The axis is logarithmic where all losses so far are positive, else linear. A best
    baseline that a log axis cannot show (provisionally it is the lower bound 0) is
    written down instead.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)
    losses = np.asarray(picture.losses, np.float64)
    axis = _axis(losses, picture.normalizer)
    _draw_grid(draw, axis, picture.horizon)
    _draw_curve(draw, axis, losses, picture.horizon)
    _draw_lines(draw, axis, picture.normalizer)
    _draw_words(draw, picture, losses)
    return np.array(image)


def _axis(losses: np.ndarray, normalizer: Normalizer) -> _Axis:
    finite = losses[np.isfinite(losses)]
    is_log = bool(np.all(finite > 0)) and normalizer.initial > 0
    marks = [normalizer.initial]
    if not is_log or normalizer.best > 0:
        marks.append(normalizer.best)
    low = min([*marks, *finite[:1], finite.min(initial=math.inf)])
    high = max([*marks, finite.max(initial=-math.inf)])
    if is_log:
        low, high = math.log10(low), math.log10(high)
    margin = 0.05 * (high - low) or 0.5
    return _Axis(low - margin, high + margin, is_log)


def _draw_grid(draw: ImageDraw.ImageDraw, axis: _Axis, horizon: int) -> None:
    font = _font(11)
    for value in axis.ticks():
        y = _y(axis, value)
        draw.line([(_LEFT, y), (WIDTH - _RIGHT, y)], fill=_GRID)
        draw.text((_LEFT - 6, y), f"{value:.3g}", fill=_INK, font=font, anchor="rm")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + share * (WIDTH - _LEFT - _RIGHT)
        draw.line([(x, _TOP), (x, HEIGHT - _BOTTOM)], fill=_GRID)
        where = (x, HEIGHT - _BOTTOM + 6)
        draw.text(where, f"{share * horizon:g}", fill=_INK, font=font, anchor="ma")
    where = ((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4)
    draw.text(where, "inner step", fill=_INK, font=font, anchor="md")


def _draw_lines(draw: ImageDraw.ImageDraw, axis: _Axis, normalizer: Normalizer) -> None:
    best = "best baseline" if normalizer.source != "provisional" else "lower bound"
    lines = [("initial", normalizer.initial, _INITIAL), (best, normalizer.best, _BEST)]
    for name, value, colour in lines:
        shown = not axis.is_log or value > 0
        y = _y(axis, value) if shown else HEIGHT - _BOTTOM
        text = f"{name} {value:.3g}" + ("" if shown else " (below the axis)")
        if shown:
            for x in range(_LEFT, WIDTH - _RIGHT, 10):
                draw.line([(x, y), (x + 5, y)], fill=colour)
        where = (WIDTH - _RIGHT - 4, y - 2)
        draw.rectangle(
            draw.textbbox(where, text, font=_font(11), anchor="rd"), fill=_PAPER
        )
        draw.text(where, text, fill=colour, font=_font(11), anchor="rd")


def _draw_curve(
    draw: ImageDraw.ImageDraw, axis: _Axis, losses: np.ndarray, horizon: int
) -> None:
    width = WIDTH - _LEFT - _RIGHT
    steps = np.arange(1, len(losses) + 1)
    shown = np.isfinite(losses)
    steps, losses = steps[shown], losses[shown]
    if len(losses) > 2 * width:
        # Two points a pixel suffice: the smallest and the largest of its losses.
        edges = np.linspace(0, len(losses), width, endpoint=False).astype(int)
        low = np.minimum.reduceat(losses, edges)
        high = np.maximum.reduceat(losses, edges)
        steps = np.repeat(steps[edges], 2)
        losses = np.stack([low, high], axis=1).ravel()
    points = [
        (_LEFT + width * min(step / horizon, 1.0), _y(axis, loss))
        for step, loss in zip(steps.tolist(), losses.tolist(), strict=True)
    ]
    if len(points) > 1:
        draw.line(points, fill=_CURVE, width=2)
    for x, y in points[-1:]:
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_CURVE)


def _draw_words(
    draw: ImageDraw.ImageDraw, picture: Picture, losses: np.ndarray
) -> None:
    step = f"step {len(losses)} of {picture.horizon}"
    draw.text((_LEFT, 12), picture.title, fill=_INK, font=_font(14), anchor="lt")
    words, colour = step, _INK
    if picture.diverged:
        words, colour = f"{step}   diverged", _DEAD
    elif len(losses):
        words = f"{step}   loss {losses[-1]:.4g}"
    where = (WIDTH - _RIGHT, 14)
    draw.text(where, words, fill=colour, font=_font(12), anchor="rt")


def _y(axis: _Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.place(value) * (HEIGHT - _BOTTOM - _TOP)


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
