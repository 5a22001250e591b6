"""A platform whose lines were judged and released without training anything, and its report server."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvicorn

from platform_assets.datasets.data_docs import data_docs_key
from platform_assets.datasets.judging import ALONE
from platform_assets.datasets.quarantine_reading import QuarantineReader
from platform_assets.drift.monitor import StateChange, WindowVerdict
from platform_assets.drift.record import record_change
from platform_assets.drift.segments import newest_picture_key
from platform_assets.governance import release as releases
from platform_assets.governance import verdict as verdicts
from platform_assets.governance.access import AccessLog
from platform_assets.governance.lineage import LINEAGE
from platform_assets.governance.release import Release
from platform_assets.governance.verdict import Verdict
from platform_assets.ledger.ledger import fingerprint_of
from platform_assets.lines.line import Line, load_line, load_lines
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
)
from platform_assets.reports.looks import SheetLooks
from platform_assets.reports.overview import Overviews
from platform_assets.reports.service import report_server
from resources.object_store import GdprClass, LocalObjectStore
from resources.settings import PlatformSettings
from tests.governance.conftest import example
from tests.line_factory import write_spec
from tests.waiting import wait_for

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
RUN = "0d8968b7-6c0e-4d6c-9a3a-6f2f5c3c5a11"


@dataclass
class Platform:
    """A home with lines, none of which was ever run."""

    home: Path
    specs: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outside = OutsideSystems(PlatformSettings(home=self.home))

    def add_line(self, name: str, **changes: Any) -> Line:
        """A line, as the small spec has it."""
        path = write_spec(self.home / "specs" / name, line=name, **changes)
        self.specs.append(path)
        return load_line(path)

    def put(self, key: str, content: bytes, gdpr_class: GdprClass = "internal") -> str:
        """An object, whatever the principal may do."""
        store = LocalObjectStore(self.outside.settings.objects_path)
        store.put(key, content, gdpr_class=gdpr_class, retention_days=9, source_commit="c0ffee")
        return key

    def register(self, line: Line, number: int = 1, *, sheet_key: str | None = None) -> RegisteredVersion:
        """A version of the line in the ledger, with its report, pictures and card in the store."""
        version = f"{number:x}" * 32
        snapshot = TableSnapshot(table="datasets.x", snapshot_id="1", content_hash=version, rows=320)
        dataset = example(
            DatasetVersion, line=line.name, snapshot=snapshot, published_at="2026-11-22T15:01:00Z"
        )
        model = example(ModelVersion, fingerprint=version, features=example(FeaturesVersion, dataset=dataset))
        folder = f"reports/dev/{line.name}/{version[:16]}"
        report = example(
            ReportVersion,
            model=model,
            report_key=f"{folder}/report-1.json",
            sheet_key=sheet_key,
            metrics={"auc": 0.9412, "auc_low": 0.93, "auc_high": 0.95},
        )
        registered = RegisteredVersion(report=report, name=line.name, number=number)
        self.put(report.report_key, b"{}")
        for picture in report.pictures:
            self.put(f"{folder}/{picture}.png", PNG)
        self.put(self.card_of(registered).html_key, b"<!doctype html><title>card</title>", "public")
        body = registered.model_dump(mode="json")
        subject = f"{line.name}_model@{version}"
        self.outside.ledger.append(LINEAGE, subject, fingerprint=fingerprint_of(**body), body=body)
        return registered

    def card_of(self, registered: RegisteredVersion) -> CardVersion:
        """The card of a version."""
        folder = f"cards/dev/{registered.name}/{registered.number}"
        return CardVersion(
            registered=registered,
            json_ld_key=f"{folder}/card-1.jsonld",
            html_key=f"{folder}/card-1.html",
            card_sha256="ab" * 32,
        )

    def judge_alone(
        self, line: Line, registered: RegisteredVersion, rule_set: str, outcome: str = "pass"
    ) -> None:
        """A verdict on the version's rows by a check of the dataset that was executed by itself."""
        verdict = Verdict(
            subject=f"{line.name}_dataset@{registered.report.model.features.dataset.version}",
            rule_set=rule_set,
            rule_set_hash=line.rule_set_hashes[rule_set],
            outcome=outcome,
            evidence={},
            producer={"code_commit": "c0ffee", ALONE: True},
        )
        verdicts.record(self.outside.ledger, verdict, evaluation_id=str(uuid4()))

    def judge(self, line: Line, registered: RegisteredVersion, **outcomes: str) -> list[str]:
        """A verdict on each demand: passed, where no other outcome is given by rule set (dots as underscores)."""
        model, made = registered.report.model, []
        for each in line.demands.of(model):
            rule_set = each.requirement.rule_set
            outcome = outcomes.get(rule_set.replace(".", "_"), "pass")
            verdict = Verdict(
                subject=each.subject,
                rule_set=rule_set,
                rule_set_hash=each.rule_set_hash,
                outcome=outcome,
                evidence={"observed": 0.5, "demanded": "> 0.55"},
                producer={"code_commit": "c0ffee"},
            )
            made.append(verdicts.record(self.outside.ledger, verdict, evaluation_id=RUN).hash)
        content_hash = model.features.dataset.version
        self.put(
            data_docs_key("dev", line.name, content_hash=content_hash, run_id=RUN), b"<title>docs</title>"
        )
        return made

    def release(self, line: Line, registered: RegisteredVersion, *, pin: bool = False) -> Release:
        """An active release of the version, whose verdicts have passed."""
        ledger = self.outside.ledger
        made = self.judge(line, registered)
        release = Release(
            line=line.name,
            card=self.card_of(registered),
            deployment={"manifest_key": "isvc.yaml"},
            verdicts=tuple(sorted(made)),
        )
        releases.record(ledger, release)
        releases.activate(
            ledger,
            line.name,
            release.release_id,
            reason="materialized in run 1",
            requirements=line.demands.of(registered.report.model),
            pin=pin,
            now=datetime.now(UTC),
        )
        return release

    def drift(self, line: Line, *states: str, column: str = "score", picture: bool = True) -> None:
        """A column of the line comes into these states, one after the other."""
        at = datetime.now(UTC)
        for state in states:
            found = WindowVerdict(
                line.name,
                1,
                column,
                "count",
                at - timedelta(seconds=9),
                at,
                250,
                0.3,
                0.29,
                0.31,
                1e-6,
                1.0,
                0.14,
                state,
            )
            record_change(
                self.outside.ledger,
                line.name,
                "a1b2",
                StateChange(column, state, found),
                salt=self.outside.salt,
            )
        if picture:
            self.put(newest_picture_key("dev", line.name), PNG)

    def overviews(self, **options: Any) -> Overviews:
        """What the pages are made from, read anew for each."""
        options = {"fresh_seconds": 0.0} | options
        return Overviews(self.outside, lambda: load_lines(self.specs), **options)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """A home with nothing in it."""
    return Platform(tmp_path / "home")


