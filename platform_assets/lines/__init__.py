"""Model lines: a training spec becomes assets, a plan and a run."""
