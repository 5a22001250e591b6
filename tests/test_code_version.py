"""The version of code: another for what the code does, the same wherever it stands and however it is told."""

import importlib
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.fingerprint import code_version

CODE = '''"""What the module is for."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from platform_assets.sketch.binning import bins as cells
from resources.locks import Held

RATE = 0.1  # per step
WORDS: tuple[str, ...] = ("a", "b")


@dataclass
class Step:
    """What the class is for."""

    size: int
    """In rows."""
    name: str = "step"

    def run(self, rows: int) -> str:
        """What the function is for."""
        # why it is so
        return "done" if rows > self.size else "waiting"


@cache
def mean(values: np.ndarray, *, scale: float = 1.0) -> float:
    """The mean."""
    from statistics import fmean as mean_of

    return mean_of(cells(values)) * scale * RATE


def used(held: Held) -> bool:
    return isinstance(held, Held)
'''
_NUMBERS = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """A folder on the path of modules."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("modules")
        patch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="module")
def version_of(folder: Path) -> Callable[..., str]:
    """The code version of modules with these texts. `{at}` in a text is the package in which they stand."""

    def version_of(*texts: str, name: str = "sample", **named: str) -> str:
        package = f"package_{next(_NUMBERS)}"
        texts_by_name = {f"part_{at}": text for at, text in enumerate(texts)} | named
        for module, text in texts_by_name.items():
            path = folder / package / f"{module}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("{at}", package))
        importlib.invalidate_caches()
        try:
            return code_version(name, *(f"{package}.{module}" for module in texts_by_name))
        finally:
            shutil.rmtree(folder / package)

    return version_of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why it is so", "# why it must be so"),
        ("  # per step", ""),
        ('"""What the module is for."""', '"""What this is for, told better."""'),
        ('    """What the class is for."""\n', ""),
        ('        """What the function is for."""\n', ""),
        ('    """In rows."""\n', ""),
        ("RATE = 0.1", "RATE = (\n    0.1\n)"),
        ('"done"', "'done'"),
        ("\n\n\n@dataclass", "\n\n@dataclass"),
    ],
)
def test_words_and_layout_are_no_code(version_of, old, new):
    """Comments, docstrings and formatting leave the version as it is: nothing is retrained for a sentence."""
    assert CODE.count(old) == 1
    assert version_of(CODE.replace(old, new)) == version_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self, rows: int) -> str", "self, rows: float | None)"),
        ("values: np.ndarray", "values: np.generic"),
        ('WORDS: tuple[str, ...] = ("a", "b")', 'WORDS = ("a", "b")'),
    ],
)
def test_types_of_functions_and_variables_are_no_code(version_of, old, new):
    """Annotations say what the code means and not what it does."""
    assert CODE.count(old) == 1
    assert version_of(CODE.replace(old, new)) == version_of(CODE)


def test_the_type_of_a_variable_is_no_code(version_of):
    """Nor is one that was only declared."""
    text = "def total(rows):\n    found = sum(rows)\n    return found\n"
    typed = "def total(rows):\n    left: int\n    found: float = sum(rows)\n    return found\n"
    assert version_of(typed) == version_of(text)


NUMPY = "import numpy as np\n"
LOCKS = "from resources.locks import Held\n"
SKETCH = "from platform_assets.sketch.binning import bins as cells\n"
FMEAN = "    from statistics import fmean as mean_of\n"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"from dataclasses import dataclass\n": "", NUMPY: f"{NUMPY}from dataclasses import dataclass\n"},
            id="order",
        ),
        pytest.param({SKETCH: "", LOCKS: f"{LOCKS}{SKETCH}"}, id="order of our own"),
        pytest.param({SKETCH: "from platform_assets.elsewhere import bins as cells\n"}, id="another place"),
        pytest.param({LOCKS: "from sensors.locks import Held\n"}, id="another of our packages"),
        pytest.param({LOCKS: "from .locks import Held\n"}, id="a neighbour"),
        pytest.param(
            {LOCKS: "from resources.locks import Held, Locks\n"}, id="a name more that nothing uses"
        ),
        pytest.param(
            {SKETCH: "from platform_assets.sketch.binning import bins\n", "cells(": "bins("}, id="no alias"
        ),
        pytest.param({SKETCH: SKETCH.replace("cells", "them"), "cells(": "them("}, id="another alias"),
        pytest.param(
            {SKETCH: "from platform_assets.sketch import binning\n", "cells(": "binning.bins("},
            id="by its module",
        ),
        pytest.param(
            {NUMPY: f"from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {NUMPY}"},
            id="only for types",
        ),
        pytest.param(
            {NUMPY: f"import typing as t\n\nif t.TYPE_CHECKING:\n    {NUMPY}"}, id="typing.TYPE_CHECKING"
        ),
        pytest.param({NUMPY: "import numpy\n", "np.": "numpy."}, id="whole name"),
        pytest.param(
            {FMEAN: "", NUMPY: f"{NUMPY}from statistics import fmean as mean_of\n"}, id="out of the function"
        ),
        pytest.param(
            {FMEAN: "    import statistics\n", "mean_of(": "statistics.fmean("}, id="by the library"
        ),
        pytest.param(
            {'for."""\n\nfrom data': 'for."""\n\nfrom __future__ import annotations\n\nfrom data'},
            id="future",
        ),
        pytest.param({"RATE = ": '__all__ = ["RATE", "mean"]\n\nRATE = '}, id="exports"),
    ],
)
def test_where_an_import_stands_is_no_code(version_of, changes):
    """Lines of imports may be sorted, moved, and lead to another place of our packages."""
    text = CODE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert version_of(text) == version_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.2"),
        ("0.1", "1"),
        ('("a", "b")', '("b", "a")'),
        ("rows > self.size", "rows >= self.size"),
        ('"done"', '"ended"'),
        ("def run", "def execute"),
        ("def mean(", "def average("),
        ("(self, rows", "(self, rows, rest"),
        ("scale: float = 1.0", "scale: float = 2.0"),
        ("*, scale", "scale"),
        ("class Step:", "class Step(dict):"),
        ("size: int", "size: float"),
        ("size: int", "size: int = 3"),
        ('name: str = "step"', 'name = "step"'),
        ("    size: int\n", ""),
        ("@dataclass\n", "@dataclass(frozen=True)\n"),
        ("@dataclass\n", ""),
        ("@cache\n", ""),
        ("import cache", "import lru_cache as cache"),
        ("from functools", "from joblib"),
        ("import fmean as", "import median as"),
        ("bins as cells", "edges as cells"),
        ("* scale * RATE", "* RATE * scale"),
        ("import Held\n", "import Held\nimport torch.backends.mps\n"),
        ("cells(values)", "values"),
        ("cells(values)", "cells.of(values)"),
        ("return isinstance", "yield isinstance"),
        ("def used", "async def used"),
    ],
)
def test_every_change_of_what_the_code_does_shows(version_of, old, new):
    """Numbers, operators, names, defaults, decorators, fields, libraries: each is another version."""
    assert old in CODE
    assert version_of(CODE.replace(old, new, 1)) != version_of(CODE)


def test_the_stated_name_counts(version_of):
    """Two stages that share all of their code are two stages."""
    assert version_of(CODE, name="features") != version_of(CODE, name="model")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "from sklearn.linear_model import LogisticRegression as Model",
            "from sklearn.linear_model import Ridge as Model",
        ),
        (
            "from sklearn.linear_model import LogisticRegression as Model",
            "from cuml.linear_model import LogisticRegression as Model",
        ),
    ],
)
@pytest.mark.parametrize("where", ["above", "within"])
def test_another_library_shows(version_of, old, new, where):
    """What another distribution provides is code that is not ours to compare."""

    def text(imports: str) -> str:
        if where == "above":
            return f"{imports}\n\ndef fitted(rows):\n    return Model().fit(rows)\n"
        return f"def fitted(rows):\n    {imports}\n    return Model().fit(rows)\n"

    assert version_of(text(new)) != version_of(text(old))


def test_a_library_may_be_imported_above_or_within(version_of):
    """A heavy import that moves into its function changes nothing."""
    above = "import pandas as pd\n\ndef frame(rows):\n    return pd.DataFrame(rows)\n"
    within = "def frame(rows):\n    import pandas as pd\n    return pd.DataFrame(rows)\n"
    assert version_of(above) == version_of(within)


def test_which_of_two_libraries_comes_first_counts(version_of):
    """An import under a condition is a statement like others."""
    first = "try:\n    import ujson as json\nexcept ImportError:\n    import json\n\nTEXT = json.dumps(1)\n"
    second = "try:\n    import json\nexcept ImportError:\n    import ujson as json\n\nTEXT = json.dumps(1)\n"
    assert version_of(first) != version_of(second)


def test_names_of_our_own_that_change_places_show(version_of):
    """Under which alias a name of ours is used decides which one is called."""
    uses = "\n\ndef difference(rows):\n    return upper(rows) - lower(rows)\n"
    straight = f"from platform_assets.x import high as upper, low as lower{uses}"
    assert version_of(straight.replace("high as upper, low as", "low as upper, high as")) != version_of(
        straight
    )


def test_one_name_of_two_modules_of_ours(version_of):
    """Their places say nothing, but which of them is used where does."""
    text = (
        "from platform_assets.x import limit as upper\nfrom platform_assets.y import limit as lower\n\n"
        "def difference():\n    return upper() - lower()\n"
    )
    swapped = (
        text.replace("x import", "z import").replace("y import", "x import").replace("z import", "y import")
    )
    other = text.replace("upper() - lower()", "lower() - upper()")
    by_module = "from platform_assets.a import b, c\n\nX = b.limit - c.limit\n"
    assert version_of(text.replace("assets.x", "assets.far.away")) == version_of(text)
    assert version_of(swapped) == version_of(text)
    assert version_of(other) != version_of(text)
    assert version_of(by_module.replace("a import", "d import")) == version_of(by_module)


@pytest.mark.parametrize(
    ("local", "imported"),
    [
        ("def f(np):\n    return np.mean()\n", "def f(np):\n    return numpy.mean()\n"),
        (
            "def f():\n    np = g()\n    return np.mean()\n",
            "def f():\n    np = g()\n    return numpy.mean()\n",
        ),
        ("X = [np.mean() for np in Y]\n", "X = [numpy.mean() for np in Y]\n"),
        ("X = lambda np: np.mean()\n", "X = lambda np: numpy.mean()\n"),
        ("class A:\n    np = 1\n    x = np\n", "class A:\n    np = 1\n    x = numpy\n"),
        (
            "class A:\n    np = 1\n    def f(self):\n        return np\n",
            "class A:\n    np = 1\n    def f(self, np):\n        return np\n",
        ),
        (
            "def f(x):\n    match x:\n        case np:\n            return np\n",
            "def f(x):\n    match x:\n        case np:\n            return numpy\n",
        ),
    ],
)
def test_a_local_name_is_not_the_import_that_it_hides(version_of, local, imported):
    """A parameter, a variable or a field of the name of an import is something else."""
    imports = "import numpy\nimport numpy as np\n\n"
    assert version_of(imports + local) != version_of(imports + imported)


ANNOTATED = "from functools import singledispatch\n\n@singledispatch\ndef f(x):\n    return x\n\n@f.register\ndef _(x: int):\n    return 1\n"


def test_annotations_that_decorators_read_are_code(version_of):
    """`singledispatch` chooses by annotation."""
    assert version_of(ANNOTATED.replace(": int", ": str")) != version_of(ANNOTATED)
    assert version_of(ANNOTATED.replace(": int", ': "int"')) == version_of(ANNOTATED)


def test_quotes_of_a_field_say_nothing(version_of):
    """A field is quoted where its import moves under TYPE_CHECKING."""
    text = "import pandas as pd\n\nclass A:\n    rows: pd.DataFrame\n"
    quoted = 'from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import pandas as pd\n\nclass A:\n    rows: "pd.DataFrame"\n'
    assert version_of(quoted) == version_of(text)
    assert version_of(quoted.replace("DataFrame", "Series")) != version_of(text)


HELPERS = '''"""Helpers."""

import logging

log = logging.getLogger(__name__)
LIMIT = 3


def limited(rows):
    log.info("limited")
    return rows[:LIMIT]
'''
USERS = """import logging

