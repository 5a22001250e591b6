"""What starts runs by itself. Each sensor is a pure decision with a thin Dagster sensor around it."""
