"""The store of a deployment, where other services write users' events and features, and items' metadata.

`StoreSettings` says which; `open_store` opens it. A `RedisStore` is a source of history for `Engine.use_history`.
"""

from multirecall.serving.store.redis import RedisStore, open_store
from multirecall.serving.store.settings import StoreSettings

__all__ = ["RedisStore", "StoreSettings", "open_store"]
