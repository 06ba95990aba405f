"""Scanners over many scans: stability and calibration."""
