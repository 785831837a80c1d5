"""The benchmark: slipway and its peers, on one machine, in one run. See docs/figures/bench.md."""
