"""TaskSet's update rules as plain loops in numpy: what ours must equal.

Written after the description of the original code, in float32 as it is there; `faithful`
keeps its faults.
"""

import math

import numpy as np

F = np.float32


def loop(rule, gradient, start, num_steps):
    """The weights after each step, [steps, d]. rule: (s, x, g) -> what x is lowered by."""
    x, found = np.asarray(start, F), []
    for s in range(num_steps):
        x = (x - rule(s, x, gradient(x))).astype(F)
        found.append(x)
    return np.array(found)


class Moments:
    """m, v and the products of the betas, after one more gradient."""

    def __init__(self, a1, a2):
        self.a1, self.a2 = F(a1), F(a2)
        self.m = self.v = F(0)
        self.p1 = self.p2 = F(1)

    def follow(self, g):
        self.m = self.m + (g - self.m) * self.a1
        self.v = self.v + (g * g - self.v) * self.a2
        self.p1 = self.p1 * (F(1) - self.a1)
        self.p2 = self.p2 * (F(1) - self.a2)


def tf_adam(theta):
    moments = Moments(theta["one_minus_b1"], theta["one_minus_b2"])

    def rule(s, x, g):
        moments.follow(g)
        rate = F(theta["learning_rate"]) * np.sqrt(1 - moments.p2) / (1 - moments.p1)
        return rate * moments.m / (np.sqrt(moments.v) + F(theta["epsilon"]))

    return rule


def adam8p(theta, num_steps, faithful):
    moments = Moments(theta["one_minus_b1"], theta["one_minus_b2"])

    def rule(s, x, g):
        moments.follow(g + F(2 * theta["l2"]) * x + F(theta["l1"]) * np.sign(x))
        m, v = moments.m / (1 - moments.p1), moments.v / (1 - moments.p2)
        s = s if faithful else s * 10_000 / num_steps
        rate = theta["learning_rate"] * max(1 - theta["linear_decay"] * s, 0)
        rate = rate * math.exp(-theta["exponential_decay"] * s)
        return F(rate) * m / (np.sqrt(v + F(1e-10)) + F(theta["epsilon"]))

    return rule


def nadamw(theta, num_steps, faithful):
    moments = Moments(theta["one_minus_b1"], theta["one_minus_b2"])
    b1 = 1 - moments.a1
    high = theta["learning_rate"]
    low = high * theta["min_learning_rate_mult"]
    constant = theta["constant_fraction"] * num_steps
    ends = (min if faithful else max)(
        theta["warmup_fraction"], theta["constant_fraction"]
    )

    def rate_of(s):
        if theta["warmup_fraction"] > 0 and s < ends * num_steps:
            return high * s / (ends * num_steps)
        angle = math.pi * (max(s, constant) - constant) / (num_steps - constant)
        return (high - low) * (math.cos(angle) / 2 + 0.5) + low

    def rule(s, x, g):
        l2 = F(theta["l2_weight_decay"]) * x
        g = g - l2 if faithful else g + l2
        moments.follow(g)
        rate = F(rate_of(s)) * np.sqrt(1 - moments.p2) / (1 - moments.p1)
        m = moments.m
        if theta["use_nesterov"] and not faithful:
            m = b1 * m + moments.a1 * g
        step = m / (np.sqrt(moments.v) + F(theta["epsilon"]))
        return rate * step + rate * F(theta["adamw_weight_decay"]) * x

    return rule


def adagrad(theta):
    total = [F(theta["initial_accumulator_value"])]

    def rule(s, x, g):
        total[0] = total[0] + g * g
        return F(theta["learning_rate"]) * g / np.sqrt(total[0])

    return rule
