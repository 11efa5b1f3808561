"""What is shipped for Kubernetes and for Ray's launcher is valid,
and agrees with the settings and the lock.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from cluster.lifecycle.system import CONSTRUCTED_S, GRACE_S, STOP_S
from cluster.settings import config

ROOT = Path(__file__).parents[3]
KUBERAY = ROOT / "cluster" / "kuberay.yaml"
LAUNCHER = ROOT / "cluster" / "ray-cluster.yaml"
CRDS = Path(os.environ.get("KUBERAY_CRDS", ROOT.parent / "shared" / "kuberay"))
Document = dict[str, Any]


@pytest.fixture
def manifest() -> dict[str, Document]:
    """The documents of kuberay.yaml by kind."""
    documents = list(yaml.safe_load_all(KUBERAY.read_text()))
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return by_kind


@pytest.fixture(scope="module")
def schema() -> Document:
    """KubeRay's schema of a RayCluster, in which an unknown key is an error."""
    if not (crd := CRDS / "ray.io_rayclusters.yaml").is_file():
        pytest.skip(
            f"no {crd}; set KUBERAY_CRDS to the folder of KubeRay's custom resource definitions"
        )
    versions = yaml.load(crd.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    [v1] = [version for version in versions if version["name"] == "v1"]
    strict: Document = _strict(v1["schema"]["openAPIV3Schema"])
    return strict


def test_the_ray_cluster_fits_kuberays_schema(
    manifest: dict[str, Document], schema: Document
) -> None:
    """Every key of the RayCluster is known to KubeRay, and every value has its type."""
    jsonschema.validate(manifest["RayCluster"], schema)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("headGroupSpec", "raystartParams", {}),
        ("headGroupSpec", "rayStartParams", {"num-cpus": 0}),
        ("", "foo", 1),
    ],
)
def test_a_wrong_manifest_is_found(
    manifest: dict[str, Document], schema: Document, group: str, key: str, value: object
) -> None:
    """A misspelt key and a number where KubeRay wants text are errors."""
    spec = manifest["RayCluster"]["spec"]
    (spec[group] if group else spec)[key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest["RayCluster"], schema)


def test_the_shipped_settings_load_and_fit_the_pods(
    manifest: dict[str, Document], tmp_path: Path
) -> None:
    """The ConfigMap is a configuration; ports, shards,
    paths and addresses agree with the pods around it.
    """
    (tmp_path / "ray_config.yaml").write_text(manifest["ConfigMap"]["data"]["ray_config.yaml"])
    settings = config.load(tmp_path / "ray_config.yaml", {})
    head, worker, workers = _containers(manifest["RayCluster"])
    ports = {port["name"]: port["containerPort"] for port in head["ports"]}
    assert (ports["grpc"], ports["http"]) == (settings.serving.port, settings.monitoring.port)
    assert {port["port"] for port in manifest["Service"]["spec"]["ports"]} == {
        ports["grpc"],
        ports["http"],
    }
    assert (
        workers["replicas"]
        == workers["minReplicas"]
        == workers["maxReplicas"]
        == settings.serving.shards
    )
    assert settings.ray.address == "auto"
    assert settings.serving.host == settings.monitoring.host == "0.0.0.0"
    assert settings.kafka.bootstrap_servers, (
        "the embedded broker cannot be reached from another pod"
    )
    for container in (head, worker):
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        for path in (settings.state.directory, settings.archive.directory, settings.arms[0].bundle):
            assert any(path.startswith(f"{mount}/") for mount in mounts), (
                f"{path} is on no volume of {container}"
            )


def test_ports_are_those_of_the_defaults(manifest: dict[str, Document]) -> None:
    """What the guides say about ports holds on Kubernetes too."""
    settings = config.Settings()
    ports = {port["name"]: port["port"] for port in manifest["Service"]["spec"]["ports"]}
    assert ports == {"grpc": settings.serving.port, "http": settings.monitoring.port}


def test_services_and_budgets_select_the_pods(manifest: dict[str, Document]) -> None:
    """Selectors use the labels that KubeRay gives the pods of a cluster of this name."""
    name = manifest["RayCluster"]["metadata"]["name"]
    assert manifest["Service"]["spec"]["selector"] == {
        "ray.io/cluster": name,
        "ray.io/node-type": "head",
    }
    assert manifest["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == {
        "ray.io/cluster": name
    }


def test_the_head_runs_echorank_until_it_has_stopped(manifest: dict[str, Document]) -> None:
    """The entry point takes over the shell's place, is asked at /healthz,
    and is given the time that a stop takes.
    """
    cluster = manifest["RayCluster"]
    head, worker, workers = _containers(cluster)
    assert cluster["spec"]["authOptions"]["mode"] == "token", "Ray wants a token by default"
    assert cluster["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] == "true"
    assert re.search(
        r"^exec echorank up --config /etc/echorank/", head["args"][0], flags=re.MULTILINE
    )
    assert "--block" in head["args"][0], "Ray's head must be started without it"
    assert "KUBERAY_GEN_RAY_START_CMD" in worker["args"][0]
    assert head["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    grace_s = cluster["spec"]["headGroupSpec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert STOP_S + 2 * GRACE_S < grace_s <= CONSTRUCTED_S
    assert head["image"] == worker["image"]
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", (
        "shards belong on the workers"
    )
    assert all(container["resources"]["requests"] for container in (head, worker))
    assert workers["groupName"] == "shards"


def test_ray_is_the_locked_one(manifest: dict[str, Document]) -> None:
    """All nodes of a Ray cluster must run one version: that of requirements.lock."""
    [locked] = re.findall(
        r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE
    )
    assert manifest["RayCluster"]["spec"]["rayVersion"] == locked


def test_the_launcher_file_fits_rays_schema() -> None:
    """Ray's own schema accepts the launcher file,
    and starts nothing but the gateway on the head.
    """
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    launcher = yaml.safe_load(LAUNCHER.read_text())
    jsonschema.validate(launcher, schema)
    assert any("--num-cpus=0" in command for command in launcher["head_start_ray_commands"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(launcher | {"worker_ip": []}, schema)


def _containers(cluster: Document) -> tuple[Document, Document, Document]:
    """Head container, worker container, and the worker group."""
    [workers] = cluster["spec"]["workerGroupSpecs"]
    [head] = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    [worker] = workers["template"]["spec"]["containers"]
    return head, worker, workers


def _strict(schema: Any) -> Any:
    """The schema with unknown keys refused where Kubernetes would drop them in silence."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    return ({"additionalProperties": False} if closed else {}) | {
        key: _strict(part) for key, part in schema.items()
    }
