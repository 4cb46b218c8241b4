"""The process that owns the workers. Standard library only, and nothing of `holdfast`, so that it outlives upgrades."""
