# %% [markdown]
# # Which path is worth its time?
#
# Every path costs milliseconds in each request. This notebook holds the newest events out, asks what each path finds
# that no other does, and lets the tuner decide. Run it with `python examples/which_path.py`, or open it as a notebook.

# %%
from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.evaluation import evaluate, path_values, retrieve_lists, time_split
from multirecall.tuning import TuningConfig, config_text, statement, tune

K = 50
log = generate(n_users=600, n_items=900, n_interactions=25_000)
data = Dataset.from_frames(log.interactions, items=log.items, users=log.users)
split = time_split(data, 0.1)
print(split.name)

# %% [markdown]
# ## How good is each path, and the fused list?

# %%
names = ("item_cf", "user_cf", "sequence", "content", "popularity")
config = EngineConfig(paths=tuple(PathConfig(retriever=name) for name in names))
engine = Engine(config).fit(split.train)
report = evaluate(engine, split, (K,))
for name, figures in report.figures.items():
    low, high = report.intervals[name]["recall"][0]
    print(f"{name:10}  recall@{K} {figures['recall'][0]:.3f} [{low:.3f}, {high:.3f}]")

# %% [markdown]
# ## What would be lost without it?
#
# A path may be weak alone and still find what no other finds. `loss` is what the fused list loses without it, and
# `shapley` its share of the whole.

# %%
values = path_values(engine, retrieve_lists(engine, split, K), K)
for name, one in values.paths.items():
    found = f"only it finds {one.unique_hits:4}, loss {one.loss.mean:+.4f}, share {one.shapley:.3f}"
    print(f"{name:10}  {found}, {one.ms:.2f} ms")

# %% [markdown]
# ## Let the tuner decide
#
# It learns paths and fusion on one slice, and keeps only what holds up on a second one.

# %%
tuned = tune(split.train, config, TuningConfig(k=K))
print("\n".join(statement(tuned)))
print(config_text(tuned))

# %% [markdown]
# ## Does it hold on the events that nobody has seen?

# %%
better = evaluate(Engine(tuned.config).fit(split.train), split, (K,))
before, after = (one.figures["fused"]["recall"][0] for one in (report, better))
print(f"fused recall@{K}: {before:.4f} with all paths, {after:.4f} tuned")
