from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.settings import Settings


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "KAFKA__BOOTSTRAP", "KAFKA__OPTIONS", "NAMESPACE", "ELASTICSEARCH__URLS"):
        monkeypatch.delenv(f"NETFLIGHT_{name}", raising=False)


def test_the_environment_wins_over_the_file_and_what_was_typed_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "netflight.yaml"
    file.write_text("namespace: from_file\nkafka: {bootstrap: 'file:1', partitions: 7}\nsensor: s1\n")
    monkeypatch.setenv("NETFLIGHT_CONFIG", str(file))
    monkeypatch.setenv("NETFLIGHT_KAFKA__BOOTSTRAP", "environment:1")
    settings = Settings.load(namespace="typed", sensor=None)
    assert settings.namespace == "typed"
    assert settings.sensor == "s1"
    assert settings.kafka.bootstrap == "environment:1"
    assert settings.kafka.partitions == 7


def test_a_password_may_look_like_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETFLIGHT_ELASTICSEARCH__PASSWORD", "{[secret")
    assert Settings.load().elasticsearch.password == "{[secret"  # noqa: S105


def test_single_options_join_those_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETFLIGHT_KAFKA__OPTIONS", '{"security.protocol": "sasl_ssl"}')
    monkeypatch.setenv("NETFLIGHT_KAFKA__OPTIONS__sasl.password", "x")
    assert Settings.load().kafka.options == {"security.protocol": "sasl_ssl", "sasl.password": "x"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("NETFLIGHT_KAFKA__PARTITIONS", "many", "kafka.partitions"),
        ("NETFLIGHT_KAFKA__BOOTSTRAPS", "x:1", "kafka.bootstraps"),
        ("NETFLIGHT_NAMESPACE", "Not/One", "namespace"),
        ("NETFLIGHT_ELASTICSEARCH__URLS", "not json", "elasticsearch"),
        ("NETFLIGHT_CONFIG", "missing.yaml", "missing.yaml"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=told):
        Settings.load()


def test_the_page_names_every_setting() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8").lower()
    for name, field in Settings.model_fields.items():
        parts = getattr(field.annotation, "model_fields", {})
        for part in parts:
            assert f"`netflight_{name}__{part}`" in page or f"`..__{part}`" in page, f"{name}.{part}"
        assert f"netflight_{name}" in page
