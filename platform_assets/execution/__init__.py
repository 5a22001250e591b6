"""How steps and runs are executed: pods, processes, and what is known about their health."""
