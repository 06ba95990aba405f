"""Opportunistic screening for osteoporosis on lumbar CT, as a DICOM node.

The packages below are the rooms that a study passes, in order: receive, select, segment, measure, calibrate, report,
deliver. They meet in :mod:`node.model` and are joined in :mod:`node.study.pipeline`.
"""

from importlib.metadata import version

__version__ = version("bmd-node")
