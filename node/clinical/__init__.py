"""Patients, imaging orders and planned operations: values and how they match, without input or output."""
