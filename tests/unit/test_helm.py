import importlib
import importlib.util
import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
import yaml
from pydantic import BaseModel

from runtime.settings import Settings
from streams.core.sigma import rule_files
from tests.charts import CHART, EVERYTHING, Manifest, containers, find_helm, helm, manifests, pods, template

# The first run may build Helm.
pytestmark = pytest.mark.timeout(1500)

ROOT = CHART.parents[1]
COMPONENTS = {"capture", "worker", "sink-elasticsearch", "schemas"}
# Read by runtime/settings.py outside the model.
PLACES = {"NETFLIGHT_STATE", "NETFLIGHT_CACHE", "NETFLIGHT_CONFIG"}


@pytest.fixture(scope="module")
def binary() -> Path:
    return find_helm()


@pytest.fixture(scope="module", params=["default", "everything"])
def rendered(binary: Path, request: pytest.FixtureRequest) -> list[Manifest]:
    return manifests(template(binary, file=EVERYTHING if request.param == "everything" else None))


@pytest.fixture(scope="module")
def everything(binary: Path) -> list[Manifest]:
    return manifests(template(binary, file=EVERYTHING))


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("NETFLIGHT_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def objects(schema: Any, place: str = "") -> Iterator[tuple[str, Manifest]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield place, schema
        for name, part in schema.items():
            yield from objects(part, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from objects(part, f"{place}/{number}")


def keys(values: Manifest, prefix: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        found.add(prefix + name)
        if isinstance(value, dict):
            found |= keys(value, f"{prefix}{name}.")
    return found


def field(name: str) -> bool:
    """Whether an environment name is one that Settings knows, at any depth."""
    model: Any = Settings
    *path, last = name.removeprefix("NETFLIGHT_").lower().split("__")
    for part in path:
        if get_origin(model) is dict or part not in model.model_fields:
            return get_origin(model) is dict
        model = model.model_fields[part].annotation
    if isinstance(model, type) and issubclass(model, BaseModel):
        return last in model.model_fields
    return get_origin(model) is dict


@pytest.mark.parametrize("file", [CHART / "values.yaml", EVERYTHING])
def test_lint_finds_nothing(binary: Path, file: Path) -> None:
    shown = helm(binary, "lint", "--strict", "--kube-version", "1.30.0", "--values", str(file), str(CHART))
    assert shown.returncode == 0, shown.stdout + shown.stderr


@pytest.mark.parametrize("oldest", [True, False])
@pytest.mark.parametrize("file", [None, EVERYTHING])
def test_every_manifest_is_valid_for_the_oldest_and_newest_kubernetes(
    binary: Path, file: Path | None, *, oldest: bool
) -> None:
    kubernetes = pytest.importorskip(
        "kubernetes_validate", reason="the schemas of Kubernetes are not installed"
    )
    version = "1.27.0" if oldest else kubernetes.latest_version()
    found = manifests(template(binary, file=file, version=version))
    assert {"DaemonSet", "StatefulSet", "Deployment", "Job"} <= {item["kind"] for item in found}
    for item in found:
        kubernetes.validate(item, version, strict=True)


def test_a_kubernetes_that_is_too_old_is_refused(binary: Path) -> None:
    assert "kubeVersion" in template(binary, version="1.26.0").stderr


def test_the_values_schema_is_closed_everywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    found = dict(objects(schema))
    # `global` belongs to Helm, which hands a parent chart's values down in it.
    open_ones = [place for place, part in found.items() if part.get("additionalProperties", True) is True]
    assert open_ones == ["/properties/global"]


def test_the_values_schema_names_what_the_values_file_has() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def named(part: Manifest, prefix: str = "") -> set[str]:
        if "$ref" in part:
            part = schema["definitions"][part["$ref"].rsplit("/", 1)[1]]
        found = set()
        for name, child in part.get("properties", {}).items():
            found |= {prefix + name} | named(child, f"{prefix}{name}.")
        return found

    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    maps = (".resources.", ".affinity.")
    in_schema = {name for name in named(schema) if not any(part in name for part in maps)}
    in_values = {name for name in keys(values) if not any(part in name for part in maps)}
    assert in_schema - {"global"} == in_values


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"replicaCount": 2}, "replicaCount"),
        ({"kafka": {"brokers": "kafka:9092"}}, "brokers"),
        ({"worker": {"persistence": {"sise": "1Gi"}}}, "sise"),
        ({"sinks": {"carrier_pigeon": {"enabled": True}}}, "carrier_pigeon"),
        ({"schemas": {"resources": {"limit": {"memory": "1Gi"}}}}, "limit"),
        ({"capture": {"tolerations": [{"operater": "Exists"}]}}, "operater"),
        ({"capture": {"resources": {"limits": {"memory": None}}}}, "memory"),
        ({"capture": {"interface": "-w"}}, "interface"),
        ({"namespace": "Not-A-Namespace"}, "namespace"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"kafka": {"bootstrap": "kafka"}}, "bootstrap"),
        ({"kafka": {"options": {"sasl.password": "hunter2"}}}, "options"),
        ({"elasticsearch": {"urls": ["https://elastic:hunter2@es:9200"]}}, "urls"),
        (
            {"elasticsearch": {"apiKey": {"secret": "a"}, "username": "b", "password": {"secret": "c"}}},
            "not both",
        ),
        ({"elasticsearch": {"username": "elastic"}}, "go together"),
        ({"kafka": {"ca": {"secret": "a", "configMap": "b"}}}, "not both"),
    ],
)
def test_wrong_values_are_refused_by_name(binary: Path, values: Manifest, word: str) -> None:
    shown = template(binary, values=values)
    assert shown.returncode != 0
    assert word in shown.stderr


