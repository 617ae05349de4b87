"""The injector as admission policies: CEL that the API server evaluates itself, made of the same tables and parts as the patch.

There are two MutatingAdmissionPolicies, as there are two webhooks: for all pods of the namespaces that ask, and for the pods that ask. So
one that cannot be evaluated is in nobody else's way. Such a policy changes a pod or leaves it, and cannot say why: a
ValidatingAdmissionPolicy looks at the pods that ask afterwards, and refuses (or warns of) those without a sidecar in the injector's words.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from asrproxy import __version__
from asrproxy.kube.annotations import ANNOTATIONS, INJECT, PREFIX, STATUS, key
from asrproxy.kube.cel import Cel, added, choice, joined, lookup, render
from asrproxy.kube.inject import MIRROR, status
from asrproxy.kube.pod import DEFAULT_GRACE
from asrproxy.kube.refusal import Reason, unfit, unknown
from asrproxy.kube.settings import InjectionSettings
from asrproxy.kube.sidecar import (
    MOUNTS,
    NAME,
    SECRET_MOUNTS,
    SLACK,
    VOLUMES,
    Parts,
    application_variable,
    arguments,
    container,
    route_arguments,
    secret_volumes,
    volumes,
    waiting,
)

GROUP: Final = "admissionregistration.k8s.io/v1"
OF_NAMESPACE: Final = "namespace.inject.asrproxy.io"
OF_POD: Final = "pod.inject.asrproxy.io"
REFUSAL: Final = "refuse.asrproxy.io"

Manifest = dict[str, Any]

_HEAD: Final = f"""\
# Made by `asrproxy admission-policy` (asrproxy {__version__}): change the settings and make it anew. docs/injection.md says how it works.
"""


def manifests(settings: InjectionSettings) -> str:
    """The policies and their bindings as YAML."""
    documents = [*mutating(settings), *validating(settings)]
    texts = [yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True) for each in documents]
    return _HEAD + "---\n".join(texts)


def mutating(settings: InjectionSettings) -> list[Manifest]:
    """Policies and bindings, in turn. Kubernetes 1.36 and later."""
    says = {"key": key(INJECT), "operator": "In", "values": ["true"]}
    silent = {"key": key(INJECT), "operator": "NotIn", "values": ["true", "false"]}
    no_refusal = {"key": key(INJECT), "operator": "NotIn", "values": ["false"]}
    speaks = " || ".join(f"(has(object.metadata.{each}) && {render(key(INJECT))} in object.metadata.{each})" for each in _PLACES)
    return [
        _mutating(OF_NAMESPACE, settings),
        _binding("Mutating", OF_NAMESPACE, says, objectSelector={"matchExpressions": [no_refusal]}),
        _mutating(OF_POD, settings, matchConditions=[{"name": "speaks", "expression": speaks}]),
        _binding("Mutating", OF_POD, silent),
    ]


def validating(settings: InjectionSettings) -> list[Manifest]:
    """The policy and its binding. Kubernetes 1.30 and later."""
    rule = {
        "expression": "variables.injected || (!variables.wanted && size(variables.refusals) == 0)",
        "message": "asrproxy: no sidecar",
        "messageExpression": '"asrproxy: no sidecar: " + (size(variables.refusals) > 0 ? variables.refusals[0] : "nothing has put one in")',
        "reason": "Forbidden",
    }
    own = f"k.startsWith({render(PREFIX)}) && k != {render(key(STATUS))}"
    asks = " || ".join(f"(has(object.metadata.{each}) && object.metadata.{each}.exists(k, {own}))" for each in _PLACES)
    spec = {
        **_rules(settings),
        "matchConditions": [{"name": "asks", "expression": asks}],
        "variables": [{"name": name, "expression": each} for name, each in variables(settings).items() if name not in _FOR_PATCH],
        "validations": [rule],
    }
    allowing = {"key": key(INJECT), "operator": "NotIn", "values": ["false"]}
    actions = ["Deny" if settings.fail == "closed" else "Warn"]
    return [_policy("Validating", REFUSAL, spec), _binding("Validating", REFUSAL, allowing, actions=actions)]


_PLACES: Final = ("labels", "annotations")


def _mutating(name: str, settings: InjectionSettings, **more: Any) -> Manifest:
    spec = {
        **_rules(settings),
        **more,
        "reinvocationPolicy": "IfNeeded",
        "variables": [{"name": name, "expression": each} for name, each in variables(settings).items()],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch(settings)}}],
    }
    return _policy("Mutating", name, spec)


def _policy(prefix: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": GROUP, "kind": f"{prefix}AdmissionPolicy", "metadata": {"name": name}, "spec": spec}


def _rules(settings: InjectionSettings) -> Manifest:
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {"failurePolicy": "Fail" if settings.fail == "closed" else "Ignore", "matchConstraints": {"resourceRules": [pods]}}


def _binding(prefix: str, policy: str, namespaces: Manifest, *, actions: list[str] | None = None, **pods: Any) -> Manifest:
    """namespaces: a label's requirement. pods: an object selector."""
    system = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
    spec = {
        "policyName": policy,
        **({} if actions is None else {"validationActions": actions}),
        "matchResources": {"namespaceSelector": {"matchExpressions": [namespaces, system]}, **pods},
    }
    return {"apiVersion": GROUP, "kind": f"{prefix}AdmissionPolicyBinding", "metadata": {"name": policy}, "spec": spec}


