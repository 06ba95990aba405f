"""Calibrate room: HU and header facts → BMD with its interval and the ACR category, or the reason why not.

Fail-closed: equations are data and are matched exactly; without a match there is no BMD. New equations come from phantom
scans: rods are found (:func:`find_rods`) and fitted (:func:`fit_line`); the pending entry is approved by a person.
"""

from node.calibrate.acr import acr_category
from node.calibrate.convert import convert
from node.calibrate.entry import DEFAULT_MONTHS, EntryOptions, PhantomScan, pending_entry
from node.calibrate.equation import Equation, Status
from node.calibrate.explain import explanation, listing
from node.calibrate.find_rods import FoundRods, find_rods
from node.calibrate.fit import Insert, Line, equivalent_hu, fit_line
from node.calibrate.kernel import KernelClass, kernel_class, sharp_kernel
from node.calibrate.picture import draw_calibration
from node.calibrate.population import population_reason
from node.calibrate.registry import Registry, load_registry
from node.calibrate.simultaneous import convert_with_rods, simultaneous_calibration
from node.calibrate.site_file import add_entry, approve_entry, entry_text
from node.calibrate.verdict import Verdict

__all__ = [
    "DEFAULT_MONTHS",
    "EntryOptions",
    "Equation",
    "FoundRods",
    "Insert",
    "KernelClass",
    "Line",
    "PhantomScan",
    "Registry",
    "Status",
    "Verdict",
    "acr_category",
    "add_entry",
    "approve_entry",
    "convert",
    "convert_with_rods",
    "draw_calibration",
    "entry_text",
    "equivalent_hu",
    "explanation",
    "find_rods",
    "fit_line",
    "kernel_class",
    "listing",
    "load_registry",
    "pending_entry",
    "population_reason",
    "sharp_kernel",
    "simultaneous_calibration",
]