def test_no_secret_is_made_or_rendered(rendered: list[Manifest]) -> None:
    assert "Secret" not in {item["kind"] for item in rendered}


def test_containers_run_with_the_least_rights(rendered: list[Manifest]) -> None:
    assert set(pods(rendered)) == COMPONENTS
    for component, pod in pods(rendered).items():
        spec = pod["spec"]
        records = component == "capture"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec.get("hostNetwork", False) is records
        assert not {"hostPID", "hostIPC"} & set(spec)
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
        for container in containers(pod):
            rights = container["securityContext"]
            assert rights["privileged"] is False
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is records
            assert rights["capabilities"] == {"drop": ["ALL"], **({"add": ["NET_RAW"]} if records else {})}


def test_containers_have_requests_limits_and_room_to_write(rendered: list[Manifest]) -> None:
    claims = {
        claim["metadata"]["name"]
        for item in rendered
        for claim in item.get("spec", {}).get("volumeClaimTemplates", [])
    }
    for component, pod in pods(rendered).items():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in containers(pod):
            assert container["resources"]["limits"]["memory"]
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            known = set(volumes) | (claims if component == "worker" else set())
            assert set(mounts.values()) <= known
            environment = {item["name"]: item.get("value") for item in container["env"]}
            assert {"/tmp", environment["NETFLIGHT_STATE"]} <= set(mounts)  # noqa: S108 (a mount in a pod)
        limits = [volume["emptyDir"] for volume in volumes.values() if "emptyDir" in volume]
        assert all("sizeLimit" in limit for limit in limits)


def test_every_selector_finds_its_pods_and_no_others(rendered: list[Manifest]) -> None:
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(rendered).items()}
    for item in rendered:
        spec = item.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector is None:
            continue
        wanted = selector.get("matchLabels", selector)
        found = {name for name, given in labels.items() if wanted.items() <= given.items()}
        assert found == {item["metadata"]["labels"]["app.kubernetes.io/component"]}


def test_every_object_has_the_recommended_labels(rendered: list[Manifest]) -> None:
    names = ("name", "instance", "version", "component", "part-of", "managed-by")
    for item in rendered:
        assert {f"app.kubernetes.io/{name}" for name in names} <= set(item["metadata"]["labels"])
        assert item["metadata"]["namespace"] == "sensors"


def test_every_variable_is_a_setting(rendered: list[Manifest]) -> None:
    names = {
        variable["name"]
        for pod in pods(rendered).values()
        for container in containers(pod)
        for variable in container["env"]
        if variable["name"].startswith("NETFLIGHT_")
    }
    assert {name for name in names - PLACES if not field(name)} == set()
    assert not field("NETFLIGHT_KAFKA__BOOTSTRAPS")
    assert not field("NETFLIGHT_NAMESPACES")


