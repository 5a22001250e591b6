"""Machine-learning tasks: each folder holds what is particular to one, and none knows another."""
