"""multirecall: the candidate-generation stage of a recommender, several recall paths fused into one list."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multirecall.config import EngineConfig, FallbackConfig, FusionConfig, PathConfig, SegmentConfig
    from multirecall.data import DataConfig, Dataset
    from multirecall.engine import Engine
    from multirecall.engine.health import Health
    from multirecall.errors import MultirecallError
    from multirecall.explanation import Explanation
    from multirecall.result import Candidate, CandidateBatch, Candidates, PathStatus
    from multirecall.user import User

__all__ = [
    "Candidate",
    "CandidateBatch",
    "Candidates",
    "DataConfig",
    "Dataset",
    "Engine",
    "EngineConfig",
    "Explanation",
    "FallbackConfig",
    "FusionConfig",
    "Health",
    "MultirecallError",
    "PathConfig",
    "PathStatus",
    "SegmentConfig",
    "User",
]

_HOMES = {
    "Candidate": "result",
    "CandidateBatch": "result",
    "Candidates": "result",
    "DataConfig": "data",
    "Dataset": "data",
    "Engine": "engine",
    "EngineConfig": "config",
    "Explanation": "explanation",
    "FallbackConfig": "config",
    "FusionConfig": "config",
    "Health": "engine.health",
    "MultirecallError": "errors",
    "PathConfig": "config",
    "PathStatus": "result",
    "SegmentConfig": "config",
    "User": "user",
}

try:
    __version__ = version("multirecall")
except PackageNotFoundError:
    __version__ = "0+unknown"

# In a source checkout the retrievers and fusions are sibling folders of this one.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "retrievers").is_dir():
    __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import multirecall` stays light (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'multirecall' has no attribute {name!r}")
    return getattr(import_module(f"multirecall.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
