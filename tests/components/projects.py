"""Builders of `dg` projects with lines in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster.components.core.component_tree import ComponentTree
from dagster.components.testing import DefsFolderSandbox

from tests.features.shops import write_line

TYPE = "platform_assets.components.LineComponent"


class DgProject:
    """A project in a folder: what `create-dagster project` writes, as far as loading it goes."""

    def __init__(self, root: Path, name: str = "shop_project") -> None:
        self.root, self.name = root, name
        self.defs = root / "src" / name / "defs"
        self.defs.mkdir(parents=True)
        (root / "pyproject.toml").write_text(
            f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{name}"\n'
        )

    def line(self, folder: str, *, spec: str | None = None, transformers: list[str] | None = None) -> Path:
        """A component in a folder of `defs`; the spec of a line of sales named like the folder, where none is given."""
        here = self.defs / folder
        if spec is None:
            spec = write_line(here, folder).name
        return self.component(
            folder, {"spec": spec} | ({"transformers": transformers} if transformers else {})
        )

    def component(self, folder: str, *attributes: dict[str, object]) -> Path:
        """A `defs.yaml` of one component, or of several."""
        here = self.defs / folder
        here.mkdir(exist_ok=True)
        documents = [f"type: {TYPE}\nattributes: {each}\n" for each in attributes]
        (here / "defs.yaml").write_text("---\n".join(documents))
        return here

    @contextmanager
    def tree(self) -> Iterator[ComponentTree]:
        """Its components, as Dagster finds them."""
        sandbox = DefsFolderSandbox(
            project_root=self.root, defs_folder_path=self.defs, project_name=self.name
        )
        with sandbox.build_component_tree() as tree:
            yield tree

    def definitions(self) -> dg.Definitions:
        """All its definitions."""
        with self.tree() as tree:
            found = tree.build_defs()
            dg.Definitions.validate_loadable(found)
            return found


def causes(problem: BaseException) -> str:
    """What an error says, and all that it came from."""
    told = []
    at: BaseException | None = problem
    while at is not None:
        told.append(str(at))
        at = at.__cause__
    return "\n".join(told)