def load(pod: Manifest, environment: pytest.MonkeyPatch, number: int = -1) -> Settings:
    """The settings that a container of this pod would load; a secret's value is `secret of KEY`."""
    for variable in containers(pod)[number]["env"]:
        source = variable.get("valueFrom", {})
        stand_in = f"secret of {source['secretKeyRef']['key']}" if "secretKeyRef" in source else "node-7"
        environment.setenv(variable["name"], variable.get("value", stand_in))
    return Settings.load()


@pytest.mark.parametrize("component", sorted(COMPONENTS))
def test_default_environment_loads(
    binary: Path, bare_environment: pytest.MonkeyPatch, component: str
) -> None:
    settings = load(pods(manifests(template(binary)))[component], bare_environment)
    assert settings.namespace == "default"
    assert str(settings.state) == "/var/lib/netflight"
    assert settings.kafka.options == {}


def test_capture_loads_the_values_given(
    everything: list[Manifest], bare_environment: pytest.MonkeyPatch
) -> None:
    settings = load(pods(everything)["capture"], bare_environment)
    assert settings.namespace == "lab_1"
    assert settings.sensor == "node-7"
    assert settings.local_networks == ["192.0.2.0/24", "2001:db8::/32"]
    assert settings.kafka.bootstrap == "broker-0.kafka:9093,broker-1.kafka:9094"
    assert (settings.kafka.partitions, settings.kafka.replication) == (12, 2)
    assert settings.kafka.options == {
        "enable.ssl.certificate.verification": "true",
        "receive.message.max.bytes": "150000000",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.password": "secret of password",
        "sasl.username": "netflight",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/etc/netflight/kafka-ca/ca.crt",
        "ssl.certificate.location": "/etc/netflight/kafka-client/tls.crt",
        "ssl.key.location": "/etc/netflight/kafka-client/tls.key",
    }


def test_worker_loads_the_values_given(
    everything: list[Manifest], bare_environment: pytest.MonkeyPatch
) -> None:
    pod = pods(everything)["worker"]
    settings = load(pod, bare_environment).worker
    assert (settings.lateness, settings.idle_close, settings.window) == (0, 20, 300)
    assert [str(path) for path in settings.rules] == [
        "/etc/netflight/rules/our-rules/..data",
        "/etc/netflight/rules/their-rules/..data",
    ]
    (container,) = containers(pod)
    assert container["ports"] == [{"name": "http", "containerPort": settings.web_port}]
    assert (settings.web_port, settings.web_host) == (7077, "0.0.0.0")  # noqa: S104 (the pod's own addresses)
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/metrics",
        "liveness": "/metrics",
        "readiness": "/health",
    }
    assert {probe["port"] for probe in probes.values()} == {"http"}


def test_the_rules_folder_of_a_mounted_config_map_has_each_rule_once(tmp_path: Path) -> None:
    # What the kubelet makes of a ConfigMap: files in a dated folder, ..data to it, a link per key.
    dated = tmp_path / "..2026_01_02_03_04_05.1"
    dated.mkdir()
    (dated / "beacon.yaml").write_text("title: Beacon\n", encoding="utf-8")
    (tmp_path / "..data").symlink_to(dated.name)
    (tmp_path / "beacon.yaml").symlink_to("..data/beacon.yaml")
    assert [path.name for path in rule_files([tmp_path / "..data"])] == ["beacon.yaml"]


def test_sink_and_schemas_load_the_values_given(
    everything: list[Manifest], bare_environment: pytest.MonkeyPatch
) -> None:
    for component in ("sink-elasticsearch", "schemas"):
        settings = load(pods(everything)[component], bare_environment).elasticsearch
        assert settings.urls == ["https://es-0.example:9243/path", "https://es-1.example"]
        assert (settings.username, settings.password) == ("elastic", "secret of elastic")
        assert settings.ca_certs == "/etc/netflight/elasticsearch-ca/ca.crt"
        assert settings.verify is False
        assert (settings.bulk_bytes, settings.bulk_seconds) == (10_000_000, 0.5)


