"""The tree of errors, as the one place that tells of it has it."""

import ast
import re

from tests.line_factory import ROOT


def test_the_tree_names_every_error_and_where_it_is() -> None:
    """Each error right below the root stands in the tree with its folder or file, and no other does."""
    declared = {
        (node.name, file.relative_to(ROOT).as_posix())
        for folder in ("platform_assets", "resources", "sensors")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] == ["PlatformError"]
    }
    tree = (ROOT / "resources" / "errors.py").read_text(encoding="utf-8")
    told = dict(re.findall(r"^[├└]── (\w+) .* (\S+)$", tree, re.MULTILINE))

    assert told.keys() == {name for name, _ in declared}
    assert [(name, path) for name, path in declared if not path.startswith(told[name])] == []
