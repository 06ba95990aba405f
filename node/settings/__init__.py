"""The settings. Every setting is documented where it is declared, in one of these modules, and nowhere else."""
