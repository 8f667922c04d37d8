"""Generated data sets, for demos, tests and benchmarks."""

from multirecall.datasets.generator import Log, generate

__all__ = ["Log", "generate"]
