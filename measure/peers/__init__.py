"""The benchmark: this template beside its peers, on one machine, in one run; see docs/bench.md."""
