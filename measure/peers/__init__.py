"""The benchmark: this template and its peers, on one machine; see docs/figures/bench.md."""
