# SPDX-License-Identifier: MIT
"""The files for other orchestrators: fields that exist, names that meet, options that the programs have."""

import re
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from conftest import ROOT, program

KUBERNETES = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
SWARM = ROOT / "deploy" / "docker" / "swarm.yaml"
TEXT, COUNT, TRUTH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
TEXTS = {"type": "array", "items": TEXT}
MAP = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {"type": "string", "pattern": r"^\d+(m|Ki|Mi|Gi)?$"}
PORT = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, NAME]}


def obj(required="", **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def array(items):
    return {"type": "array", "items": items, "minItems": 1}


def one_of(*values):
    return {"enum": list(values)}


# The fields that the manifests use, as the API's reference has them; any other is a mistake.
PROBE = obj(
    exec=obj("command", command=TEXTS),
    tcpSocket=obj("port", port=PORT),
    periodSeconds=COUNT,
    failureThreshold=COUNT,
    timeoutSeconds=COUNT,
)
AMOUNTS = obj(cpu=QUANTITY, memory=QUANTITY)
CONTAINER = obj(
    "name image args",
    name=NAME,
    image=TEXT,
    args=TEXTS,
    env=array(obj("name", name=TEXT, value=TEXT, valueFrom=obj("fieldRef", fieldRef=obj("fieldPath", fieldPath=TEXT)))),
    ports=array(obj("containerPort", name=NAME, containerPort=PORT)),
    startupProbe=PROBE,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    lifecycle=obj(preStop=obj("exec", exec=obj("command", command=TEXTS))),
    resources=obj(requests=AMOUNTS, limits=AMOUNTS),
    securityContext=obj(
        allowPrivilegeEscalation=TRUTH, readOnlyRootFilesystem=TRUTH, capabilities=obj(drop=TEXTS)
    ),
    volumeMounts=array(obj("name mountPath", name=NAME, mountPath=TEXT, readOnly=TRUTH)),
)
POD = obj(
    "containers",
    automountServiceAccountToken=TRUTH,
    terminationGracePeriodSeconds=COUNT,
    securityContext=obj(
        runAsNonRoot=TRUTH, runAsUser=COUNT, fsGroup=COUNT, seccompProfile=obj("type", type=one_of("RuntimeDefault"))
    ),
    containers=array(CONTAINER),
    volumes=array(
        obj("name", name=NAME, emptyDir=obj(medium=one_of("Memory")), secret=obj("secretName", secretName=NAME, defaultMode=COUNT))
    ),
)
METADATA = obj("name", name=NAME, labels=MAP, annotations=MAP)
LABELS = obj("matchLabels", matchLabels=MAP)
TARGET = obj("type", type=one_of("AverageValue", "Utilization"), averageValue=QUANTITY, averageUtilization=COUNT)
WINDOW = obj(stabilizationWindowSeconds=COUNT)
SPECS = {
    ("apps/v1", "Deployment"): obj(
        "selector template",
        replicas=COUNT,
        selector=LABELS,
        strategy=obj(rollingUpdate=obj(maxSurge=COUNT, maxUnavailable=COUNT)),
        template=obj("metadata spec", metadata=obj("labels", labels=MAP, annotations=MAP), spec=POD),
    ),
    ("v1", "Service"): obj(
        "selector ports",
        type=one_of("LoadBalancer", "ClusterIP"),
        clusterIP=one_of("None"),
        externalTrafficPolicy=one_of("Local", "Cluster"),
        publishNotReadyAddresses=TRUTH,
        selector=MAP,
        ports=array(obj("port", name=NAME, port=PORT, targetPort=PORT)),
    ),
    ("policy/v1", "PodDisruptionBudget"): obj("selector", maxUnavailable=COUNT, selector=LABELS),
    ("autoscaling/v2", "HorizontalPodAutoscaler"): obj(
        "scaleTargetRef maxReplicas metrics",
        scaleTargetRef=obj("apiVersion kind name", apiVersion=TEXT, kind=TEXT, name=NAME),
        minReplicas=COUNT,
        maxReplicas=COUNT,
        metrics=array(
            obj(
                "type",
                type=one_of("External", "Resource"),
                external=obj("metric target", metric=obj("name", name=TEXT, selector=LABELS), target=TARGET),
                resource=obj("name target", name=TEXT, target=TARGET),
            )
        ),
        behavior=obj(scaleUp=WINDOW, scaleDown=WINDOW),
    ),
}


def documents():
    return [d for path in KUBERNETES for d in yaml.safe_load_all(path.read_text())]


def of_kind(kind):
    return [d for d in documents() if d["kind"] == kind]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda p: p.name)
