"""`platform-assets policy …`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json
from platform_assets.cli.serving import serve as serve_until_told
from platform_assets.cli.usage import examples
from resources.policy_engine import PolicyEngineError, RegoEngine

_NEWEST_SUMMARIES = 24
_SHOWN_KINDS = 10

app = typer.Typer(no_args_is_help=True, help="Who may read, write and delete objects.")


@app.command(
    "check", epilog=examples("policy check --input request.json", "policy check --input - < request.json")
)
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


@app.command("serve", epilog=examples("policy serve", "policy serve --port 8182"))
def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8181,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Answer OPA's Data API, for an S3 server; what is denied is logged, and once an hour told to the ledger.

    Callers must send the token of PLATFORM_DECISION_TOKEN where it is set; others than this machine cannot do without.
    """
    from resources.decision_service import TOKEN_VARIABLE, decision_service
    from resources.http_token import token_for

    token = token_for(host, variable=TOKEN_VARIABLE, otherwise="ask who may do what, and fill the log")
    denials = outside_systems().denials
    service = decision_service(RegoEngine(), record=denials.record, token=token, summarise=denials.summarise)
    serve_until_told(service, host, port)


@app.command("denials", epilog=examples("policy denials", "policy denials --json"))
def show_denials(as_json: AsJson = False) -> None:
    """What was denied: the summaries in the ledger, whether their log is what it was, and what waits for the next."""
    found = outside_systems().denials.report(newest=_NEWEST_SUMMARIES)
    if as_json:
        print_json(found)
        return
    for summary in found["summaries"]:
        _print_tally(summary)
        if changed := [name for name, state in (summary["segments"] or {}).items() if state == "changed"]:
            print(f"  CHANGED since: {', '.join(changed)}")
    if found["waiting"]["denials"]:
        print("not in the ledger yet:")
        _print_tally(found["waiting"])
    if found["entries"]:
        print(
            f"{found['entries']} older ones are entries of their own: platform-assets ledger show --kind denial"
        )
    if not (found["summaries"] or found["waiting"]["denials"] or found["entries"]):
        print("nothing was denied")


def _print_tally(tally: dict[str, Any]) -> None:
    print(f"{tally['first']} to {tally['last']}: {tally['denials']:,} denials")
    for each in tally["counts"][:_SHOWN_KINDS]:
        who, what = each["principal"] or "(nobody)", each["action"] or "(nothing)"
        print(f"  {each['denials']:>9,}  {who} {what}: {'; '.join(each['reasons'])}")
    rest = sum(each["denials"] for each in tally["counts"][_SHOWN_KINDS:]) + tally["others"]
    if rest:
        print(f"  {rest:>9,}  others")


def _request_of(source: str) -> Any:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as problem:
        raise PolicyEngineError(f"request {source} cannot be read as JSON: {problem}") from None
    return document["input"] if isinstance(document, dict) and "input" in document else document
