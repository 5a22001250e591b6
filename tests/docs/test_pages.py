"""The Markdown of the project: commands that exist, links that lead somewhere, and the site made of it."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.cli.usage import PROGRAM
from resources.settings import PlatformSettings
from scripts.site_hooks import PAGES, for_site
from tests.line_factory import ROOT

MARKDOWN = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "k8s").rglob("*.md")),
]
ROOT_COMMAND = typer.main.get_command(app)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s#]*)(?:#([^)\s]*))?\)")


def code_lines(text):
    """Lines of code blocks, indented or between fences, without their indentation."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip().removeprefix("- run: ")


def commands(text):
    """Words of each call of the platform in code blocks, as far as a shell hands them over."""
    lines = "\n".join(code_lines(text)).replace("\\\n", " ").splitlines()
    for line in lines:
        words = shlex.split(line, comments=True) if line.startswith(f"{PROGRAM} ") else []
        if words:
            yield words[: min([words.index(sign) for sign in (">", "<", "|") if sign in words], default=None)]


COMMANDS = {
    " ".join(words[1:]): (words[1:], str(file.relative_to(ROOT)))
    for file in MARKDOWN
    for words in commands(file.read_text(encoding="utf-8"))
}


def anchors(text):
    """Of the headings of a page, as GitHub and the site make them."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", without_code, re.MULTILINE):
        yield "".join(each for each in heading.lower().replace(" ", "-") if each.isalnum() or each in "-_")


def parsed(words):
    """The command that reads the words; raises where they are none.

    No command runs: what its options and arguments are is looked at, and whether files that must be there are.
    """
    command, parent, path = ROOT_COMMAND, None, [PROGRAM]
    while hasattr(command, "commands"):
        parent = typer.Context(command, parent=parent, info_name=path[-1])
        name, *words = words
        if name not in command.commands and (default := getattr(command, "default", None)):
            name, words = default, [name, *words]
        path.append(name)
        command = command.commands[name]
    with command.make_context(path[-1], words, parent=parent) as context:
        assert not context.args
    return " ".join(path[1:])


@pytest.mark.parametrize("shown", COMMANDS)
def test_every_command_of_the_docs_is_one(shown, tmp_path, monkeypatch):
    """Command, options and arguments, so that nobody renames one and leaves the docs behind."""
    words, page = COMMANDS[shown]
    monkeypatch.chdir(tmp_path)
    for word in words:
        if word.endswith((".json", ".jsonl", ".yaml", ".parquet", ".csv")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    assert parsed(words), page


EXECUTED = (
    "plan reviews_sentiment",
    "breaker changes",
    "ledger verify",
    "ledger show --kind verdict",
    "ledger head --json",
    "retention due",
    "policy denials",
    "releases reviews_sentiment",
    "drift status reviews_sentiment",
    "export argo reviews_sentiment -o workflow.yaml",
)
"""Those that need no trained line, and ask nobody outside."""


def test_commands_that_need_nothing_work_on_a_new_home(tmp_path, monkeypatch):
    """One after the other, as somebody types them who has only just installed the platform."""
    monkeypatch.chdir(tmp_path)
    for shown in EXECUTED:
        words, page = COMMANDS[shown]
        done = CliRunner().invoke(app, words, env={"PLATFORM_HOME": str(tmp_path / "home")})
        assert done.exit_code == 0, f"{page}: {shown}: {done.output}"
    assert (tmp_path / "workflow.yaml").is_file()


def test_the_commands_are_found_and_wrong_ones_fail(tmp_path, monkeypatch):
    """In blocks of both kinds, in workflows too; a renamed option, command or argument too many is refused."""
    text = (
        "See:\n\n    platform-assets run one  # why\n\n```yaml\n- run: platform-assets contracts check a.csv \\\n"
        "    --contract b.yaml > out\n```\n\nplatform-assets prose\n"
    )
    assert list(commands(text)) == [
        [PROGRAM, "run", "one"],
        [PROGRAM, "contracts", "check", "a.csv", "--contract", "b.yaml"],
    ]
    assert len({page for _, page in COMMANDS.values()}) >= 6
    for wrong in (["run", "--spce", "x"], ["rn"], ["status", "a", "b"], ["predict"]):
        with pytest.raises((KeyError, typer.BadParameter.__mro__[2])):
            parsed(wrong)


@pytest.mark.parametrize("file", MARKDOWN, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading_of_it(file):
    """In a clone, as on GitHub."""
    dead = []
    for path, anchor in LINK.findall(CODE.sub("", file.read_text(encoding="utf-8"))):
        if "://" in path:
            continue
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(f"{path}#{anchor}")
    assert dead == []


def test_every_page_is_in_the_sites_navigation():
    """All but the single decisions, to which their index leads; and no entry is without its page."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    entries = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    docs = {str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")}
    decisions = {page for page in docs if page.startswith("adr/0")}
    assert entries == (docs - decisions) | set(PAGES.values())
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    assert config["theme"]["font"] is False
    assert decisions
    assert all(f"({page.removeprefix('adr/')})" in index for page in decisions)


@pytest.mark.parametrize(
    ("page", "link", "on_site"),
    [
        ("index.md", "[a](docs/own-data.md#texts)", "[a](own-data.md#texts)"),
        ("index.md", "![a](docs/images/front.png)", "![a](images/front.png)"),
        ("index.md", "[k8s/README.md](k8s/README.md)", "[k8s/README.md](k8s.md)"),
        ("index.md", "[Apache-2.0](LICENSE)", "Apache-2.0 (`LICENSE`)"),
        ("clusters.md", "[k8s](../k8s/README.md#check)", "[k8s](k8s.md#check)"),
        ("performance.md", "[tests/a.py](../tests/a.py)", "`tests/a.py`"),
        ("adr/0001.md", "[x](../own-data.md)", "[x](../own-data.md)"),
        ("adr/0001.md", "[x](0002.md)", "[x](0002.md)"),
        ("new-task.md", "`[a](../no/link)`", "`[a](../no/link)`"),
        ("new-task.md", "[the `code`](../a.py)", "the `code` (`a.py`)"),
        ("changelog.md", "[x](https://example.org/a#b)", "[x](https://example.org/a#b)"),
    ],
)
def test_links_out_of_docs_are_those_of_the_site(page, link, on_site):
    """To the page where the file is one, else its name."""
    assert for_site(f"See {link}.", page) == f"See {on_site}."


def test_every_setting_stands_in_the_table_of_operations():
    """By the name of its environment variable, or of the section that it is in."""
    table = (ROOT / "docs" / "operations.md").read_text()
    named = set(re.findall(r"`PLATFORM_([A-Z0-9_]+?)(?:__[A-Z_]+)?`", table.partition("## Settings")[2]))
    known = {name.upper() for name in PlatformSettings.model_fields}
    assert known - named == set()
