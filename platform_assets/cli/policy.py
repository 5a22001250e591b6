"""`platform-assets policy …`."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json
from platform_assets.cli.serving import serve as serve_until_told
from resources.policy_engine import PolicyEngineError, RegoEngine

app = typer.Typer(no_args_is_help=True, help="Who may read, write and delete objects.")


@app.command("check")
def check(
    source: Annotated[
        str, typer.Option("--input", help='File with the request, or with {"input": request}; - reads stdin.')
    ],
    as_json: AsJson = False,
) -> None:
    """Decide one request, as the object store would: exit 0 where it is allowed, 1 where it is denied."""
    decision = RegoEngine().decide(_request_of(source))
    shown = {"allow": decision.allow, "reasons": list(decision.reasons)}
    if as_json:
        print_json(shown)
    else:
        print(json.dumps(shown))
    if not decision.allow:
        raise typer.Exit(1)


@app.command("serve")
def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8181,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Answer OPA's Data API, for an S3 server; denials go into the ledger.

    Callers must send the token of PLATFORM_DECISION_TOKEN where it is set.
    """
    from platform_assets.ledger.denials import record_denial
    from resources.decision_service import TOKEN_VARIABLE, decision_service

    ledger = outside_systems().ledger
    service = decision_service(
        RegoEngine(),
        record=lambda request, decision: record_denial(ledger, request, decision),
        token=os.environ.get(TOKEN_VARIABLE),
    )
    serve_until_told(service, host, port)


def _request_of(source: str) -> Any:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as problem:
        raise PolicyEngineError(f"request {source} cannot be read as JSON: {problem}") from None
    return document["input"] if isinstance(document, dict) and "input" in document else document
