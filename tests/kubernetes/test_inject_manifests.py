"""`asrproxy inject`: manifests as people keep them come out with sidecars, and with every other byte as it was."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.errors import ConfigError
from asrproxy.kube.manifest import injected, joined
from asrproxy.kube.settings import InjectionSettings
from asrproxy.kube.stream import split
from tests.cli.running import ASRPROXY, Terminal
from tests.kubernetes.pods import DEFAULTS, Pod, pods
from tests.kubernetes.pods import injected as pod_injected
from tests.kubernetes.validity import NEWEST, OLDEST, schema_faults

DEPLOYMENT = """\
# What the shop runs.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop   # by team two
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata:
      labels:
        app: "shop"
      annotations:
        asrproxy.io/env: 'true'     # it calls speech recognition
      # the end of what is said about it
    spec:
      # one container
      containers:
        - name: shop
          image: "shop:1"
          command: ["/bin/sh",   '-c']
          env:
            # where it listens
            - name: PORT
              value: "8080"
      volumes:
        - name: data
          emptyDir: {}
      # after the volumes

  # how it is replaced
  strategy: {type: RollingUpdate}
"""
OTHERS = """\
%YAML 1.2
---
# not a workload, oddly   spaced
kind:   ConfigMap
apiVersion: v1
metadata: {name: x}
data:
  a: |
    kind: Service
     ---  not a marker
  b: "\\u00e9"
...
---   # a comment
apiVersion: helm.example/v1
kind: Chart
values: {{ .Values.a }}
---
"""


def added_lines(before: str, after: str) -> list[str]:
    """The lines that `after` has more, in order; what it has from `before` must be all of that, in order."""
    kept = iter(before.splitlines(keepends=True))
    expected, added = next(kept, None), []
    for line in after.splitlines(keepends=True):
        if line == expected:
            expected = next(kept, None)
        else:
            added.append(line)
    assert expected is None, f"changed or lost: {expected!r}"
    return added


def test_a_manifest_only_gains_lines() -> None:
    done = injected(DEPLOYMENT, "shop.yaml", DEFAULTS)
    assert done.refusals == ()
    added = "".join(added_lines(DEPLOYMENT, done.text))
    assert "- name: asrproxy\n" in added
    lines = done.text.splitlines()
    # Each where it belongs, in the file's own style, and comments still over what they speak of.
    assert lines[lines.index("            # where it listens") - 2 :][:4] == [
        "            - name: ASR_URL",
        "              value: http://127.0.0.1:8790",
        "            # where it listens",
        "            - name: PORT",
    ]
    assert lines.index("      # the end of what is said about it") == lines.index("    spec:") - 1
    assert lines[lines.index("        - name: data") + 2] == "        - name: asrproxy-config"
    assert lines[-3:] == ["", "  # how it is replaced", "  strategy: {type: RollingUpdate}"]


def test_what_is_put_at_the_end_of_one_list_does_not_run_into_the_next() -> None:
    """The last container's variables, the pod's volumes and the template's metadata all come behind one and the same line."""
    head = "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n"
    text = head + "      containers:\n      - image: b   # last\n        name: a\n"
    done = injected(text, "x", InjectionSettings(env=True)).text
    added_lines(text, done)
    assert done.splitlines()[8:11] == ["        env:", "        - name: ASR_URL", "          value: http://127.0.0.1:8790"]


def test_it_is_the_pod_that_the_injector_makes() -> None:
    before, after = yaml.safe_load(DEPLOYMENT), yaml.safe_load(injected(DEPLOYMENT, "shop.yaml", DEFAULTS).text)
    template = before["spec"]["template"]
    assert after == {**before, "spec": {**before["spec"], "template": pod_injected(template)}}
    for version in (OLDEST, NEWEST):
        assert schema_faults(after, version) == []


def test_a_second_run_changes_nothing() -> None:
    once = injected(OTHERS + DEPLOYMENT, "x", DEFAULTS).text
    assert injected(once, "x", DEFAULTS).text == once


def test_all_else_goes_through_byte_for_byte() -> None:
    for text in (OTHERS, "", "\n", "# only a comment\n", "---\n---\n", "no newline: at the end", OTHERS.replace("\n", "\r\n")):
        assert injected(text, "x", DEFAULTS).text == text
    mixed = OTHERS + DEPLOYMENT + "...\n" + OTHERS
    done = injected(mixed, "x", DEFAULTS).text
    assert done.startswith(OTHERS)
    assert done.endswith(OTHERS)


def test_line_ends_stay_as_they_are() -> None:
    text = DEPLOYMENT.replace("\n", "\r\n")
    done = injected(text, "x", DEFAULTS).text
    assert done.count("\n") == done.count("\r\n") > text.count("\r\n")
    added_lines(text, done)