@dataclass(frozen=True)
class Answer:
    """What came back over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Server:
    """A report server on a socket, which is asked with the very bytes that a test says."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, path: str | bytes, *, method: str = "GET", host: str | None = "localhost", **headers: str
    ) -> Answer:
        """The answer to one request; of the headers, underscores stand for hyphens."""
        target = path.encode("latin-1") if isinstance(path, str) else path
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if host is not None:
            lines.insert(0, f"Host: {host}")
        head = b"%s %s HTTP/1.1\r\n" % (method.encode(), target)
        return self.send(
            head + "".join(f"{line}\r\n" for line in [*lines, "Connection: close"]).encode() + b"\r\n"
        )

    def send(self, request: bytes) -> Answer:
        """The answer to these bytes; status 0 where the connection was closed without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            received = b"".join(iter(lambda: connection.recv(65_536), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(status.split()[1]) if status else 0, headers, body)


@contextmanager
def serving(platform: Platform, **options: Any) -> Iterator[Server]:
    """A report server of a platform; options are those of `report_server`, or `store` for another one."""
    store = options.pop("store", None) or platform.outside.object_store
    reader = QuarantineReader(platform.outside)
    looks = SheetLooks(AccessLog(platform.outside), platform.outside.salt)
    service = report_server(store, platform.overviews().current, reader, looks, **options)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(service, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started, "the report server is up", every=0.01)
        try:
            yield Server(bound.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def serve(platform: Platform) -> Iterator[Callable[..., Server]]:
    """Starts report servers of the platform, as `serving` does."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(platform, **options))
