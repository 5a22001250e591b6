"""What the Spark engine asks of a session, in this process: tasks are pickled and given batches, rows go where they belong.

It tells nothing of Spark. It lets every option and table of the contract go through slices, parts and blocks in the first
tier, where a session would take minutes; the real one is in `test_spark`.
"""

import pickle
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Frame:
    """Rows in partitions; of what a partition yields, batches have one row."""

    partitions: list[list[pa.RecordBatch]]

    def mapInArrow(self, work, schema):  # noqa: N802 - pyspark's name
        """What the work yields of each partition."""
        names = [each.split()[0] for each in schema.split(", ")]
        content = pickle.dumps(work)
        made = [list(pickle.loads(content)(iter(partition))) for partition in self.partitions]
        assert all(batch.schema.names == names for partition in made for batch in partition)
        return Frame(made)

    def repartitionById(self, count, column):  # noqa: N802
        """Rows by the number that they have, those of later partitions first: Spark promises no order."""
        parts = [[] for _ in range(count)]
        for partition in reversed(self.partitions):
            for batch in partition:
                parts[batch.column(column)[0].as_py()].append(batch)
        return Frame(parts)

    def sortWithinPartitions(self, *columns):  # noqa: N802
        """Each partition's rows by these columns."""
        return Frame(
            [
                sorted(partition, key=lambda batch: [batch.column(each)[0].as_py() for each in columns])
                for partition in self.partitions
            ]
        )

    def collect(self):
        """All rows, the last one first."""
        rows = [row for partition in self.partitions for batch in partition for row in batch.to_pylist()]
        return rows[::-1]


class Session:
    """Gives frames."""

    def range(self, start, end, step, partitions):
        """Numbers, each in a partition of its own."""
        assert (start, step, partitions) == (0, 1, end)
        return Frame([[pa.RecordBatch.from_pydict({"id": pa.array([at], pa.int64())})] for at in range(end)])