# Variables that only the patch has a use for.
_FOR_PATCH: Final = ("config", "secret", "route", "image", "env", "ownGrace", "wait", "grace", "names", "initNames", "position")
_NO_SECRET: Final = 'variables.secret == ""'  # noqa: S105 -- a condition


def variables(settings: InjectionSettings) -> dict[str, str]:
    """What the policies' expressions speak of, in the order in which they lean on each other. Evaluated only where needed."""
    namespace = "namespaceObject.metadata.labels"
    asked_by_namespace = f'has({namespace}) && {lookup(key(INJECT), namespace, render(""))} == "true"'
    grace = choice("has(object.spec.terminationGracePeriodSeconds)", "int(object.spec.terminationGracePeriodSeconds)", str(DEFAULT_GRACE))
    drain = choice(
        f"{render(key('drain'))} in variables.annotations", f'int({_annotation("drain")}.split("s")[0])', str(int(settings.drain))
    )
    needed = f"variables.wait + {drain} + {SLACK}"
    places = ", ".join(["-1", *(f"variables.initNames.indexOf({render(name)})" for name in settings.after)])
    return {
        "annotations": choice("has(object.metadata.annotations)", "object.metadata.annotations", "{}"),
        "labels": choice("has(object.metadata.labels)", "object.metadata.labels", "{}"),
        "initContainers": choice("has(object.spec.initContainers)", "object.spec.initContainers", "[]"),
        "everyContainer": "variables.initContainers + object.spec.containers",
        "injected": f"{render(key(STATUS))} in variables.annotations && variables.everyContainer.exists(c, c.name == {render(NAME)})",
        "said": joined(
            [lookup_list(key(INJECT), "variables.annotations"), lookup_list(key(INJECT), "variables.labels")],
        ),
        "wanted": (
            'variables.said.all(v, v == "true" || v == "false") && !("false" in variables.said)'
            f' && ("true" in variables.said || ({asked_by_namespace}))'
        ),
        "mode": _said("mode", settings.mode),
        "shares": f"has(object.spec.resources) && !({render(key('resources'))} in variables.annotations)",
        "given": choice(f"{render(key('resources'))} in variables.annotations", f'{_annotation("resources")}.split(",")', "[]"),
        "requestCpu": _resource("requests.cpu", settings.requests.cpu),
        "requestMemory": _resource("requests.memory", settings.requests.memory),
        "limitCpu": _resource("limits.cpu", settings.limits.cpu or ""),
        "limitMemory": _resource("limits.memory", settings.limits.memory),
        "refusals": _refusals(settings),
        "config": _said("config", settings.config),
        "secret": _said("secret", settings.secret or ""),
        "route": _said("route", settings.route or ""),
        "image": _said("image", settings.image),
        "env": f'{_said("env", "true" if settings.env else "false")} == "true"',
        "ownGrace": grace,
        "wait": choice('variables.mode == "native"', "0", "variables.ownGrace" if settings.wait is None else str(int(settings.wait))),
        "grace": choice(f"variables.ownGrace >= {needed}", "variables.ownGrace", needed),
        "names": "object.spec.containers.map(c, string(c.name))",
        "initNames": "variables.initContainers.map(c, string(c.name))",
        "position": f"[{places}].max() + 1",
    }


