"""Four models as people have them, each trained with `general` and with AdamW.

    python -m examples.at_work.characters      # a character transformer, PyTorch
    python -m examples.at_work.images          # an image classifier, Flax NNX
    python -m examples.at_work.adapters        # a language model with LoRA, Hugging Face peft
    python -m examples.at_work.physics         # a physics-informed net, JAX

Each is a model, its data, and `compare_on`: AdamW with weight decay and a cosine at three rates
beside the bundled θ, three runs each, under ten minutes on two cores. What came is in
results/at_work.md.
"""
