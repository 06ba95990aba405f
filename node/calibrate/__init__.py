"""Calibrate room: HU and header facts → BMD with its interval and the ACR category, or the reason why not.

Fail-closed: equations are data, matched exactly; where none fits there is no BMD.
"""

from node.calibrate.acr import acr_category
from node.calibrate.convert import convert
from node.calibrate.registry import Equation, Registry, load_registry

__all__ = ["Equation", "Registry", "acr_category", "convert", "load_registry"]
