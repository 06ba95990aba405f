"""Vertebral bodies → eroded trabecular regions, HU per level, quality findings. Nothing here knows DICOM."""

from node.measure.level_findings import judge_levels
from node.measure.levels import measure_levels
from node.measure.region import erode_mm
from node.measure.scan_findings import judge_scan

__all__ = ["erode_mm", "judge_levels", "judge_scan", "measure_levels"]
