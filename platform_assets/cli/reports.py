"""`platform-assets reports …`."""

import sys
from typing import Annotated

import typer

from platform_assets.cli.common import chosen_lines, outside_systems
from platform_assets.cli.serving import serve as serve_until_told
from platform_assets.cli.usage import examples
from resources.settings import REPORTS_PORT

app = typer.Typer(no_args_is_help=True, help="Cards, reports and the state of all lines, in a browser.")


@app.callback()
def _group() -> None:
    """A group also while it has one command."""


@app.command("serve", epilog=examples("reports serve", "reports serve --port 8301"))
def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = REPORTS_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Show stored pages and pictures, and a front page of all lines; `platform-assets ui` does so too.

    Whoever reaches it sees what PLATFORM_PRINCIPAL__… may read: it asks nobody who they are. It answers to the names of
    this machine, to the host of PLATFORM_REPORTS_URL and to those of PLATFORM_REPORTS_HOSTS.
    """
    from platform_assets.datasets.quarantine_reading import QuarantineReader
    from platform_assets.governance.access import AccessLog
    from platform_assets.reports.hosts import known_names
    from platform_assets.reports.looks import SheetLooks
    from platform_assets.reports.overview import Overviews
    from platform_assets.reports.service import report_server

    outside = outside_systems()
    settings = outside.settings
    overviews = Overviews(outside, lambda: chosen_lines(outside, None))
    names = known_names(settings.reports_url, settings.reports_hosts)
    looks = SheetLooks(AccessLog(outside), outside.salt)
    reader = QuarantineReader(outside)
    service = report_server(outside.object_store, overviews.current, reader, looks, names=names)
    serve_until_told(service, host, port)


def serve_command(host: str, port: int) -> list[str]:
    """The command line that serves there, with this Python."""
    return [
        sys.executable,
        "-m",
        "platform_assets.cli",
        "reports",
        "serve",
        f"--host={host}",
        f"--port={port}",
    ]
