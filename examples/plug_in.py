# %% [markdown]
# # A plug-in in 40 lines
#
# A retriever of your own is one class with four methods. This one proposes what was chosen together with the newest
# item of the history, in the same hour. Run it with `python examples/plug_in.py`, or open it as a notebook.

# %%
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.errors import CannotFit
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.topk import top_eligible
from multirecall.validation import Positive


# %%
class SameHourConfig(PluginConfig):
    """Settings of `SameHour`."""

    hours: Positive = 1.0
    """Length of the window. Changes results."""


class SameHour(Retriever):
    """Proposes what was chosen together with the newest item, by the same user within a window of time."""

    Config = SameHourConfig
    inline = True  # bounded CPU work that never waits: may run on the caller's thread
    filters = True  # applies query.exclude and query.allowed itself
    together: csr_array

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count pairs of items within the windows of a user."""
        log = data.interactions
        if log.times is None:
            raise CannotFit("same_hour: the log has no timestamps; add them, or leave the path out")
        windows = log.users.astype(np.int64) << 32 | (log.times // int(3600 * self.config.hours))
        _, window = np.unique(windows, return_inverse=True)
        baskets = csr_array(
            (np.ones(len(window), np.float32), (window, log.items)), shape=(window.max() + 1, data.n_items)
        )
        self.together = csr_array(baskets.T @ baskets)
        self.together.setdiag(0)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """The neighbours of the newest item, best first."""
        if not query.history.size:
            return RankedList.empty()
        row = self.together[[query.history[-1]]]
        return RankedList(*top_eligible(row.indices.astype(np.int32), row.data, quota, *query.filter))

    def save(self, folder: Path) -> None:
        """Write the counts."""
        one = self.together
        write_component(folder, {"data": one.data, "indices": one.indices, "indptr": one.indptr}, {})

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """Read the counts."""
        path, arrays = cls(config), read_component(folder)[0]
        path.together = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]))
        return path


# %% [markdown]
# ## Use it
#
# The class itself is enough, without packaging. `Engine.load` wants it named again, since a bundle never chooses what
# code runs.

# %%
log = generate(n_users=600, n_items=900, n_interactions=25_000)
data = Dataset.from_frames(log.interactions, items=log.items, users=log.users)
config = EngineConfig.model_validate(
    {"paths": [{"retriever": SameHour, "params": {"hours": 2}}, {"retriever": "item_cf"}]}
)
folder = Path(mkdtemp()) / "bundle"
with Engine(config).fit(data) as engine:
    for candidate in engine.retrieve("u00042", k=5):
        print(candidate.item_id, candidate.provenance)
    engine.save(folder)

with Engine.load(folder, plugins=[SameHour]) as engine:
    print(engine.paths, engine.retrieve("u00042", k=3).ids)

# %% [markdown]
# ## Test it
#
# Every built-in passes the same contract tests; inherit them in a test file of yours:
#
# ```python
# from multirecall.testing import RetrieverContract
#
# class TestSameHour(RetrieverContract):
#     retriever = SameHour
# ```
