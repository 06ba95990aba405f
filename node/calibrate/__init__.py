"""Calibrate room: HU and header facts → BMD with its interval and the ACR category, or the reason why not.

Fail-closed: equations are data, matched exactly; where none fits there is no BMD.
"""

from node.calibrate.acr import acr_category
from node.calibrate.convert import convert
from node.calibrate.equation import Equation, Status
from node.calibrate.explain import explanation, listing
from node.calibrate.kernel import KernelClass, kernel_class, sharp_kernel
from node.calibrate.population import population_reason
from node.calibrate.registry import Registry, load_registry
from node.calibrate.verdict import Verdict

__all__ = [
    "Equation",
    "KernelClass",
    "Registry",
    "Status",
    "Verdict",
    "acr_category",
    "convert",
    "explanation",
    "kernel_class",
    "listing",
    "load_registry",
    "population_reason",
    "sharp_kernel",
]
