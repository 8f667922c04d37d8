"""The files in `deploy/`, as far as they can be checked without a container runtime."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from multirecall.serving import ServeSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SECRET = re.compile(r"(?i)(password|secret|token|keys?)\s*[:=]\s*[\"']?[\w-]{8,}")


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def of(instructions: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in instructions if name == word]


def test_the_image_is_slim_and_its_user_is_not_root(instructions: list[tuple[str, str]]) -> None:
    last = max(place for place, (word, _) in enumerate(instructions) if word == "FROM")
    assert instructions[last][1] == "python:3.11-slim"
    final = instructions[last:]
    assert "g++" not in " ".join(of(final, "RUN")), "the compiler stays behind"
    assert of(final, "USER") == ["10001"]
    assert of(final, "VOLUME") == ['["/bundle"]']
    assert "HNSWLIB_NO_NATIVE=1" in of(instructions, "ENV")[0]
    [check] = of(final, "HEALTHCHECK")
    assert "/health/ready" in check
    assert "serve" in of(final, "CMD")[0]


def test_every_extra_of_the_image_exists(instructions: list[tuple[str, str]]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    [asked] = re.findall(r"/src\[([\w,-]+)\]", " ".join(of(instructions, "RUN")))
    assert set(asked.split(",")) <= extras.keys()


def test_compose_mounts_what_is_there_and_opens_loopback_only() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))["services"]
    assert services.keys() == {"service", "redis", "prometheus"}
    assert (DEPLOY / ".." / services["service"]["build"]["dockerfile"]).is_file()
    mounted = [one.split(":")[0] for service in services.values() for one in service["volumes"]]
    own = {one for one in mounted if one.startswith("./")}
    assert {one for one in own if not (DEPLOY / one).is_file()} == {"./prometheus.key"}, (
        "a secret that the reader makes"
    )
    ports = [one for service in services.values() for one in service.get("ports", ())]
    assert ports
    assert all(one.startswith("127.0.0.1:") for one in ports)
    assert services["service"]["read_only"] is True
    settings = ServeSettings.from_toml(DEPLOY / "serve.toml")
    assert {settings.keys.keys_env, settings.store.url_env} == services["service"]["environment"].keys()


def test_prometheus_asks_the_service_and_loads_the_rules() -> None:
    config: Any = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    [job] = config["scrape_configs"]
    port = tomllib.loads((DEPLOY / "serve.toml").read_text(encoding="utf-8"))["port"]
    assert job["static_configs"][0]["targets"] == [f"service:{port}"]
    assert [Path(one).name for one in config["rule_files"]] == ["alerts.yml"]
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert all(one.keys() == {"alert", "expr", "for", "labels", "annotations"} for one in rules)


@pytest.mark.parametrize("file", sorted(one.name for one in DEPLOY.iterdir()))
def test_no_file_holds_a_secret(file: str) -> None:
    assert not SECRET.search((DEPLOY / file).read_text(encoding="utf-8"))


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here")
    unit = (DEPLOY / "multirecall.service").read_text(encoding="utf-8")
    (tmp_path / "multirecall.service").write_text(unit.replace("/opt/multirecall/bin/multirecall", "/bin/true"))
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / "multirecall.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ours = [line for line in done.stderr.splitlines() if "multirecall.service" in line]
    assert ours == []