def test_fields_are_those_of_the_api(path):
    for d in yaml.safe_load_all(path.read_text()):
        spec = SPECS[d["apiVersion"], d["kind"]]
        schema = obj("apiVersion kind metadata spec", apiVersion=TEXT, kind=TEXT, metadata=METADATA, spec=spec)
        jsonschema.validate(d, schema)


def pods():
    return {d["metadata"]["name"]: d["spec"]["template"] for d in of_kind("Deployment")}


def test_selectors_find_pods():
    labels = [template["metadata"]["labels"] for template in pods().values()]
    for d in of_kind("Deployment") + of_kind("PodDisruptionBudget"):
        assert d["spec"]["selector"]["matchLabels"] in labels
    for d in of_kind("Service"):
        assert d["spec"]["selector"] in labels
    for d in of_kind("HorizontalPodAutoscaler"):
        assert d["spec"]["scaleTargetRef"]["name"] in pods()


def test_named_ports_and_volumes_exist():
    for template in pods().values():
        volumes = {v["name"] for v in template["spec"]["volumes"]}
        for container in template["spec"]["containers"]:
            ports = {p["name"] for p in container["ports"]}
            assert {m["name"] for m in container["volumeMounts"]} == volumes
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(probe, {}).get("tcpSocket", {}).get("port")
                assert port is None or port in ports
    for d in of_kind("Service"):
        pod = next(t for t in pods().values() if t["metadata"]["labels"] == d["spec"]["selector"])
        ports = {p["name"] for p in pod["spec"]["containers"][0]["ports"]}
        assert {p["targetPort"] for p in d["spec"]["ports"]} <= ports


def test_stopping_leaves_time_to_drain():
    for template in pods().values():
        spec = template["spec"]
        args = spec["containers"][0]["args"]
        graceful = next(int(a.split("=")[1]) for a in args if a.startswith("--graceful-timeout="))
        stop = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])
        assert spec["terminationGracePeriodSeconds"] >= graceful + int(stop[1]) + 5


def test_app_servers_register_with_a_service_that_names_each_proxy():
    control = next(d for d in of_kind("Service") if d["spec"].get("clusterIP") == "None")
    args = pods()["shop"]["spec"]["containers"][0]["args"]
    port = control["spec"]["ports"][0]["port"]
    assert f"--register=tcp://{control['metadata']['name']}:{port}" in args
    proxy = pods()["banyan-proxy"]["spec"]["containers"][0]
    assert f"--control=tcp://0.0.0.0:{port}" in proxy["args"]


def test_the_autoscaler_reads_a_metric_of_ours():
    page = (ROOT / "proxy" / "admin" / "metrics_page.c").read_text()
    names = [m["external"]["metric"]["name"] for d in of_kind("HorizontalPodAutoscaler")
             for m in d["spec"]["metrics"] if m["type"] == "External"]
    assert names and all(f'"{name}"' in page for name in names)


def commands():
    """Program and arguments, of each container in all files."""
    for name, template in pods().items():
        which = "banyan-proxy" if name == "banyan-proxy" else "banyan-app"
        yield which, template["spec"]["containers"][0]["args"]
    for name, service in yaml.safe_load(SWARM.read_text())["services"].items():
        yield f"banyan-{name}", service["command"]


@pytest.mark.parametrize("which, arguments", commands())
def test_options_are_the_programs(which, arguments):
    usage = subprocess.run([program(which), "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^ {2,6}(?:-\w, )?(--[a-z-]+)", usage, re.M))
    given = {a.split("=")[0] for a in arguments if a.startswith("--")}
    assert given <= known, given - known


def test_swarm_stack_is_a_compose_file():
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    done = subprocess.run(["docker-compose", "-f", SWARM, "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
