"""Evolution strategies on truncated unrolls: short-sighted, cheap, and biased.

    ĝ = mean_i (E[T]/T_i) · z_i · mean_K(ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ),   z_i ~ N(0, I)

Every window draws new perturbations, and both halves begin it from one state, so that only
what a perturbation does within K steps is seen: a learning rate that is too small for the
whole unroll looks right.

differs: both halves go on from where the positive one is, as in google/learned_optimization;
the paper's figure has an unperturbed unroll beside, which costs a third more.
"""

from agents.estimators.evolution import evolution_spec, persistent_pairs

estimator = persistent_pairs(merge=True)

SPEC = evolution_spec(
    "truncated_es",
    estimator,
    source="Metz et al. 2019, arXiv:1810.10180; google/learned_optimization, truncated_es.py",
)
