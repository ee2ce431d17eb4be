"""Everything Facebook's wire says, and nothing else."""
