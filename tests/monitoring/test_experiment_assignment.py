"""Assignment to arms: uniform, independent, the same everywhere; and arms as an engine of their config answers."""

from __future__ import annotations

import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from multirecall import Engine, EngineConfig, User
from multirecall.errors import ConfigError
from multirecall.monitoring.experiments import (
    Assignment,
    ExperimentSettings,
    check_experiments,
    read_experiments,
    use_experiment,
)
from multirecall.monitoring.experiments.assignment import arms_in
from multirecall.testing import small_shop

PATHS = ("item_cf", "user_cf", "content", "popularity")


def experiment(name: str = "fusion-test", **given: Any) -> ExperimentSettings:
    """Two arms with half of the users each."""
    halves = [{"name": "old", "share": 0.5}, {"name": "new", "share": 0.5, "weights": {"item_cf": 3.0}}]
    return ExperimentSettings.model_validate({"name": name, "arms": halves, **given})


def quota_experiment(name: str = "quota-test", **given: Any) -> ExperimentSettings:
    arms = [{"name": "all", "share": 0.5}, {"name": "few", "share": 0.5, "quotas": {"content": 3}}]
    return experiment(name, arms=arms, **given)


def arms_of(experiments: Any, users: range = range(20_000)) -> list[str | None]:
    assignment = Assignment(check_experiments(experiments))
    return [assignment.choose(user, {}, "") for user in users]


def engine(**changed: Any) -> Engine:
    paths = [{"retriever": name} for name in PATHS]
    config = {"k": 12, "paths": paths, "fusion": {"strategy": "rrf"}, **changed}
    return Engine(EngineConfig.model_validate(config)).fit(small_shop())


def test_uneven_shares_get_the_users_that_they_say() -> None:
    arms = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.2}, {"name": "c", "share": 0.05}]
    found = arms_of(experiment(arms=arms))
    counts = [found.count(name) for name in ("fusion-test:a", "fusion-test:b", "fusion-test:c", None)]
    assert sum(counts) == 20_000
    assert chisquare(counts, [10_000, 4_000, 1_000, 5_000]).pvalue > 0.01


def test_salts_and_layers_draw_independently() -> None:
    first, second, salted = experiment(), quota_experiment(), experiment(salt="another")
    together = arms_of([first, second])
    assert set(together) == {f"fusion-test:{a},quota-test:{b}" for a in ("old", "new") for b in ("all", "few")}
    for others in ([dict(arms_in(str(one)))["quota-test"] for one in together], arms_of(salted)):
        table = np.zeros((2, 2))
        for one, other in zip(arms_of(first), others, strict=True):
            table[one == "fusion-test:old", other in ("all", "fusion-test:old")] += 1
        assert chi2_contingency(table).pvalue > 0.01


def test_experiments_of_one_layer_exclude_each_other() -> None:
    first = experiment(layer="ranking", range=(0.0, 0.3))
    second = experiment("second", layer="ranking", range=(0.3, 0.5))
    found = arms_of([first, second])
    counts = [sum(str(one).startswith(name) for one in found) for name in ("fusion-test:", "second:", "None")]
    assert sum(counts) == 20_000
    assert chisquare(counts, [6_000, 4_000, 10_000]).pvalue > 0.01


