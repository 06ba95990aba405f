"""Shared by all parts of the node: errors, UIDs, TOML, HTTP and DICOM associations."""
