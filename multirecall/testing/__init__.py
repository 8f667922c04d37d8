"""Contract tests that every plug-in must pass. The tests of a plug-in inherit from them.

```python
from multirecall.testing import RetrieverContract

class TestMyRetriever(RetrieverContract):
    retriever = MyRetriever
    params = {"dim": 8}
```
"""

from multirecall.testing.fusion import FusionContract
from multirecall.testing.index import IndexContract
from multirecall.testing.retriever import RetrieverContract
from multirecall.testing.worlds import LiveShop, checkerboard, live_changes, small_shop

__all__ = [
    "FusionContract",
    "IndexContract",
    "LiveShop",
    "RetrieverContract",
    "checkerboard",
    "live_changes",
    "small_shop",
]
