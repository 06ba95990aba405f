"""What every part of the node may use: errors, UIDs, TOML, HTTP and DICOM associations."""
