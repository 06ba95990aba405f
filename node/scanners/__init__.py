"""What is known of a scanner over many scans: its stability and its calibration."""
