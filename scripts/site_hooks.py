"""What MkDocs does beside its own: files outside docs/ become pages, and links to other files of a clone become their names."""

import posixpath
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "k8s/README.md": "k8s.md"}
"""Path in the site by path in the clone."""
_CODE_OR_LINK: Final = re.compile(
    r"^```.*?^```|`[^`\n]*`|(!?)\[([^\]\n]*)\]\(([^)\s#]+)(#[^)\s]*)?\)", re.MULTILINE | re.DOTALL
)


def on_files(files: Any, config: Any) -> Any:
    """The files of the site, with those that stand elsewhere in a clone."""
    from mkdocs.structure.files import File

    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page, with links as the site has them."""
    return for_site(markdown, page.file.src_uri)


def for_site(markdown: str, target: str) -> str:
    """Markdown of a clone as a page of the site.

    Args:
        markdown: As it stands in the clone.
        target: Path of the page in the site.
    """
    source = next((each for each, page in PAGES.items() if page == target), f"docs/{target}")

    def link(found: re.Match[str]) -> str:
        image, text, path, anchor = found[1], found[2], found[3], found[4] or ""
        if path is None or "://" in path:
            return found[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        page = PAGES.get(wanted) or (wanted.removeprefix("docs/") if wanted.startswith("docs/") else None)
        if page is None:
            return f"{text} (`{wanted}`)" if wanted not in text else f"`{wanted}`"
        return f"{image}[{text}]({posixpath.relpath(page, posixpath.dirname(target) or '.')}{anchor})"

    return _CODE_OR_LINK.sub(link, markdown)
