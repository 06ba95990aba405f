"""Opportunistic screening for osteoporosis on lumbar CT, as a DICOM node.

A study passes these packages (rooms) in order: receive, select, segment, measure, calibrate, report, deliver. They share
:mod:`node.model` and are joined in :mod:`node.study.pipeline`.
"""

from importlib.metadata import version

__version__ = version("bmd-node")
