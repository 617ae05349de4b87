"""Why a pod gets no sidecar: the sentences that the command, the webhook and the policy share."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Each ends as a person would read it; what is to be done comes after the colon."""

    HOST_NETWORK = "the pod uses the node's network, where the sidecar's ports belong to everybody: take hostNetwork away"
    WINDOWS = "the pod runs on Windows nodes, the sidecar on Linux only"
    MIRROR = "the pod is a static pod's mirror, which only its node may change"
    CONTAINER = "a container named asrproxy is there already, and not put there by injection: rename it, or say no to injection"
    PORT = "a container declares a port that the sidecar needs: give the application another"
    VOLUME = "a volume has a name that the sidecar's volumes need: rename it"
    NEVER_ENDS = "in classic mode a pod that is to end (restartPolicy Never or OnFailure, as in a Job) never would: use native mode"
    RESOURCES_TWICE = "asrproxy.io/resources gives a value twice"
    ABOVE_LIMIT = "asrproxy.io/resources and the platform's defaults amount to a request above its limit: give both"


class Refused(Exception):
    """A pod that cannot have a sidecar as things are.

    asked: whether the pod itself asks for one; where it does not (its namespace does, for all of its pods), it is better left alone
    than kept from running.
    """

    def __init__(self, reason: str, *, asked: bool) -> None:
        super().__init__(reason)
        self.asked = asked


def unknown(names: str, known: str) -> str:
    """An annotation that is none, most likely misspelt."""
    return f"unknown annotation {names}; known are {known}"


def unfit(annotation: str, expected: str) -> str:
    """An annotation's value that it cannot have."""
    return f"{annotation}: expected {expected}"


class Malformed(ValueError):
    """What was given as a pod is none: the message says where and what was expected."""
