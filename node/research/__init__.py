"""Research: reads and writes tables of many studies, and the report of a cohort that :mod:`node.cohort` evaluates."""