from {at}.helpers import LIMIT, limited

log = logging.getLogger(__name__)


def used(rows):
    return limited(rows) + [LIMIT]


def rest(rows):
    return rows[LIMIT:]
"""


def test_a_module_may_be_renamed_and_moved(version_of):
    """The names of modules are no part of what they do, as long as the imports find them."""
    package = version_of(helpers=HELPERS, users=USERS)
    assert version_of(other=USERS.replace(".helpers", ".tools"), tools=HELPERS) == package
    assert version_of(users=USERS, helpers=HELPERS) == package
    by_module = USERS.replace("from {at}.helpers import LIMIT, limited", "from {at} import tools")
    by_module = by_module.replace("LIMIT", "tools.LIMIT").replace("limited(", "tools.limited(")
    assert version_of(users=by_module, tools=HELPERS) == package


def test_modules_may_be_put_together_and_split(version_of):
    """One module or two, with a logger each: the same code."""
    together = HELPERS + USERS.partition("(__name__)\n")[2]
    assert version_of(together) == version_of(helpers=HELPERS, users=USERS)


def test_a_function_may_move_to_another_listed_module(version_of):
    """With the imports that this takes in both directions."""
    rest = "\n\ndef rest(rows):\n    return rows[LIMIT:]\n"
    assert rest in USERS
    moved = version_of(helpers=HELPERS + rest, users=USERS.replace(rest, "\n"))
    assert moved == version_of(helpers=HELPERS, users=USERS)


def test_a_module_that_hands_on_a_name_is_seen_through(version_of):
    """What a listed module has imported from elsewhere is what others take from it."""
    users = "from {at}.models import Model\n\ndef fitted(rows):\n    return Model().fit(rows)\n"
    ridge = "from sklearn.linear_model import Ridge as Model\n"
    logistic = "from sklearn.linear_model import LogisticRegression as Model\n"
    assert version_of(users=users, models=ridge) != version_of(users=users, models=logistic)


def test_equal_names_of_two_modules_are_told_apart(version_of):
    """When two modules swap what a name stands for, all that uses it does something else."""
    one, two = "_LIMIT = 1\n", "_LIMIT = 2\n"
    first, second = "def first():\n    return _LIMIT\n", "def second():\n    return _LIMIT\n"
    before = version_of(a=one + first, b=two + second)
    assert version_of(a=two + first, b=one + second) != before
    assert version_of(a=two + second, b=one + first) == before
    assert version_of(a=one + first, b=f"from {{at}}.c import _LIMIT\n{second}", c=two) == before


def test_equal_names_are_told_apart_through_equal_functions(version_of):
    """A helper that stands in both modules is two, if it reads what differs."""
    helper = "def _helper():\n    return _LIMIT\n"
    first, second = "def first():\n    return _helper()\n", "def second():\n    return _helper()\n"
    before = version_of(a=f"_LIMIT = 1\n{helper}{first}", b=f"_LIMIT = 2\n{helper}{second}")
    assert version_of(a=f"_LIMIT = 2\n{helper}{first}", b=f"_LIMIT = 1\n{helper}{second}") != before


@pytest.mark.parametrize(
    ("before", "first", "second"),
    [
        ("", "X = 1", "X = 2"),
        ("X = 1", "X += 2", "X *= 2"),
        ("X = []", "X.append(1)", "X.append(2)"),
        ("X = {}", "X['a'] = 1", "X['b'] = 2"),
        ("X = [1]", "Y = tuple(X)", "X.append(2)"),
        ("X = [1]", "def f(y=len(X)): return y", "X.append(2)"),
        ("X = [1]\ndef f(): return len(X)", "Y = f()", "X.append(2)"),
        ("X = []\ndef f(y):\n    X.append(y)\n    return y", "A = f(1)", "B = f(2)"),
        ("X = []\ndef f(y):\n    X.append(y)\n    return y", "@f\ndef a(): pass", "@f\nclass B: pass"),
        ("X = {}\ndef f(y):\n    X[y] = 1\ndef g(y):\n    f(y)", "A = g(1)", "B = g(2)"),
        ("N = 0\ndef f():\n    global N\n    N += 1\n    return N", "A = f()", "B = f()"),
        ("from itertools import count\nX = count()", "A = next(X)", "B = next(X)"),
        ("X = (each for each in 'abc')", "A = next(X)", "class B: x = next(X)"),
        ("import random", "random.seed(1)", "A = random.random()"),
        ("import os", "os.environ['A'] = 'b'", "C = os.environ['A']"),
        ("class A: x = 1", "A.x = 2", "B = A.x"),
        ("def f(): return 1", "g = f", "def f(): return 2"),
        ("", "if A:\n    X = 1", "if B:\n    X = 2"),
        ("X = 1", "del X", "X = 3"),
        ("import warnings", "warnings.filterwarnings('error')", "warnings.simplefilter('ignore')"),
        ("X = 1", "Y = [X for each in 'ab']", "for X in range(3):\n    pass"),
        ("", "try:\n    f()\nexcept ValueError as X:\n    pass", "match f():\n    case [X]:\n        pass"),
    ],
)
def test_order_counts_where_it_does(version_of, before, first, second):
    """Statements that bind, change or read the same name keep their order."""
    straight = version_of(f"{before}\n{first}\n{second}")
    assert version_of(f"{before}\n{second}\n{first}") != straight


@pytest.mark.parametrize(
    ("before", "first", "second"),
    [
        ("", "X = 1", "Y = 2"),
        ("def f(): return 1", "X = f()", "Y = f()"),
        ("X = [1]", "Y = tuple(X)", "Z = len(X)"),
        ("import re", "X = re.compile('a')", "Y = re.compile('b')"),
        ("", "class A:\n    x = 1", "class B:\n    x = 2"),
        ("", "X = [each for each in 'ab']", "Y = {each for each in 'ab'}"),
        ("", "X = 1\nX += 1", "Y = 1\nY += 1"),
        ("import logging\nlog = logging.getLogger(__name__)", "def f(): log.info(1)", "def g(): log.info(2)"),
        ("def f(): return g()", "def g(): return X", "X = 3"),
    ],
)
def test_order_is_no_code_where_it_does_not_count(version_of, before, first, second):
    """Definitions may stand in any order, though each is used by others."""
    straight = version_of(f"{before}\n{first}\n{second}")
    assert version_of(f"{before}\n{second}\n{first}") == straight
    assert version_of(f"{second}\n{first}\n{before}") == straight


def test_a_package_stands_for_its_modules(folder):
    """Modules of a package need no list, wherever in it they lie."""
    for package, module in (("whole_one", "deep/inner.py"), ("whole_two", "inner.py")):
        path = folder / package / module
        path.parent.mkdir(parents=True)
        for parent in {path.parent, folder / package}:
            (parent / "__init__.py").write_text('"""A package."""\n')
        path.write_text(HELPERS)
    listed = code_version("sample", "whole_two.inner")
    assert code_version("sample", "whole_one") == listed == code_version("sample", "whole_two")
    assert code_version("sample", "whole_one", "whole_one.deep.inner") == listed
    (folder / "whole_two" / "__init__.py").write_text("LIMIT = 4\n")
    code_version.cache_clear()
    assert code_version("sample", "whole_two") != listed


@pytest.mark.parametrize("module", ["platform_assets.no_such_module", "no_such_package.module", "time"])
def test_a_module_without_source_is_an_error(module):
    """A misspelt name must not leave a hole in an identity."""
    with pytest.raises(ModuleNotFoundError, match=r"no_such|time: no source"):
        code_version("sample", module)


IDENTIFIERS = st.integers(0, 400).map("f{}".format)


@st.composite
def functions(draw) -> dict[str, tuple[int, list[str]]]:
    """Functions by name: a constant, and which others it calls."""
    names = draw(st.lists(IDENTIFIERS, min_size=2, max_size=7, unique=True))
    return {
        name: (draw(st.integers(0, 9)), draw(st.lists(st.sampled_from(names), max_size=3))) for name in names
    }


def written(
    made: dict[str, tuple[int, list[str]]], places: dict[str, int], order: list[str]
) -> dict[str, str]:
    """Modules that hold the functions in these places, with the imports that this takes."""
    texts: dict[str, str] = {}
    for name in order:
        constant, called = made[name]
        needed = sorted({other for other in called if places[other] != places[name]})
        imports = "".join(f"from {{at}}.m{places[other]} import {other}\n" for other in needed)
        calls = "".join(f" + {other}(rows)" for other in called)
        module = f"m{places[name]}"
        texts[module] = (
            f"{imports}{texts.get(module, '')}\n\ndef {name}(rows):\n    return {constant}{calls}\n"
        )
    return texts


@settings(max_examples=60, deadline=None)
@given(made=functions(), data=st.data())
def test_any_order_in_any_modules_is_the_same_code(version_of, made, data):
    """Functions in any order, spread over any number of modules, have one version; another constant has another."""

    def laid_out(functions: dict[str, tuple[int, list[str]]]) -> str:
        places = {name: data.draw(st.integers(0, 2)) for name in functions}
        return version_of(**written(functions, places, data.draw(st.permutations(list(functions)))))

    version = laid_out(made)
    assert laid_out(made) == version
    changed = data.draw(st.sampled_from(list(made)))
    constant, called = made[changed]
    assert laid_out(made | {changed: (constant + 1, called)}) != version


def test_a_name_of_ours_that_is_also_pythons(version_of):
    """Without its import, or its definition, the same word means something else."""
    uses = "\n\ndef first(path):\n    return open(path)\n"
    imported = f"from resources.object_store import open{uses}"
    assert version_of(imported) != version_of(uses)
    assert version_of(a="def open(path):\n    return path\n" + uses) == version_of(
        a="from {at}.b import open" + uses, b="def open(path):\n    return path\n"
    )