def test_a_file_without_a_last_line_end() -> None:
    done = injected(DEPLOYMENT.rstrip("\n"), "x", DEFAULTS)
    assert yaml.safe_load(done.text) == yaml.safe_load(injected(DEPLOYMENT, "x", DEFAULTS).text)


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "b"}]}}
KINDS: dict[tuple[str, str], Mapping[str, Any]] = {
    ("v1", "Pod"): TEMPLATE,
    ("v1", "PodTemplate"): {"template": TEMPLATE},
    ("v1", "ReplicationController"): {"spec": {"template": TEMPLATE}},
    ("apps/v1", "Deployment"): {"spec": {"template": TEMPLATE}},
    ("apps/v1", "StatefulSet"): {"spec": {"template": TEMPLATE}},
    ("apps/v1", "DaemonSet"): {"spec": {"template": TEMPLATE}},
    ("apps/v1", "ReplicaSet"): {"spec": {"template": TEMPLATE}},
    ("batch/v1", "Job"): {"spec": {"template": TEMPLATE}},
    ("batch/v1", "CronJob"): {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}},
}


def manifest(api: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, **KINDS[api, kind]}


def sidecars(document: object) -> int:
    """How many there are anywhere in it."""
    match document:
        case dict():
            return (document.get("name") == "asrproxy" and "securityContext" in document) + sum(map(sidecars, document.values()))
        case list():
            return sum(map(sidecars, document))
        case _:
            return 0


@pytest.mark.parametrize(("api", "kind"), KINDS, ids=lambda each: str(each).replace("/", "-"))
def test_every_kind_that_holds_pods(api: str, kind: str) -> None:
    for flow in (True, False):
        text = yaml.safe_dump(manifest(api, kind), default_flow_style=flow)
        assert sidecars(yaml.safe_load(injected(text, "x", DEFAULTS).text)) == 1
    assert sidecars(json.loads(injected(json.dumps(manifest(api, kind)), "x", DEFAULTS).text)) == 1


def test_a_list_of_them_and_one_of_a_kind() -> None:
    several = {"apiVersion": "v1", "kind": "List", "items": [manifest(api, kind) for api, kind in KINDS] + [{"kind": "Secret"}]}
    assert sidecars(yaml.safe_load(injected(yaml.safe_dump(several), "x", DEFAULTS).text)) == len(KINDS)
    untyped = {"metadata": {"name": "x"}, "spec": {"template": TEMPLATE}}
    typed = {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [untyped]}
    assert sidecars(json.loads(injected(json.dumps(typed), "x", DEFAULTS).text)) == 1


@pytest.mark.parametrize("api", ["example.com/v1", "argoproj.io/v1alpha1"])
def test_somebody_elses_kind_of_the_same_name_is_theirs(api: str) -> None:
    text = yaml.safe_dump({**manifest("apps/v1", "Deployment"), "apiVersion": api})
    assert injected(text, "x", DEFAULTS).text == text


def test_json_stays_json_with_its_indentation() -> None:
    text = json.dumps(manifest("v1", "Pod"), indent=4) + "\n"
    done = injected(text, "x", DEFAULTS).text
    assert done == json.dumps(json.loads(done), indent=4) + "\n"
    one_line = json.dumps(manifest("v1", "Pod"))
    assert "\n" not in injected(one_line, "x", DEFAULTS).text


ALIASES = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: first}
  spec: &spec   # shared
    containers:
    # the only one
    - name: a
      image: b
- apiVersion: v1
  kind: Pod
  metadata: {name: second, annotations: {asrproxy.io/inject: "false"}}
  spec: *spec
- apiVersion: v1
  kind: Pod
  metadata: {name: third}
  spec:
    <<: *spec
    restartPolicy: Never
