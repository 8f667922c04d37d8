# %% [markdown]
# # Models that you already have, in one list
#
# Two models of implicit and the vectors of a third one become paths of one engine, from the files that hold them.
# Run it with `python examples/other_models.py`, or open it as a notebook. It needs implicit: `pip install implicit`.

# %%
import warnings
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from multirecall import Dataset, Engine
from multirecall.datasets import generate
from multirecall.evaluation import evaluate, time_split

warnings.filterwarnings("ignore", message="OpenBLAS is configured|Method expects CSR input")

from implicit.cpu.als import AlternatingLeastSquares  # noqa: E402
from implicit.nearest_neighbours import BM25Recommender  # noqa: E402

K = 50
folder = Path(mkdtemp())
log = generate(n_users=600, n_items=900, n_interactions=25_000)
split = time_split(Dataset.from_frames(log.interactions, items=log.items, users=log.users), 0.1)
train = split.train

# %% [markdown]
# ## The models, as their own jobs would fit and save them
#
# Rows and columns of the matrix are those of the data, so that no table has to name them.

# %%
events = train.interactions
matrix = csr_matrix((np.ones(len(events), np.float32), (events.users, events.items)), (train.n_users, train.n_items))
matrix.sum_duplicates()

als = AlternatingLeastSquares(factors=32, regularization=1.0, alpha=5.0, iterations=10, num_threads=1, random_state=1)
als.fit(matrix, show_progress=False)
als.save(str(folder / "als.npz"))

bm25 = BM25Recommender(K=100, B=0.5, num_threads=1)
bm25.fit(matrix, show_progress=False)
bm25.save(str(folder / "bm25.npz"))

_, strengths, items = svds(matrix.sqrt(), k=32, random_state=1)
vectors = (strengths[:, None] ** 0.5 * items).T.astype(np.float32)
pl.DataFrame({"item_id": train.items.ids.ids(), "vector": vectors.tolist()}).write_parquet(folder / "svd.parquet")

# %% [markdown]
# ## One configuration

# %%
file = folder / "others.toml"
file.write_text(f"""
[[paths]]
name = "als"
retriever = "implicit"
params = {{ model = "{folder}/als.npz", recalculate_user = true }}

[[paths]]
name = "bm25"
retriever = "implicit"
params = {{ model = "{folder}/bm25.npz" }}

[[paths]]
name = "svd"
retriever = "vectors"
params = {{ items = "{folder}/svd.parquet", space = "cosine" }}

[fusion]
strategy = "rrf"
""")
engine = Engine.from_toml(file).fit(train)

# %% [markdown]
# ## What each finds alone, and all together

# %%
report = evaluate(engine, split, (K,))
for name, figures in report.figures.items():
    print(f"{name:8}  recall@{K} {figures['recall'][0]:.4f}")

# %% [markdown]
# ## A bundle holds what the models have learnt
#
# It loads where the files are not, and where implicit is not installed.

# %%
engine.save(folder / "bundle")
for path in (folder / "als.npz", folder / "bm25.npz", folder / "svd.parquet"):
    path.unlink()
print(Engine.load(folder / "bundle").retrieve("u00042", k=5).ids)
