"""Contract tests that every plug-in must pass; a plug-in's own tests inherit them.

```python
from multirecall.testing import RetrieverContract

class TestMyRetriever(RetrieverContract):
    retriever = MyRetriever
    params = {"dim": 8}
```
"""

from multirecall.testing.fusion import FusionContract
from multirecall.testing.retriever import RetrieverContract
from multirecall.testing.worlds import LiveShop, checkerboard, live_changes, small_shop

__all__ = ["FusionContract", "LiveShop", "RetrieverContract", "checkerboard", "live_changes", "small_shop"]
