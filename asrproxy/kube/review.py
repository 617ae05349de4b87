"""An AdmissionReview to its answer: pure, so that asking twice, or only to try, is the same as asking once."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from asrproxy.kube.inject import inject
from asrproxy.kube.patch import Patch
from asrproxy.kube.refusal import Malformed, Refused
from asrproxy.kube.settings import InjectionSettings

API_VERSION: Final = "admission.k8s.io/v1"


class Outcome(StrEnum):
    """What became of a pod, for the log and the counter."""

    INJECTED = "injected"
    UNCHANGED = "unchanged"
    """It has a sidecar from here, says no, or is no new pod."""
    LEFT = "left"
    """It cannot have one and starts without."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Review:
    """What the API server asks."""

    uid: str
    is_new_pod: bool
    pod: object
    where: str
    """The namespace and the name, as far as a pod has one by then."""
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What it is told. message: why the pod is refused, or starts without a sidecar."""

    outcome: Outcome
    patch: Patch = ()
    message: str = ""


class NotAReview(ValueError):
    """What was sent is no AdmissionReview of a version that is understood."""


def read(body: bytes) -> Review:
    """Raises NotAReview."""
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAReview(f"the body is not JSON: {error}") from error
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
        raise NotAReview("expected kind AdmissionReview")
    if review.get("apiVersion") != API_VERSION:
        raise NotAReview(f"expected apiVersion {API_VERSION}")
    request = review.get("request")
    if not isinstance(request, dict) or not isinstance(uid := request.get("uid"), str) or not uid:
        raise NotAReview("expected a request with a uid")
    kind = request.get("kind")
    is_pod = isinstance(kind, dict) and (kind.get("group", ""), kind.get("kind")) == ("", "Pod") and not request.get("subResource")
    pod = request.get("object")
    return Review(
        uid=uid,
        is_new_pod=is_pod and request.get("operation") == "CREATE",
        pod=pod,
        where=f"{request.get('namespace') or '?'}/{request.get('name') or _name(pod) or '?'}",
        dry_run=request.get("dryRun") is True,
    )


def answer(review: Review, settings: InjectionSettings) -> Answer:
    """Only pods about to be created are changed: the containers of one that runs cannot be."""
    if not review.is_new_pod:
        return Answer(Outcome.UNCHANGED)
    try:
        patch = inject(review.pod, settings)
    except Refused as error:
        # Whom the namespace's label reached, and not its own, is not kept from running (a node's agent with hostNetwork).
        outcome = Outcome.REFUSED if error.asked and settings.fail == "closed" else Outcome.LEFT
        return Answer(outcome, message=f"asrproxy: no sidecar: {error}")
    except Malformed:
        return Answer(Outcome.UNCHANGED)  # the API server refuses it in a moment, in its own words
    return Answer(Outcome.INJECTED if patch else Outcome.UNCHANGED, patch)


def written(review: Review, given: Answer) -> dict[str, Any]:
    """The answer's JSON."""
    response: dict[str, Any] = {"uid": review.uid, "allowed": given.outcome is not Outcome.REFUSED}
    if given.patch:
        patch = json.dumps([each.written() for each in given.patch], ensure_ascii=False, separators=(",", ":"))
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}
    if given.outcome is Outcome.REFUSED:
        response["status"] = {"code": 403, "reason": "Forbidden", "message": given.message}
    elif given.message:
        response["warnings"] = [given.message]
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}


def _name(pod: object) -> object:
    metadata = pod.get("metadata") if isinstance(pod, Mapping) else None
    return metadata.get("name", metadata.get("generateName")) if isinstance(metadata, Mapping) else None