"""


def test_what_an_alias_shares_gets_a_sidecar_only_where_it_is_wanted() -> None:
    done = injected(ALIASES, "x", DEFAULTS).text
    first, second, third = yaml.safe_load(done)["items"]
    assert (sidecars(first), sidecars(second), sidecars(third)) == (1, 0, 1)
    assert third["spec"]["restartPolicy"] == "Never"
    assert "# the only one" in done
    windows = injected(ALIASES.replace("\n", "\r\n"), "x", DEFAULTS).text
    assert windows == done.replace("\n", "\r\n")
    assert injected(done, "x", DEFAULTS).text == done


@settings(max_examples=40, deadline=None)
@given(pod=pods(), style=st.sampled_from([None, True, False]), width=st.sampled_from([20, 1000]), before=st.sampled_from(["", OTHERS]))
def test_any_pod_in_any_style_comes_out_as_the_injector_makes_it(pod: Pod, style: bool | None, width: int, before: str) -> None:
    document = {"apiVersion": "v1", "kind": "Pod", **pod}
    text = yaml.safe_dump(document, default_flow_style=style, width=width, allow_unicode=True)
    done = injected(before + text, "x", DEFAULTS)
    assert done.refusals == ()
    assert done.text.startswith(before)
    assert yaml.safe_load(done.text[len(before) :]) == {"apiVersion": "v1", "kind": "Pod", **pod_injected(pod)}
    if style is False:  # then even its text is only added to, but for what was empty, and the grace
        added_lines(lasting(text), lasting(done.text[len(before) :]))


def lasting(text: str) -> str:
    """The lines that injection has no reason to change."""
    lines = text.splitlines(keepends=True)
    return "".join(each for each in lines if not re.search(r": (\[\]|\{\})$|^  terminationGracePeriodSeconds: ", each))


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("-. \n\r#a:{"), max_size=40))
def test_the_documents_of_a_stream_are_the_stream(text: str) -> None:
    assert "".join(piece.before + piece.body for piece in split(text)) == text


def test_several_streams_become_one_with_documents_apart() -> None:
    assert list(yaml.safe_load_all(joined(["a: 1", "---\nb: 2\n", "", "c: 3\n"]))) == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_what_should_be_looked_at_and_is_no_yaml_is_said_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^x:4: not YAML: "):
        injected("a: 1\n---\nkind: Pod\nb: ]\n", "x", DEFAULTS)


HOSTED = "apiVersion: v1\nkind: Pod\nmetadata: {name: agent}\nspec: {hostNetwork: true, containers: [{name: a, image: b}]}\n"


def test_through_a_pipe_and_from_files(terminal: Terminal) -> None:
    piped = terminal.run("inject", stdin=(OTHERS + DEPLOYMENT).encode())
    assert (piped.status, piped.err) == (0, "")
    assert piped.out == injected(OTHERS + DEPLOYMENT, "x", DEFAULTS).text
    terminal.write("a.yaml", DEPLOYMENT)
    terminal.write("b.yaml", "kind: Secret\n")
    both = terminal.run(
        "inject", "-f", "a.yaml", "--filename", "-", "-f", "b.yaml", "--image", "registry.example/asr:3", stdin=OTHERS.encode()
    )
    assert both.status == 0
    assert "image: registry.example/asr:3" in both.out
    assert both.out.endswith("kind: Secret\n")


def test_a_refusal_is_told_and_nothing_is_written(terminal: Terminal) -> None:
    terminal.write("a.yaml", "kind: Secret\n---\n" + HOSTED + "---\n" + DEPLOYMENT)
    said = terminal.run("inject", "-f", "a.yaml")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("a.yaml:3: Pod/agent: the pod uses the node's network")
    opened = terminal.run("inject", "-f", "a.yaml", "--fail", "open")
    assert opened.status == 0
    assert opened.err.startswith("a.yaml:3: Pod/agent: ")
    assert HOSTED in opened.out
    assert [sidecars(each) for each in yaml.safe_load_all(opened.out)] == [0, 0, 1]


def test_files_that_cannot_be_used_are_named(terminal: Terminal) -> None:
    assert (missing := terminal.run("inject", "-f", "none.yaml")).status == 2
    assert missing.err == "none.yaml: cannot be read: No such file or directory\n"
    terminal.write("s.yaml", "imge: x\nrequests: {memory: 2Gi}\nafter: [A_B]\ndrain: 250ms\n")
    wrong = terminal.run("inject", "--settings", "s.yaml")
    assert wrong.status == 2
    assert wrong.err.splitlines() == [
        "s.yaml:1: imge: unknown key; did you mean image?",
        "s.yaml:3: after[0]: expected a container's name",
        "s.yaml:4: drain: expected whole seconds, at most 24h: Kubernetes counts so",
    ]
    assert terminal.run("inject", "--image", "not an image").status == 2


def test_settings_come_from_the_file(terminal: Terminal) -> None:
    terminal.write("s.yaml", "image: registry.example/asr:4\nconfig: team\nlimits: {cpu: 1, memory: 2Gi}\nopt_in: true\n")
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {annotations: {asrproxy.io/inject: 'true'}}\nspec:\n  containers: [{name: a, image: b}]\n"
    done = terminal.run("inject", "--settings", "s.yaml", stdin=pod.encode())
    given = InjectionSettings(image="registry.example/asr:4", config="team", limits={"cpu": "1", "memory": "2Gi"}, opt_in=True)
    assert done.out == injected(pod, "stdin", given).text
    assert "cpu: '1'" in done.out
    assert terminal.run("inject", "--settings", "s.yaml", stdin=DEPLOYMENT.encode()).out == DEPLOYMENT


def test_a_closed_pipe_is_no_stack_trace(terminal: Terminal) -> None:
    big = (DEPLOYMENT + "---\n") * 40
    with subprocess.Popen(
        [ASRPROXY, "inject"], env=dict(terminal.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, said = process.communicate(big.encode(), timeout=60)
    assert b"Traceback" not in said


@pytest.mark.parametrize("name", ["yes", "1e3", "0x1f", "null", "1.5", "12", "on"])
def test_a_name_that_reads_like_something_else_stays_text(name: str) -> None:
    """YAML 1.1, which Kubernetes reads, and 1.2 differ in what is a number or a switch."""
    aliased = ALIASES.replace('{asrproxy.io/inject: "false"}', "{}")
    for text in (DEPLOYMENT, aliased):
        done = injected(text, "x", InjectionSettings(config=name.replace("_", ""), route=name)).text
        assert f"name: '{name}'" in done
        assert f"- '{name}'" in done
