"""Links in a commit: followed within its tree as a checkout's would be, and never out of it or round in circles."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import git_links
from resources.git_links import LinkError, folders_of, follow_links, resolved
from resources.git_remote import Blob

FILES = {
    name: Blob(name, 1) for name in ("spec.yaml", "specs/a/spec.yaml", "specs/a/data/x", "specs/b/spec.yaml")
}


@pytest.mark.parametrize(
    ("link", "target", "found"),
    [
        ("models/spec.yaml", "../spec.yaml", {"models/spec.yaml": "spec.yaml"}),
        ("a.yaml", "specs/./a//../a/spec.yaml", {"a.yaml": "specs/a/spec.yaml"}),
        (
            "models/a",
            "../specs/a",
            {"models/a/spec.yaml": "specs/a/spec.yaml", "models/a/data/x": "specs/a/data/x"},
        ),
        (
            "models/a",
            "../specs/a/",
            {"models/a/spec.yaml": "specs/a/spec.yaml", "models/a/data/x": "specs/a/data/x"},
        ),
    ],
)
def test_a_link_has_what_it_leads_to(link, target, found):
    """A file, or every file of a folder, by the path over the link."""
    linked = follow_links(FILES, {link: target})
    assert {path: blob.blob_id for path, blob in linked.files.items()} == found
    assert linked.broken == {}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("../../spec.yaml", "out of the repository"),
        ("../../../etc/passwd", "out of the repository"),
        ("/etc/passwd", "out of the repository"),
        ("spec.yaml", "round in circles"),
        ("../models/spec.yaml", "round in circles"),
        ("../gone.yaml", "where the commit has no file"),
        ("../spec.yaml/..", "where the commit has no folder"),
        ("../gone/../spec.yaml", "where the commit has no folder"),
    ],
)
def test_a_link_that_leads_to_nothing_says_why(target, reason):
    """And gives nothing out."""
    linked = follow_links(FILES, {"models/spec.yaml": target})
    assert linked.files == {}
    assert reason in linked.broken["models/spec.yaml"]


def test_links_that_lead_to_each_other_are_a_circle():
    """Whichever of them one begins with."""
    linked = follow_links(FILES, {"a": "b", "b": "c/d", "c": "a"})
    assert set(linked.broken) == {"a", "b", "c"}


def test_links_within_a_linked_folder_are_followed():
    """A companion of a linked spec may itself be a link."""
    links = {"models/a": "../specs/a", "specs/a/contract.yaml": "../../spec.yaml"}
    linked = follow_links(FILES, links)
    assert linked.files["models/a/contract.yaml"] == FILES["spec.yaml"]


def test_a_folder_that_links_to_itself_ends():
    """What is behind the first step is there; the endless rest is not."""
    linked = follow_links(FILES, {"specs/all": "."})
    assert {path for path in linked.files if path.startswith("specs/all/all")} == set()
    assert linked.files["specs/all/b/spec.yaml"] == FILES["specs/b/spec.yaml"]


def test_links_are_bounded(monkeypatch):
    """A tree in which everything is linked everywhere is refused, in words."""
    monkeypatch.setattr(git_links, "_MOST_LINKED_FILES", 5)
    with pytest.raises(LinkError, match="have fewer links"):
        follow_links(FILES, {"x": "specs", "y": "specs"})


_NAMES = st.sampled_from(["a", "b", "c", "..", "."])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)
_PLACES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


@given(files=st.sets(_PLACES, max_size=4), links=st.dictionaries(_PLACES, _PATHS, max_size=4))
def test_links_lead_where_the_operating_system_says(tmp_path_factory, files, links):
    """In any tree: the same file, or none at all, as in a checkout that lies in a folder of its own."""
    root: Path = tmp_path_factory.mktemp("tree")
    made_files, made_links = set(), {}
    for place, target in [*((each, None) for each in sorted(files)), *sorted(links.items())]:
        path = root / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A folder over a link would be another place than the tree's.
            if path.parent.resolve() != path.parent or os.path.lexists(path):
                continue
        except (OSError, RuntimeError):
            continue
        if target is None:
            path.write_text(place)
            made_files.add(place)
        else:
            path.symlink_to(target)
            made_links[place] = target
    for link in made_links:
        # Asked of the system first: `resolve` alone goes through a file as through a folder.
        real = (root / link).resolve() if (root / link).is_file() else root.parent
        there = real.relative_to(root.resolve()).as_posix() if real.is_relative_to(root.resolve()) else None
        try:
            ours = resolved(link, made_links, folders_of([*made_files, *made_links]))
        except LinkError:
            ours = ""
        assert (ours if ours in made_files else None) == there
