"""The experiments of Luke Metz's talk on learned optimizers, scaled down to two cores.

Each is a script, `python -m examples.talk.NAME`, which trains and measures what is not there
yet and then writes its table and figure. `--out results/talk/NAME` makes both once more from
what is kept in the repository. The pages are in results/talk.
"""