def test_an_api_key_comes_from_its_secret(binary: Path, bare_environment: pytest.MonkeyPatch) -> None:
    values = {"elasticsearch": {"apiKey": {"secret": "es-key", "key": "encoded"}}}
    pod = pods(manifests(template(binary, values=values)))["sink-elasticsearch"]
    assert load(pod, bare_environment).elasticsearch.api_key == "secret of encoded"


def test_every_command_exists(rendered: list[Manifest]) -> None:
    if importlib.util.find_spec("cockpit.cli") is None:
        pytest.skip("the command line is not there")
    typer = importlib.import_module("typer")
    module = importlib.import_module("cockpit.cli")
    apps = [item for item in vars(module).values() if isinstance(item, typer.Typer)]
    assert apps, "cockpit.cli has a Typer application"
    root = typer.main.get_command(module.app if hasattr(module, "app") else apps[0])
    for pod in pods(rendered).values():
        for container in containers(pod):
            assert "command" not in container, "the image's entry point is netflight"
            command, rest = root, list(container["args"])
            while hasattr(command, "commands"):
                assert rest[0] in command.commands, container["args"]
                command = command.commands[rest.pop(0)]
            # Raises on an unknown option; the values are the command's own business.
            context = command.context_class(command, info_name=command.name)
            command.make_parser(context).parse_args(args=rest)


def test_capture_leaves_out_its_own_publishing(binary: Path) -> None:
    def arguments(values: Manifest) -> list[str]:
        (container,) = containers(pods(manifests(template(binary, values=values)))["capture"])
        return list(container["args"])

    assert arguments({}) == ["capture", "-i", "eth0", "--filter", "not tcp port 9092"]
    assert arguments({"capture": {"excludeKafka": False}}) == ["capture", "-i", "eth0"]
    filtered = arguments(
        {"capture": {"filter": "ip or ip6"}, "kafka": {"bootstrap": "a:9092,[fd00::1]:9093"}}
    )
    assert filtered[-1] == "(ip or ip6) and not tcp port 9092 and not tcp port 9093"


def test_schemas_come_before_everything_that_writes(binary: Path) -> None:
    (job,) = (item for item in manifests(template(binary)) if item["kind"] == "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade,pre-rollback"
    # What the release makes is not there yet.
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "default"
    (container,) = containers(job["spec"]["template"])
    assert container["args"] == ["schemas", "install", "--topics"]


def test_topics_can_be_left_to_another_tool(binary: Path) -> None:
    found = pods(manifests(template(binary, values={"schemas": {"topics": False}})))
    (container,) = containers(found["schemas"])
    assert container["args"] == ["schemas", "install"]


def test_parts_can_be_left_out(binary: Path) -> None:
    off = {"enabled": False}
    values = {"capture": off, "worker": off, "schemas": off, "sinks": {"elasticsearch": off}}
    assert [item["kind"] for item in manifests(template(binary, values=values))] == ["ServiceAccount"]


def test_a_budget_protects_more_than_one_replica(binary: Path, everything: list[Manifest]) -> None:
    kinds = [item["kind"] for item in everything]
    assert kinds.count("PodDisruptionBudget") == 2
    assert "PodDisruptionBudget" not in {item["kind"] for item in manifests(template(binary))}


def test_network_policies_open_the_ports_of_the_servers(everything: list[Manifest]) -> None:
    ports = {
        item["metadata"]["labels"]["app.kubernetes.io/component"]: {
            port["port"] for rule in item["spec"]["egress"] for port in rule["ports"]
        }
        for item in everything
        if item["kind"] == "NetworkPolicy"
    }
    kafka = {53, 9093, 9094, 9095}
    assert ports["worker"] == kafka
    assert ports["sink-elasticsearch"] == ports["schemas"] == kafka | {9243, 443}


def test_an_image_is_named_by_digest_or_by_the_charts_version(
    binary: Path, everything: list[Manifest]
) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chart["appVersion"] == project["version"]
    for found, ending in ((manifests(template(binary)), f":{project['version']}"), (everything, "0001")):
        images = {container["image"] for pod in pods(found).values() for container in containers(pod)}
        assert len(images) == 1
        assert images.pop().endswith(ending)
