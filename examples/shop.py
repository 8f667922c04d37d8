# %% [markdown]
# # A shop, from CSV to candidates
#
# A shop has three files: who chose what, what it sells, and who its customers are. This notebook reads them, fits an
# engine, asks it for candidates, and saves it for a server. Run it with `python examples/shop.py`, or open it as a
# notebook.

# %%
from pathlib import Path
from tempfile import mkdtemp

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.datasets import generate

folder = Path(mkdtemp())

# %% [markdown]
# ## Three files
#
# Yours come from a warehouse. Here they are made up, with column names of their own.

# %%
log = generate(n_users=600, n_items=900, n_interactions=25_000)
log.interactions.rename({"user_id": "customer", "item_id": "sku", "timestamp": "at"}).write_csv(folder / "orders.csv")
log.items.drop("tags").rename({"item_id": "sku"}).write_csv(folder / "products.csv")
log.users.rename({"user_id": "customer"}).write_csv(folder / "customers.csv")

# %% [markdown]
# ## Read them
#
# `columns` says how the columns are called. Everything is checked cell by cell, and `kinds` says what each column was
# taken for, and why.

# %%
data = Dataset.load(
    folder / "orders.csv",
    items=folder / "products.csv",
    users=folder / "customers.csv",
    columns={"user_id": "customer", "item_id": "sku", "timestamp": "at"},
    event_weights={"view": 0.3},
)
print(data)
for column in data.kinds:
    print(f"{column.table}.{column.field}: {column.kind}, since {column.reason}")

# %% [markdown]
# ## Fit
#
# Paths that count are fitted in seconds. `popularity` by country serves customers whom nobody knows yet.

# %%
config = EngineConfig(
    paths=(
        PathConfig(retriever="item_cf", weight=2.0),
        PathConfig(retriever="user_cf"),
        PathConfig(retriever="sequence"),
        PathConfig(retriever="content", params={"fields": ["title", "category"]}),
        PathConfig(retriever="popularity", params={"segment": "country"}),
    )
)
engine = Engine(config).fit(data)
print(engine)

# %% [markdown]
# ## Ask
#
# For a customer, for a visitor with a basket, for words in the search box, for garden things that cost little.

# %%
for name, user, where in (
    ("a customer", "u00042", None),
    ("a visitor", User(history=["i000012", "i000080"], features={"country": "DE"}), None),
    ("a search", User(terms={"title": "denim sweater"}), None),
    ("little money", "u00042", {"category": "garden", "price": {"max": 20}}),
):
    found = engine.retrieve(user, k=5, where=where)
    titles = [data.items.values(data.items.ids.row(item))["title"] for item in found.ids]
    print(f"{name}: {'; '.join(titles)}")

# %% [markdown]
# ## Candidates of everybody, and a bundle for the server

# %%
customers = data.users.ids.ids()
rows = engine.write_candidates(customers.tolist(), folder / "candidates.parquet", k=100)
engine.save(folder / "bundle")
engine.close()
print(f"{rows:,} rows for {customers.size:,} customers; the server calls Engine.load({str(folder / 'bundle')!r})")