def patch(settings: InjectionSettings) -> str:
    """A JSON patch: `inject()`'s, as an expression."""
    mark = key(STATUS).replace("/", "~1")
    parts = [
        choice("variables.env", joined(_application_variables(settings)), "[]"),
        choice('variables.mode == "native"', _native(settings), _classic(settings)),
        _volumes(settings),
        choice(
            "variables.grace > variables.ownGrace",
            f"[{added(render('/spec/terminationGracePeriodSeconds'), 'variables.grace')}]",
            "[]",
        ),
        choice(
            "has(object.metadata.annotations)",
            f"[{added(render(f'/metadata/annotations/{mark}'), _status())}]",
            f"[{added(render('/metadata/annotations'), f'{{{render(key(STATUS))}: {_status()}}}')}]",
        ),
    ]
    return f"variables.wanted && !variables.injected && size(variables.refusals) == 0 ?\n{joined(parts)}\n: []"


def lookup_list(name: str, within: str) -> str:
    """A map's value by its key as a list of one; an empty one where it has none."""
    return choice(f"{render(name)} in {within}", f"[string({within}[{render(name)}])]", "[]")


def _annotation(name: str) -> str:
    return f"string(variables.annotations[{render(key(name))}])"


def _said(name: str, otherwise: str) -> str:
    return choice(f"{render(key(name))} in variables.annotations", _annotation(name), render(otherwise))


def _resource(name: str, otherwise: str) -> str:
    """The first value that `resources` gives; that it gives one only is checked on its own."""
    found = f"variables.given.filter(p, p.startsWith({render(name + '=')}))"
    return choice(f"size({found}) > 0", f'{found}[0].split("=")[1]', render(otherwise))


def _refusals(settings: InjectionSettings) -> str:
    """Reasons, the first of which is told: in the order of `inject()`."""
    unlike = [
        (unfit(key(name), rule.expected), f"{render(key(name))} in variables.annotations && !({_fits(name)})")
        for name, rule in ANNOTATIONS.items()
    ]
    known = [key(STATUS), *map(key, ANNOTATIONS)]
    strange = f"variables.annotations.exists(k, k.startsWith({render(PREFIX)}) && !(k in {render(known)}))"
    taken = f'p.containerPort in {render([settings.api_port, settings.ops_port])} && (!has(p.protocol) || p.protocol == "TCP")'
    windows = [
        'has(object.spec.os) && object.spec.os.name == "windows"',
        f'has(object.spec.nodeSelector) && ({lookup("kubernetes.io/os", "object.spec.nodeSelector", render(""))} == "windows"'
        f' || {lookup("beta.kubernetes.io/os", "object.spec.nodeSelector", render(""))} == "windows")',
    ]
    resources_fit = f"!({render(key('resources'))} in variables.annotations) || {_fits('resources')}"
    twice = " || ".join(
        f"size(variables.given.filter(p, p.startsWith({render(name + '=')}))) > 1"
        for name in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
    )
    above = (
        "quantity(variables.requestMemory).compareTo(quantity(variables.limitMemory)) > 0"
        ' || (variables.limitCpu != "" && quantity(variables.requestCpu).compareTo(quantity(variables.limitCpu)) > 0)'
    )
    rows = [
        (unknown("under asrproxy.io/", ", ".join(map(key, ANNOTATIONS))), strange),
        *unlike,
        (Reason.RESOURCES_TWICE.value, twice),
        (Reason.ABOVE_LIMIT.value, f"!variables.shares && ({resources_fit}) && ({above})"),
        (Reason.MIRROR.value, f"{render(MIRROR)} in variables.annotations"),
        (Reason.HOST_NETWORK.value, "has(object.spec.hostNetwork) && object.spec.hostNetwork"),
        (Reason.WINDOWS.value, " || ".join(f"({each})" for each in windows)),
        (Reason.CONTAINER.value, f"variables.everyContainer.exists(c, c.name == {render(NAME)})"),
        (Reason.PORT.value, f"variables.everyContainer.exists(c, has(c.ports) && c.ports.exists(p, {taken}))"),
        (Reason.VOLUME.value, f"has(object.spec.volumes) && object.spec.volumes.exists(v, v.name in {render(list(VOLUMES))})"),
        (
            Reason.NEVER_ENDS.value,
            'variables.mode == "classic" && has(object.spec.restartPolicy) && object.spec.restartPolicy != "Always"',
        ),
    ]
    says = 'variables.said.all(v, v == "true" || v == "false")'
    unclear = choice(says, "[]", render([unfit(key(INJECT), ANNOTATIONS[INJECT].expected)]))
    reasons = joined([choice(condition, render([message]), "[]") for message, condition in rows])
    return f"!variables.wanted ? {unclear} : variables.injected ? [] :\n{reasons}"


