"""A line has one active release, and only verdicts move it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from platform_assets.governance.errors import PinnedError, ReleaseError, VerdictMissingError
from platform_assets.governance.release import (
    ACTIVATION,
    Release,
    activate,
    active,
    pin_state,
    record,
    release,
    releases,
    unpin,
)
from platform_assets.ledger.errors import LedgerError

LINE = "reviews_sentiment"


@pytest.fixture
def new_release(ledger, judge, make_release):
    """A recorded release of the model `fingerprint`, whose verdict came out as `outcome`."""

    def new_release(fingerprint="aaaa", outcome="pass"):
        entry = judge(outcome, subject=f"{LINE}_model@{fingerprint}")
        made = make_release(entry.hash, fingerprint=fingerprint)
        record(ledger, made)
        return made

    return new_release


@pytest.fixture
def switch(ledger, clock, require):
    """Activates a release under the requirement that its model passed `gate.auc`."""

    def switch(to, *, judged=None, **options):
        subject = f"{LINE}_model@{judged or to.versions['model']}"
        return activate(
            ledger,
            LINE,
            to.release_id,
            reason="routine",
            requirements=[require(subject=subject)],
            now=clock.time,
            **options,
        )

    return switch


def activations(ledger):
    """The history of the pointer."""
    return list(ledger.entries(kind=ACTIVATION, subject=LINE))


# --- The record -------------------------------------------------------------------------------------


def test_a_recorded_release_is_read_back_whole(ledger, clock, new_release):
    """What was recorded is what every later reader sees, with the time at which it was recorded."""
    made = new_release()
    found = release(ledger, LINE, made.release_id)
    assert found == made.model_copy(update={"created_at": clock.time})
    assert releases(ledger, LINE) == [found]
    assert releases(ledger, "credit_scorecard") == []


def test_equal_content_is_one_release(ledger, clock, new_release):
    """Recording it again, later, adds nothing; the id depends on the content alone."""
    made = new_release()
    clock.advance(days=1)
    record(
        ledger, Release(**{name: getattr(made, name) for name in ("line", "card", "deployment", "verdicts")})
    )
    assert [found.release_id for found in releases(ledger, LINE)] == [made.release_id]
    assert len(made.release_id) == 16
    assert new_release("bbbb").release_id != made.release_id


def test_a_release_has_the_id_of_its_content(ledger, new_release):
    """An id that was given or kept cannot be recorded with other content."""
    made = new_release()
    for forged in (
        made.model_copy(update={"release_id": "0" * 16}),
        made.model_copy(update={"deployment": {"manifest_key": "another"}}),
    ):
        with pytest.raises(ReleaseError, match="does not have the id of its content"):
            record(ledger, forged)


def test_a_release_names_verdicts_of_the_ledger(ledger, new_release, make_release):
    """Not none, not unknown ones, and not other entries."""
    new_release()
    with pytest.raises(ValidationError):
        make_release()
    for entry_hash in ("0" * 64, ledger.latest("release", LINE).hash):
        with pytest.raises(ReleaseError, match="is no verdict of the ledger"):
            record(ledger, make_release(entry_hash))


def test_a_release_is_made_of_assets_of_its_line(make_release):
    """Mixing lines is refused."""
    with pytest.raises(ValidationError, match="assets of credit_scorecard"):
        make_release("0" * 64, made_for="credit_scorecard")


# --- The pointer ------------------------------------------------------------------------------------


def test_a_line_starts_without_an_active_release(ledger, new_release):
    """Recording a release does not activate it."""
    new_release()
    assert active(ledger, LINE) is None
    assert pin_state(ledger, LINE) is None


def test_the_newest_activation_is_the_active_release(ledger, new_release, switch):
    """Each activation names its predecessor and the verdicts that allowed it."""
    first, second = new_release("aaaa"), new_release("bbbb")
    switch(first)
    assert active(ledger, LINE).release_id == first.release_id
    switch(second)
    assert active(ledger, LINE).release_id == second.release_id
    switch(first)
    assert active(ledger, LINE).release_id == first.release_id
    assert [(entry.body["previous"], entry.body["release_id"]) for entry in activations(ledger)] == [
        (None, first.release_id),
        (first.release_id, second.release_id),
        (second.release_id, first.release_id),
    ]
    assert activations(ledger)[1].body["verdicts"] == list(second.verdicts)


def test_activating_the_active_release_adds_nothing(ledger, clock, new_release, switch):
    """A repeated deployment leaves one activation."""
    made = new_release()
    entry = switch(made)
    clock.advance(hours=1)
    assert switch(made) == entry
    assert activations(ledger) == [entry]


def test_an_unknown_release_cannot_be_activated(ledger, new_release, switch, make_release):
    """Neither one that was never recorded nor one of another line."""
    new_release()
    with pytest.raises(ReleaseError, match="has no release"):
        switch(make_release("0" * 64))
    with pytest.raises(ReleaseError, match="credit_scorecard has no release"):
        release(ledger, "credit_scorecard", new_release().release_id)


@pytest.mark.parametrize("outcome", ["fail", "error"])
def test_a_release_without_its_verdicts_is_not_activated(ledger, new_release, switch, outcome):
    """The active release stays what it was, pinned or not."""
    good, bad = new_release("aaaa"), new_release("bbbb", outcome)
    switch(good)
    for pin in (False, True):
        with pytest.raises(
            VerdictMissingError, match=f"activation of release {bad.release_id} of {LINE} is blocked"
        ):
            switch(bad, pin=pin)
    assert active(ledger, LINE).release_id == good.release_id


def test_verdicts_are_verified_again_at_each_activation(ledger, judge, new_release, switch):
    """A rollback to a release whose model has failed since is refused, and so is repeating its activation."""
    first, second = new_release("aaaa"), new_release("bbbb")
    switch(first)
    switch(second)
    for made in (first, second):
        judge("fail", subject=f"{LINE}_model@{made.versions['model']}", evaluation_id="run-2")
        with pytest.raises(VerdictMissingError):
            switch(made, pin=True)
    assert active(ledger, LINE).release_id == second.release_id


def test_verdicts_on_another_version_do_not_count(ledger, new_release, switch):
    """Requirements that were resolved for one release cannot activate another."""
    good, bad = new_release("aaaa"), new_release("bbbb", "fail")
    with pytest.raises(ReleaseError, match="says nothing about it"):
        switch(bad, judged=good.versions["model"])
    assert active(ledger, LINE) is None


def test_a_damaged_ledger_activates_nothing(ledger, new_release, switch, tamper):
    """Not even a release that has all its verdicts."""
    made = new_release()
    new_release("bbbb")
    tamper.execute("DELETE FROM entries WHERE seq = 3")
    with pytest.raises(LedgerError):
        switch(made)
    assert activations(ledger) == []


def test_lines_do_not_mind_each_other(ledger, new_release, switch):
    """A pointer belongs to one line."""
    switch(new_release(), pin=True)
    assert active(ledger, "credit_scorecard") is None
    assert pin_state(ledger, "credit_scorecard") is None


# --- Pins -------------------------------------------------------------------------------------------


def test_a_pinned_line_stays_where_it_is(ledger, clock, new_release, switch):
    """Automation is refused with who pinned the line and why; the pinned release itself may be activated again."""
    first, second = new_release("aaaa"), new_release("bbbb")
    switch(second)
    pinned = switch(first, pin=True)
    state = pin_state(ledger, LINE)
    assert (state.release_id, state.by, state.reason, state.since) == (
        first.release_id,
        "ada",
        "routine",
        clock.time,
    )
    with pytest.raises(PinnedError, match=rf"pinned to release {first.release_id} by ada \(routine\)"):
        switch(second)
    assert switch(first) == pinned
    assert switch(first, pin=True) == pinned
    assert pin_state(ledger, LINE) == state


def test_another_rollback_moves_the_pin(ledger, new_release, switch):
    """Whoever pins may pin elsewhere."""
    first, second = new_release("aaaa"), new_release("bbbb")
    switch(first, pin=True)
    switch(second, pin=True)
    assert pin_state(ledger, LINE).release_id == second.release_id


def test_the_active_release_can_be_pinned(ledger, new_release, switch):
    """Pinning what is active already is an activation of its own."""
    made = new_release()
    switch(made)
    assert switch(made, pin=True).body["previous"] == made.release_id
    assert pin_state(ledger, LINE).release_id == made.release_id


def test_an_unpinned_line_moves_again(ledger, new_release, switch):
    """The release stays active until something else is activated; a new pin holds again."""
    first, second = new_release("aaaa"), new_release("bbbb")
    switch(first, pin=True)
    entry = unpin(ledger, LINE, by="grace", reason="fixed upstream")
    assert entry.body == {"release_id": first.release_id, "by": "grace", "reason": "fixed upstream"}
    assert pin_state(ledger, LINE) is None
    assert active(ledger, LINE).release_id == first.release_id
    switch(first, pin=True)
    assert pin_state(ledger, LINE).release_id == first.release_id
    unpin(ledger, LINE, by="grace", reason="fixed upstream")
    switch(second)
    assert active(ledger, LINE).release_id == second.release_id


def test_unpinning_needs_a_pin_a_person_and_a_reason(ledger, new_release, switch):
    """What is not pinned cannot be unpinned, and nobody lets go anonymously."""
    switch(new_release())
    with pytest.raises(ReleaseError, match="is not pinned"):
        unpin(ledger, LINE, by="grace", reason="fixed upstream")
    switch(new_release(), pin=True)
    for by, reason in (("", "fixed upstream"), ("grace", " ")):
        with pytest.raises(ReleaseError, match="names who lets go"):
            unpin(ledger, LINE, by=by, reason=reason)
    assert pin_state(ledger, LINE) is not None


# --- Races ------------------------------------------------------------------------------------------


def test_activations_at_once_form_one_history(ledger, new_release, switch):
    """Each activation succeeds the one before; a reader in between always finds exactly one release."""
    made = [new_release(fingerprint) for fingerprint in ("aaaa", "bbbb", "cccc", "dddd")]
    known = {each.release_id for each in made}
    with ThreadPoolExecutor(4) as pool:
        switching = [pool.submit(switch, each) for each in made * 3]
        while not all(each.done() for each in switching):
            found = active(ledger, LINE)
            assert found is None or found.release_id in known
        for each in switching:
            each.result()
    history = activations(ledger)
    assert [entry.body["previous"] for entry in history] == [
        None,
        *[entry.body["release_id"] for entry in history[:-1]],
    ]
    assert ledger.verify().ok


def test_a_pin_cannot_be_overtaken(ledger, new_release, switch):
    """However activations and a pin interleave, nothing but the pinned release is active afterwards."""
    made = [new_release(fingerprint) for fingerprint in ("aaaa", "bbbb", "cccc")]
    together = threading.Barrier(3)

    def automate(to):
        together.wait()
        try:
            switch(to)
        except PinnedError:
            return False
        return True

    def roll_back(to):
        together.wait()
        return switch(to, pin=True)

    with ThreadPoolExecutor(3) as pool:
        automation = [pool.submit(automate, each) for each in made[:2]]
        pinned = pool.submit(roll_back, made[2]).result()
        switched = sum(each.result() for each in automation)
    assert activations(ledger)[-1] == pinned
    assert len(activations(ledger)) == switched + 1
    assert active(ledger, LINE).release_id == made[2].release_id
