"""`asrproxy admission-policy`: the injector as policies that the API server itself evaluates."""

from __future__ import annotations

import sys

import typer

from asrproxy.cli.injection import ImageOption, SettingsOption, settings_of


def command(settings: SettingsOption = None, image: ImageOption = None) -> None:
    """Print a MutatingAdmissionPolicy that does what the webhook does (Kubernetes 1.36), and what refuses the pods that it cannot serve."""
    decided = settings_of(settings, image=image)
    from asrproxy.kube.admission_policy import manifests

    typer.echo(manifests(decided), file=sys.stdout, nl=False)