def _fits(name: str) -> str:
    rule = ANNOTATIONS[name]
    return f"size({_annotation(name)}) <= {rule.longest} && {_annotation(name)}.matches({render(f'^({rule.pattern})$')})"


def _application_variables(settings: InjectionSettings) -> list[str]:
    """As in `inject()`: the native mode's init containers behind the sidecar, and the containers."""
    later = 'variables.mode == "native" && variables.initNames.indexOf(c.name) >= variables.position'
    return [
        _variable_in("variables.initContainers", "initContainers", "variables.initNames", settings, more=f" && {later}"),
        _variable_in("object.spec.containers", "containers", "variables.names", settings, more=""),
    ]


def _variable_in(containers: str, field: str, names: str, settings: InjectionSettings, *, more: str) -> str:
    variable = application_variable(settings)
    literal = render(variable, f"spec.{field}.env")
    lacks = f"!(c.name in {render(list(settings.after))}) && !(has(c.env) && c.env.exists(e, e.name == {render(variable['name'])}))"
    pointer = f"{render(f'/spec/{field}/')} + string({names}.indexOf(c.name)) + {choice('has(c.env)', render('/env/0'), render('/env'))}"
    value = choice("has(c.env)", f"dyn({literal})", f"dyn([{literal}])")
    return f"{containers}.filter(c, {lacks}{more}).map(c, {added(pointer, value)})"


def _native(settings: InjectionSettings) -> str:
    field = "spec.initContainers"
    made = render(container(_parts(field, settings, before_end=None), settings), field)
    there = f"[{added(render('/spec/initContainers/') + ' + string(variables.position)', made)}]"
    return choice("has(object.spec.initContainers)", there, f"[{added(render('/spec/initContainers'), f'[{made}]')}]")


def _classic(settings: InjectionSettings) -> str:
    field = "spec.containers"
    mark = "SECONDS"
    command = render(waiting(mark)).replace(mark, '" + string(variables.wait) + "')
    return f"[{added(render('/spec/containers/-'), render(container(_parts(field, settings, before_end=Cel(command)), settings), field))}]"


def _parts(field: str, settings: InjectionSettings, *, before_end: Cel | None) -> Parts:
    resources = f"Object.{field}.resources"
    memory, cpu = '"memory": variables.limitMemory', '"cpu": variables.limitCpu'
    limits = choice('variables.limitCpu == ""', f"{{{memory}}}", f"{{{cpu}, {memory}}}")
    requests = '{"cpu": variables.requestCpu, "memory": variables.requestMemory}'
    mounts = f"{field}.volumeMounts"
    secret = choice(_NO_SECRET, "[]", render(SECRET_MOUNTS, mounts))
    routed = choice('variables.route == ""', "[]", render(route_arguments(Cel("variables.route"))))
    return Parts(
        image=Cel("variables.image"),
        arguments=Cel(f"({render(arguments(settings))} + {routed})"),
        resources=Cel(choice("variables.shares", f"{resources}{{}}", f"{resources}{{requests: {requests}, limits: {limits}}}")),
        mounts=Cel(f"({render(MOUNTS, mounts)} + {secret})"),
        before_end=before_end,
    )


def _volumes(settings: InjectionSettings) -> str:
    usual = volumes(Cel("variables.config"), settings)
    secret = secret_volumes(Cel("variables.secret"))
    path = "spec.volumes"

    def each_added(values: list[Any]) -> str:
        return f"[{', '.join(added(render('/spec/volumes/-'), render(each, path)) for each in values)}]"

    more = choice(_NO_SECRET, "[]", each_added(secret))
    whole = f"{render(usual, path)} + {choice(_NO_SECRET, '[]', render(secret, path))}"
    return choice("has(object.spec.volumes)", f"{each_added(usual)} + {more}", f"[{added(render('/spec/volumes'), whole)}]")


def _status() -> str:
    """The four texts that `status` can make, chosen among."""

    def of_mode(mode: Any) -> str:
        return choice(_NO_SECRET, render(status(mode, secret=False)), render(status(mode, secret=True)))

    return choice('variables.mode == "native"', of_mode("native"), of_mode("classic"))


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
