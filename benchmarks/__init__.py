"""Every figure of the speed table: `python -m benchmarks` lists, `... NAME --json` runs."""
