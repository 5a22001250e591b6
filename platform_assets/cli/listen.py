"""`platform-assets listen`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from platform_assets.cli.common import outside_systems
from platform_assets.cli.serving import serve


def listen(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8170,
    folder: Annotated[
        Path | None, typer.Option("--triggers", help="Folder of Tekton trigger files. Default: k8s/triggers.")
    ] = None,
) -> None:
    """Take webhooks of GitHub, Gitea and GitLab, and queue the pushes that retrain lines.

    Secrets come from PLATFORM_SECRET_<NAME>_<KEY>, as the trigger files name them; the token
    of /v1/retrain from PLATFORM_SECRET_RETRAIN_TOKEN.
    """
    from sensors.event_listener import (
        RETRAIN_TOKEN,
        Result,
        RetrainParams,
        event_listener,
        secret_variable,
        without_secret,
    )
    from sensors.push_queue import enqueue, push_of
    from sensors.tekton import SecretRef
    from sensors.triggers import read_triggers, triggers_folder

    outside = outside_systems()
    settings, ledger = outside.settings, outside.ledger
    triggers = read_triggers(folder or triggers_folder())

    def secrets(ref: SecretRef) -> str | None:
        return os.environ.get(secret_variable(ref))

    def accept(params: RetrainParams) -> Result:
        push = push_of(params.repository, params.ref, params.sha, settings.git_repositories)
        if push is None:
            return Result.IGNORED
        return Result.QUEUED if enqueue(ledger, push) else Result.DUPLICATE

    service = event_listener(
        triggers, accept=accept, secrets=secrets, trusted_proxies=settings.trusted_proxies
    )
    for trigger in triggers.triggers:
        if trigger.name in without_secret(triggers, secrets):
            variable = secret_variable(trigger.signature.secret)
            print(f"{trigger.name} refuses everything: {variable} is not set", file=sys.stderr)
    if not secrets(RETRAIN_TOKEN):
        print(f"/v1/retrain refuses everything: {secret_variable(RETRAIN_TOKEN)} is not set", file=sys.stderr)
    if not settings.git_repositories:
        print("every push is ignored: PLATFORM_GIT_REPOSITORIES names no repository", file=sys.stderr)
    with ledger.kept_open():  # an answer waits for the disk once, not thrice
        serve(service, host, port)