def test_another_process_assigns_alike() -> None:
    """Hashes of Python differ between processes; these do not."""
    program = (
        "from multirecall.monitoring.experiments import *; "
        "arms = [dict(name='old', share=0.5), dict(name='new', share=0.5)]; "
        "one = Assignment([ExperimentSettings.model_validate(dict(name='fusion-test', arms=arms))]); "
        "print(','.join(one.choose(user, {}, '') for user in range(200)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip().split(",") == arms_of(experiment(), range(200))


def test_the_hash_is_what_the_docs_say() -> None:
    """A change of it would move the users of running experiments."""
    for user, arm in enumerate(arms_of(experiment(), range(100))):
        text = f'["fusion-test", "user {user}"]'.encode()
        number = int.from_bytes(blake2b(text, digest_size=24, person=b"experiment").digest()[:8], "big")
        assert arm == ("fusion-test:old" if number < 2**63 else "fusion-test:new")


def test_an_id_is_one_user_whatever_its_type() -> None:
    assignment = Assignment([experiment()])
    for number in range(50):
        alike: list[Any] = [number, str(number), np.int32(number), User(id=number)]
        same = {assignment.choose(one, {}, "x") for one in alike}
        assert len(same) == 1


def test_visitors_go_by_the_key_of_the_context_or_by_request() -> None:
    by_key, by_request = Assignment([experiment(visitors="session")]), Assignment([experiment()])
    for number in range(20):
        context = {"session": number}
        assert len({by_key.choose(User(), context, f"{number}-{one}") for one in range(20)}) == 1
    assert len({by_request.choose(User(), {"session": 1}, str(one)) for one in range(20)}) == 2
    assert len({by_key.choose(User(), {}, str(one)) for one in range(20)}) == 2
    assert len({by_key.choose(User(), {"session": one}, "same") for one in range(20)}) == 2


def test_arms_answer_as_an_engine_of_their_config() -> None:
    arms = [
        {"name": "control", "share": 0.4},
        {"name": "heavy", "share": 0.3, "weights": {"item_cf": 5.0}, "quotas": {"content": 4}},
        {"name": "narrow", "share": 0.3, "paths": ["item_cf", "popularity"], "fusion": {"strategy": "cascade"}},
    ]
    segments = [{"max_history": 3, "weights": {"user_cf": 2.0}}]
    own = engine(segments=segments)
    use_experiment(own, experiment(arms=arms))
    path = [{"retriever": name, **({"weight": 5.0} if name == "item_cf" else {})} for name in PATHS]
    path[2]["quota"] = 4
    heavy_segment = [{"max_history": 3, "weights": {"user_cf": 2.0, "item_cf": 5.0}}]
    narrow = [{"retriever": name, "enabled": name in ("item_cf", "popularity")} for name in PATHS]
    fusion = {"strategy": "cascade"}
    oracles = {
        "fusion-test:control": engine(segments=segments),
        "fusion-test:heavy": engine(paths=path, segments=heavy_segment),
        "fusion-test:narrow": engine(
            paths=narrow, fusion=fusion, segments=[{"max_history": 3, "weights": {"user_cf": 2.0}, "fusion": fusion}]
        ),
    }
    met = set()
    for user in range(1, 40):
        answer = own.retrieve(user)
        assert answer.variant is not None
        met.add(answer.variant)
        assert answer.ids.tolist() == oracles[answer.variant].retrieve(user).ids.tolist(), (user, answer.variant)
    assert met == set(oracles)


def test_an_interleaved_arm_mixes_its_two_sides() -> None:
    arms = [
        {"name": "old", "share": 0.0},
        {"name": "new", "share": 0.0, "fusion": {"strategy": "cascade"}},
        {"name": "both", "share": 1.0, "interleaves": ["old", "new"]},
    ]
    own = engine()
    use_experiment(own, experiment(arms=arms))
    answer = own.retrieve(1)
    assert answer.variant == "fusion-test:both"
    assert answer.draw is not None
    assert set(answer.draw.team.tolist()) == {0, 1}


def test_arms_follow_what_another_fit_learns() -> None:
    own = engine(fusion={"strategy": "auto"})
    use_experiment(own, experiment(arms=[{"name": "control", "share": 1.0}]))
    before = own.fusion_report()
    assert own.retrieve(1).variant == "fusion-test:control"
    own.refresh().result(60)
    assert own.fusion_report() is not before
    own.retrieve(1)
    with_arm = own.retrieve(1)
    use_experiment(own, None)
    assert with_arm.variant == "fusion-test:control"
    assert own.retrieve(1).variant is None
    assert with_arm.ids.tolist() == own.retrieve(1).ids.tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weights": {"item_fc": 2.0}}, "arm 'new': weights: no path is named 'item_fc'; did you mean 'item_cf'?"),
        ({"paths": ["nothing"]}, "arm 'new': paths: no path is named 'nothing'"),
        ({"fusion": {"strategy": "rrf", "params": {"konstant": 3}}}, "konstant"),
    ],
)
def test_an_arm_that_does_not_go_with_the_engine_is_refused(given: dict[str, Any], said: str) -> None:
    arms = [{"name": "old", "share": 0.5}, {"name": "new", "share": 0.5, **given}]
    with pytest.raises(ConfigError, match=said):
        use_experiment(engine(), experiment(arms=arms))


OLD = {"name": "old", "share": 0.5}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ([{"name": "x", "arms": [OLD, OLD]}], "two are named 'old'"),
        ([{"name": "x", "arms": [OLD, {"name": "b", "share": 0.6}]}], "sum to 1.1"),
        ([{"name": "x", "arms": [OLD, {"name": "b", "share": 0.5, "interleaves": ["old", "odl"]}]}], "named 'odl'"),
        ([{"name": "x", "arms": [OLD], "control": "odl"}], "did you mean 'old'"),
        ([{"name": "x", "arms": [OLD], "range": [0.2, 0.4]}], "name the layer"),
        ([{"name": "x", "arms": [{**OLD, "fusion": {"strategy": "auto"}}]}], "'auto' is learned by a fit"),
        ([{"name": "x", "arms": [OLD]}, {"name": "x", "arms": [OLD]}], "have the name 'x'"),
        ([{"name": "x", "arms": [OLD]}, {"name": "y", "salt": "x", "arms": [OLD]}], "have the salt 'x'"),
        (
            [{"name": name, "arms": [{**OLD, "weights": {"item_cf": 2.0}}]} for name in "xy"],
            "both change the weights of 'item_cf'; put both in one layer",
        ),
        (
            [{"name": name, "arms": [OLD], "layer": "l", "range": [0.0, 0.6]} for name in "xy"],
            "overlap; make them disjoint",
        ),
        ([{"name": name, "arms": [OLD]} for name in "abcdefg"], "combine to 127 variants, more than 64"),
        ([{"name": "x", "arms": [OLD], "shares": 3}], "unknown key 'shares'"),
    ],
)
def test_experiments_that_do_not_go_together_are_refused(tables: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_experiments(tables)  # type: ignore[arg-type]


def test_settings_are_read_from_a_file_with_other_tables(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    arms = '[[experiment.arms]]\nname = "a"\nshare = 1\n'
    file.write_text(f'port = 80\n[experiment]\nname = "x"\n{arms}[limits]\nk = 3\n')
    (found,) = read_experiments(file)
    assert (found.name, found.compared_with, found.arms[0].share) == ("x", "a", 1.0)
    file.write_text(f'[[experiment]]\nname = "x"\n{arms}[[experiment]]\nname = "y"\n{arms}')
    assert [one.name for one in read_experiments(file)] == ["x", "y"]
    file.write_text("port = 80\n")
    with pytest.raises(ConfigError, match=r"has no table \[experiment\]"):
        read_experiments(file)
