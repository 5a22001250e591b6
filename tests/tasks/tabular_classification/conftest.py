"""What the tests of tables share: a table, prepared once."""

import pytest

from tests.tasks.tabular_classification.tables import make_spec, people, prepared, written


@pytest.fixture(scope="session")
def loans(tmp_path_factory):
    """Prepared rows of 1,200 people."""
    path = written(tmp_path_factory.mktemp("loans"), people(1200))
    return prepared(make_spec(train_data_uri=path)).rows.read()
