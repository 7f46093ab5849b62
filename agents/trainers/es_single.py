"""One perturbation for a whole inner problem, however many windows it is cut into.

    ĝ = mean_i (E[T]/T_i) · z_i · mean_K(ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ)

with z_i drawn when slot i begins an episode: the windows of an episode add up to the gradient
that `es` takes from it, without waiting for its end. Unbiased for a smoothed outer-loss, and
its variance does not grow with the number of windows, as that of `pes` does. Also known as
noise-reuse evolution strategies.
"""

from agents.estimators.evolution import evolution_spec, persistent_pairs

estimator = persistent_pairs(noise_lasts="episode")

SPEC = evolution_spec(
    "es_single",
    estimator,
    source="Vicol 2023, arXiv:2304.11153 (ES-Single); Li et al. 2023, arXiv:2304.12180 (NRES)",
)
