"""The component that is a line."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import dagster as dg
from dagster.components.core.context import ComponentDeclLoadContext
from pydantic import PrivateAttr

from platform_assets.components.line_scaffolder import SPEC_FILE, LineScaffolder

if TYPE_CHECKING:
    from platform_assets.components.project import Project


@dg.scaffold_with(LineScaffolder)
class LineComponent(dg.Component, dg.Model, dg.Resolvable):
    """One model line: dataset, features, model, validation, version, card and deployment of a training spec."""

    # `dg` imports this module to list what there is: what makes a line is imported when one is made.

    spec: Annotated[
        str, dg.Resolver.default(description="Path of the training spec, seen from the folder of this file.")
    ] = SPEC_FILE
    transformers: Annotated[
        Sequence[str],
        dg.Resolver.default(
            description="Files of feature transformers, or folders of them, seen from the folder of this file; any line "
            "of the project may use them. Those that ship, and those of PLATFORM_TRANSFORMERS, are there anyway."
        ),
    ] = ()

    _project: "Project | None" = PrivateAttr(default=None)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The line's assets, checks and job, and the transformers that it uses.

        Raises:
            LineError: the spec or a transformer is wrong; file, line and field are named.
        """
        declared = _Declared(_folder(context), self)
        return self._project_of(context).line_definitions(declared.spec, declared.transformers)

    def _project_of(self, context: dg.ComponentLoadContext) -> "Project":
        # Of a component that was made by itself, as in a test, the tree knows nothing, and nor does it of others then.
        known = context.component_tree.state_tracker.get_cache_data(context.component_loc).component is self
        found = list(_components(context)) if known else []
        if not any(each.component is self for each in found):
            found = [_Declared(_folder(context), self)]
        return found[0].component.project(context.project_root, found)

    def project(self, root: Path, declared: Sequence["_Declared"]) -> "Project":
        """The project of all its lines, which the first of their components keeps for the others.

        Args:
            root: The project's folder.
            declared: All components of lines in it, this one first.
        """
        if self._project is None:
            self._project = _project(root, declared)
        return self._project


@dataclass(frozen=True, slots=True)
class _Declared:
    """A component, and the folder that its paths are seen from."""

    folder: Path
    component: LineComponent

    @property
    def spec(self) -> Path:
        return self._seen(self.component.spec)

    @property
    def transformers(self) -> list[Path]:
        return [self._seen(path) for path in self.component.transformers]

    def _seen(self, path: str) -> Path:
        # As people would write it, since messages name it; links stay, since Git knows them by their names.
        return Path(os.path.normpath(self.folder / path))


def _components(context: dg.ComponentLoadContext) -> Iterator[_Declared]:
    """The lines of the project, in the order of their paths."""
    tree = context.component_tree
    for loc, declared in tree.find_root_decl().iterate_loc_component_decl_pairs():
        kind = declared.component_type
        if isinstance(kind, type) and issubclass(kind, LineComponent):
            yield _Declared(_folder(declared.context), tree.load_component(loc, LineComponent))


def _folder(context: ComponentDeclLoadContext) -> Path:
    return context.path if context.path.is_dir() else context.path.parent


def _project(root: Path, declared: Sequence[_Declared]) -> "Project":
    from platform_assets.components.project import Project, project_settings
    from platform_assets.outside_systems import OutsideSystems

    return Project.of(
        OutsideSystems(project_settings(root)),
        [each.spec for each in declared],
        [path for each in declared for path in each.transformers],
    )
