"""Who may import whom, read from the source; and that importing the package stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from foreign import adapter_params

from multirecall import Engine, EngineConfig, PathConfig
from multirecall.extras import EXTRAS
from multirecall.testing import small_shop

ROOT = Path(__file__).resolve().parents[2]

LAYERS: list[set[str]] = [
    {
        *("errors", "kernel_cache", "kernels", "validation", "vocabulary", "csr", "topk", "selection"),
        *(
            "rowtable",
            "lists",
            "result",
            "query",
            "query_batch",
            "user",
            "display",
            "output",
            "numpy_files",
            "explanation",
            "sums",
            "settings",
            "blocks",
            "cores",
            "extras",
            "freed_memory",
            "large_pages",
            "deployment",
            "deprecation",
            "candidate_features",
            "candidate_frames",
            "chance",
            "draw",
            "metrics",
        ),
    },
    {"data", "online", "storage", "progress", "protocols", "plugins", "vector_index"},
    {"registry", "config"},
    {"learning"},
    {"engine"},
    {"evaluation", "tuning", "datasets", "monitoring", "serving", "scaleout", "cli", "__main__"},
]
ORDER = {name: number for number, layer in enumerate(LAYERS) for name in layer}
PLUGIN_MAY = LAYERS[0] | LAYERS[1]
FUSION_MAY = {"lists", "csr", "topk", "rowtable", "kernels", "protocols", "errors", "validation"}
RESTRICTED = {
    "polars": {
        *("data", "engine", "evaluation", "datasets", "monitoring"),
        *("cli", "serving", "scaleout", "testing", "retrievers"),
    },
    "torch": {"retrievers", "scaleout"},
    "annoy": {"retrievers"},
    "faiss": {"retrievers"},
    "hnswlib": {"retrievers"},
    "httpcore": {"retrievers"},
    "onnxruntime": {"retrievers"},
    "usearch": {"retrievers"},
    "fastapi": {"serving"},
    "orjson": {"serving"},
    "starlette": {"serving"},
    "uvicorn": {"serving"},
    "networkx": {"retrievers"},
    "typer": {"cli"},
    "rich": {"cli", "progress"},
    "matplotlib": {"evaluation", "monitoring"},
    "jinja2": {"evaluation", "monitoring", "serving"},
    "threadpoolctl": {"cores"},
    "filelock": {"engine", "monitoring", "serving", "scaleout"},
    "sklearn": {"evaluation"},
    "prometheus_client": {"serving"},
    "ray": {"scaleout"},
    "redis": {"serving"},
    "tomli_w": {"learning", "tuning"},
    "pickle": set(),
}
WINGS: list[set[str]] = [
    {"helpers", "_sparse"},
    {"_graph", "_index", "_text"},
    {"_neighbours", "_towers", "adapters"},
    {"plug-ins"},
]
FLOOR = {name: number for number, wing in enumerate(WINGS) for name in wing}
EXCEPTIONS = {
    ("result", "polars"): "to_polars imports it when it is called",
    ("candidate_frames", "polars"): "likewise",
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every source file with the name of the part that it belongs to."""
    for file in sorted((ROOT / "multirecall").rglob("*.py")):
        yield file.relative_to(ROOT / "multirecall").parts[0].removesuffix(".py"), file
    for folder in ("retrievers", "fusion"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield folder, file


def names_from(node: ast.ImportFrom, file: Path) -> set[str]:
    """The absolute names of the modules of a `from … import`; a name that is no module stands for its module."""
    package = (module_of(file) + (".x" if file.name == "__init__.py" else "")).split(".")
    base = ".".join([*package[: -node.level or None], *([node.module] if node.module else [])] if node.level else [])
    base = base or str(node.module)
    return {name if (name := f"{base}.{alias.name}") in MODULES else base for alias in node.names}


@cache
def imports(file: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever in it, except for type checking."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(file.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= names_from(node, file)
        nodes.extend(ast.iter_child_nodes(node))
    return found


def module_of(file: Path) -> str:
    """The absolute name of a source file's module."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "multirecall" else ("multirecall", *parts)).removesuffix(".__init__")


def wing_of(module: str) -> str:
    """The wing of `retrievers/` that a module belongs to; a private file outside of folders is a helper."""
    _, _, first, *rest = module.split(".")
    return first if rest else "helpers" if first.startswith("_") else "plug-ins"


def ours(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if name.startswith("multirecall.")}


MODULES = {module_of(file): file for _, file in modules()}
FILES = [pytest.param(part, file, id=str(file.relative_to(ROOT))) for part, file in modules()]


@pytest.mark.parametrize(("part", "file"), FILES)
def test_imports_only_what_its_layer_may(part: str, file: Path) -> None:
    used = ours(file) - {part}
    if part == "fusion":
        assert used <= FUSION_MAY
    elif part == "retrievers" or part == "testing":
        assert used <= PLUGIN_MAY
    elif part != "__init__":
        assert part in ORDER, f"say in LAYERS where {part} belongs"
        assert all(ORDER[name] <= ORDER[part] for name in used)
        assert not used & {"retrievers", "fusion", "testing"}, "the core knows no plug-in"


@pytest.mark.parametrize("file", [file for part, file in modules() if part == "retrievers"], ids=module_of)
def test_wings_import_only_wings_below(file: Path) -> None:
    if file.name == "__init__.py":
        return
    wing = wing_of(module_of(file))
    used = {wing_of(name) for name in imports(file) if name.startswith("multirecall.retrievers.")} - {wing}
    assert all(FLOOR[other] < FLOOR[wing] for other in used), f"{wing} uses {used}"


def test_no_imports_run_in_a_circle() -> None:
    """Nor do those inside functions: what needs one stands in the wrong file."""
    needs = {name: imports(file) & MODULES.keys() - {name} for name, file in MODULES.items()}
    left = dict(needs)
    while free := {name for name, used in left.items() if not used & left.keys()}:
        left = {name: used for name, used in left.items() if name not in free}
    assert not left, {name: used & left.keys() for name, used in left.items()}


def test_a_bundle_knows_of_the_engine_only_what_it_stores() -> None:
    """The writer, the follower and the engine stand upon the bundle."""
    below = {f"multirecall.engine.{name}" for name in ("state", "path", "live", "learned")}
    for name, file in MODULES.items():
        used = {one for one in imports(file) if one.startswith("multirecall.engine")}
        if name.startswith("multirecall.engine.bundle."):
            assert {one for one in used if not one.startswith("multirecall.engine.bundle")} <= below, name
        if name in below:
            assert not {one for one in used if one.startswith("multirecall.engine.bundle")}, name


def test_plugins_do_not_know_each_other() -> None:
    for folder in ("retrievers", "retrievers/adapters", "fusion"):
        package = f"multirecall.{folder.replace('/', '.')}."
        for file in (ROOT / folder).glob("[a-z]*.py"):
            others = {name.removeprefix(package) for name in imports(file) if name.startswith(package)}
            assert not {name for name in others if not name.startswith("_")}, file


@pytest.mark.parametrize(("part", "file"), FILES)
def test_libraries_stay_in_their_place(part: str, file: Path) -> None:
    tops = {name.split(".")[0] for name in imports(file)}
    for library, places in RESTRICTED.items():
        if library in tops and (part, library) not in EXCEPTIONS:
            assert part in places, f"{library} is not for {part}"


def test_core_names_no_plugin_module() -> None:
    for part, file in modules():
        if part not in ("retrievers", "fusion"):
            assert "multirecall.retrievers." not in file.read_text(), file


def test_short_names_are_never_used() -> None:
    """At the root of a checkout `import fusion` would load a second copy of each module."""
    for folder in ("multirecall", "retrievers", "fusion", "tests", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            assert not {name.split(".")[0] for name in imports(file)} & {"retrievers", "fusion"}, file


def loaded_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import multirecall", "from multirecall import User"])
def test_importing_the_package_is_light(statement: str) -> None:
    heavy = {"torch", "hnswlib", "numba", "scipy", "polars", "matplotlib", "numpy", "pydantic"}
    assert not loaded_by(statement) & heavy


def test_the_engine_never_imports_torch() -> None:
    assert not loaded_by("from multirecall import Engine; Engine()") & {"torch", "hnswlib", "networkx"}


def test_serving_imports_no_extra(tmp_path: Path) -> None:
    """A bundle of all built-in retrievers loads and answers without it, and without what any other extra brings.

    But for `onnx`, whose models nothing else can run.
    """
    params = {name: {"epochs": 1} for name in ("two_tower", "item2vec", "dssm", "cdssm")}
    params.update(adapter_params(tmp_path, small_shop()))
    names = [point.name for point in entry_points(group="multirecall.retrievers") if point.name != "onnx"]
    paths = tuple(PathConfig(retriever=name, params=params.get(name, {})) for name in names)
    Engine(EngineConfig(paths=paths)).fit(small_shop()).save(tmp_path / "bundle")
    statement = (
        f"from multirecall import Engine; found = Engine.load({str(tmp_path / 'bundle')!r}).retrieve(1, 5); "
        "states = {name: one.state for name, one in found.status.items()}; "
        "assert states.pop('http') == 'skipped' and {*states.values()} == {'ok'}, states"  # nothing is deployed
    )
    assert not loaded_by(statement) & set(EXTRAS)
