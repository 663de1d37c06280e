"""The manifests: what Kubernetes, JobSet and GKE document about them, checked field by field."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TRAIN = ["--config", "configs/stage_two.py:5b_i2v", "--workdir=/bucket/w", "--config.train_modules=('structure',)"]
SHARED = ["--name", "run-1", "--image", "registry/sr_jax:1", "--bucket", "b"]


def _render(*arguments, expect=0):
    command = [sys.executable, str(ROOT / "launch/gke/render.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == expect, done.stderr
    return yaml.safe_load(done.stdout) if expect == 0 else done.stderr


def _tpu(tpu, topology, *options):
    return _render("tpu", *SHARED, "--tpu", tpu, "--topology", topology, *options, "--", *TRAIN)


def _gpu(*options):
    return _render("gpu", *SHARED, *options, "--", *TRAIN)


# The fields that the manifests may have, from the API references of JobSet v1alpha2, batch/v1 and core/v1. A dict is an
# object, a list is a list of its one element, a type is a leaf; a name with * is required.
_STRING_MAP = {"?": str}
_CONTAINER = {
    "name*": str,
    "image*": str,
    "command": [str],
    "env": [{"name*": str, "value": str, "valueFrom": {"fieldRef": {"fieldPath*": str}}}],
    "ports": [{"containerPort*": int}],
    "resources": {"limits": {"?": int}},
    "volumeMounts": [{"name*": str, "mountPath*": str}],
}
_VOLUME = {
    "name*": str,
    "emptyDir": {"medium": str},
    "csi": {"driver*": str, "readOnly": bool, "volumeAttributes": _STRING_MAP},
}
_POD = {
    "restartPolicy*": str,
    "serviceAccountName": str,
    "terminationGracePeriodSeconds": int,
    "nodeSelector": _STRING_MAP,
    "tolerations": [{"key": str, "operator": str}],
    "containers*": [_CONTAINER],
    "volumes": [_VOLUME],
}
_POD_RULE = {
    "action*": str,
    "onExitCodes": {"containerName": str, "operator*": str, "values*": [int]},
    "onPodConditions": [{"type*": str, "status*": str}],
}
_JOB = {
    "parallelism*": int,
    "completions*": int,
    "completionMode": str,
    "backoffLimit": int,
    "podFailurePolicy": {"rules*": [_POD_RULE]},
    "template*": {"metadata": {"annotations": _STRING_MAP}, "spec*": _POD},
}
_FAILURE_RULE = {
    "name*": str,
    "action*": str,
    "onJobFailureReasons": [str],
    "onJobFailureMessagePatterns": [str],
}
_JOBSET = {
    "apiVersion*": str,
    "kind*": str,
    "metadata*": {"name*": str, "annotations": _STRING_MAP},
    "spec*": {
        "failurePolicy": {"maxRestarts": int, "restartStrategy": str, "rules": [_FAILURE_RULE]},
        "replicatedJobs*": [{"name*": str, "replicas": int, "template*": {"spec*": _JOB}}],
    },
}


def _problems(value, schema, where="manifest"):
    if isinstance(schema, type):
        return [] if type(value) is schema else [f"{where} is {value!r}, not {schema.__name__}"]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [p for i, item in enumerate(value) for p in _problems(item, schema[0], f"{where}[{i}]")]
    if not isinstance(value, dict):
        return [f"{where} is no object"]
    fields = {name.rstrip("*"): inner for name, inner in schema.items()}
    missing = [f"{where}.{name[:-1]} is missing" for name in schema if name.endswith("*") and name[:-1] not in value]
    inner = [
        problem
        for name, item in value.items()
        for problem in (
            _problems(item, fields.get(name, fields.get("?")), f"{where}.{name}")
            if name in fields or "?" in fields
            else [f"{where}.{name} is no field"]
        )
    ]
    return missing + inner


def _job(manifest):
    (replicated,) = manifest["spec"]["replicatedJobs"]
    return replicated, replicated["template"]["spec"]


def _pod(manifest):
    return _job(manifest)[1]["template"]["spec"]


MANIFESTS = [
    pytest.param(lambda: _tpu("v5p", "4x4x4"), id="tpu"),
    pytest.param(lambda: _tpu("v6e", "8x8", "--slices", "3", "--service-account", "trainer"), id="slices"),
    pytest.param(lambda: _gpu("--gpu", "h200", "--nodes", "4"), id="gpu"),
]


@pytest.mark.parametrize("make", MANIFESTS)
def test_every_field_is_one_that_there_is(make):
    manifest = make()
    assert _problems(manifest, _JOBSET) == []
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])


def test_the_check_of_fields_finds_mistakes():
    manifest = _tpu("v5p", "4x4x4")
    manifest["spec"]["failurePolicy"]["maxRestart"] = 1
    manifest["spec"]["replicatedJobs"][0]["replicas"] = "1"
    del manifest["metadata"]["name"]
    assert _problems(manifest, _JOBSET) == [
        "manifest.metadata.name is missing",
        "manifest.spec.failurePolicy.maxRestart is no field",
        "manifest.spec.replicatedJobs[0].replicas is '1', not int",
    ]


# Hosts and chips on each, from the tables of slice shapes in the documentation of Cloud TPU and GKE.
@pytest.mark.parametrize(
    ("tpu", "topology", "accelerator", "hosts", "chips"),
    [
        ("v4", "2x2x1", "tpu-v4-podslice", 1, 4),
        ("v5e", "1x1", "tpu-v5-lite-podslice", 1, 1),
        ("v5e", "4x4", "tpu-v5-lite-podslice", 4, 4),
        ("v5e", "16x16", "tpu-v5-lite-podslice", 64, 4),
        ("v5p", "2x2x4", "tpu-v5p-slice", 4, 4),
        ("v5p", "4x4x4", "tpu-v5p-slice", 16, 4),
        ("v5p", "4x4x8", "tpu-v5p-slice", 32, 4),
        ("v6e", "8x8", "tpu-v6e-slice", 16, 4),
    ],
)
def test_a_slice_has_a_pod_for_every_host(tpu, topology, accelerator, hosts, chips):
    manifest = _tpu(tpu, topology, "--slices", "2")
    replicated, job = _job(manifest)
    assert replicated["replicas"] == 2
    assert job["parallelism"] == job["completions"] == hosts
    assert job["completionMode"] == "Indexed"
    pod = _pod(manifest)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": chips}
    exclusive = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    assert manifest["metadata"]["annotations"] == {exclusive: "cloud.google.com/gke-nodepool"}


@pytest.mark.parametrize(
    ("gpu", "accelerator"),
    [("h100", "nvidia-h100-80gb"), ("h100-mega", "nvidia-h100-mega-80gb"), ("h200", "nvidia-h200-141gb")],
)
def test_gpu_nodes_know_who_they_are(gpu, accelerator):
    manifest = _gpu("--gpu", gpu, "--nodes", "4")
    replicated, job = _job(manifest)
    assert (replicated["replicas"], job["parallelism"], job["completions"]) == (1, 4, 4)
    pod = _pod(manifest)
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": accelerator}
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    environment = {variable["name"]: variable for variable in container["env"]}
    # <jobset>-<job>-<number of the job>-<number of the pod>.<jobset>
    host, port = environment["JAX_COORDINATOR_ADDRESS"]["value"].split(":")
    assert host == f"run-1-{replicated['name']}-0-0.run-1"
    assert {"containerPort": int(port)} in container["ports"]
    assert environment["JAX_NUM_PROCESSES"]["value"] == "4"
    # GKE's documentation: the driver is there, and on no path. CUDA's own libraries must not come from elsewhere.
    assert environment["LD_LIBRARY_PATH"]["value"] == "/usr/local/nvidia/lib64"
    assert environment["JAX_PLATFORMS"]["value"] == "cuda"
    assert environment["XLA_PYTHON_CLIENT_MEM_FRACTION"]["value"] == "0.96"
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert environment["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == index


@pytest.mark.parametrize("make", MANIFESTS)
def test_what_a_pod_runs(make):
    pod = _pod(make())
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "sr_jax.train", *TRAIN]
    assert container["image"] == "registry/sr_jax:1"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert mounts["bucket"] == "/bucket"
    assert volumes["bucket"]["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
    assert volumes["bucket"]["csi"]["volumeAttributes"]["bucketName"] == "b"
    assert _job(make())[1]["template"]["metadata"]["annotations"]["gke-gcsfuse/volumes"] == "true"
    # Kubernetes allows 30 seconds by default, which is short for a checkpoint.
    assert pod["terminationGracePeriodSeconds"] >= 120


def _what_happens(manifest, *, exit_code=None, condition=None):
    """What JobSet does after a pod ended so, by the rules of Jobs and of JobSets."""
    job = _job(manifest)[1]
    reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    assert job["backoffLimit"] == 0 and job["template"]["spec"]["restartPolicy"] == "Never"
    for number, rule in enumerate(job["podFailurePolicy"]["rules"]):
        assert rule["action"] == "FailJob"
        codes = rule.get("onExitCodes", {"values": []})
        conditions = [(item["type"], item["status"]) for item in rule.get("onPodConditions", [])]
        if exit_code in codes["values"]:
            assert codes["operator"] == "In" and codes["containerName"] == _pod(manifest)["containers"][0]["name"]
            reason = "PodFailurePolicy"
            message = (
                f"Container train for pod default/p failed with exit code {exit_code} matching FailJob rule at index "
                f"{number}"
            )
            break
        if (condition, "True") in conditions:
            reason = "PodFailurePolicy"
            message = f"Pod default/p has condition {condition} matching FailJob rule at index {number}"
            break
    for rule in manifest["spec"]["failurePolicy"]["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and any(re.search(pattern, message) for pattern in patterns):
            return rule["action"]
    return "RestartJobSet"


@pytest.mark.parametrize("make", MANIFESTS)
def test_what_happens_when_a_pod_ends(make):
    manifest = make()
    for code in (2, 3):
        assert _what_happens(manifest, exit_code=code) == "FailJobSet"
    assert _what_happens(manifest, exit_code=75) == "RestartJobSetAndIgnoreMaxRestarts"
    assert _what_happens(manifest, condition="DisruptionTarget") == "RestartJobSetAndIgnoreMaxRestarts"
    for code in (1, 76, 134, 137):
        assert _what_happens(manifest, exit_code=code) == "RestartJobSet"
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] == 10
    # Else pods of two tries could write into one workdir.
    assert manifest["spec"]["failurePolicy"]["restartStrategy"] == "BlockingRecreate"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tpu", *SHARED, "--tpu", "v5p", "--topology", "4x4", "--", *TRAIN], "that of v5p has 3 numbers"),
        (["tpu", *SHARED, "--tpu", "v6e", "--topology", "4x4x4", "--", *TRAIN], "that of v6e has 2 numbers"),
        (["tpu", *SHARED, "--tpu", "v6e", "--topology", "3x3", "--", *TRAIN], "9 chips do not fill hosts of 4"),
        (["tpu", *SHARED, "--tpu", "v6e", "--topology", "8x8", "--slices", "0", "--", *TRAIN], "--slices is 0"),
        (["tpu", *SHARED, "--tpu", "v6e", "--topology", "8x8"], "no training flags"),
        (["tpu", *SHARED, "--tpu", "v9", "--topology", "8x8", "--", *TRAIN], "invalid choice: 'v9'"),
        (["gpu", *SHARED, "--gpu", "h100", "--nodes", "0", "--", *TRAIN], "--nodes is 0"),
        (["gpu", *SHARED, "--gpu", "h100", "--name", "Run_1", "--", *TRAIN], "--name is 'Run_1'"),
        (["gpu", *SHARED, "--gpu", "h100", "--max-restarts", "-1", "--", *TRAIN], "--max-restarts is -1"),
    ],
)
def test_bad_input_is_a_clear_error(arguments, message):
    stderr = _render(*arguments, expect=2)
    assert message in stderr and "Traceback" not in stderr
