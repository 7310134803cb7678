"""What each target will make of a spec, and everything that is wrong with it, before anything is started.

`check` looks at the spec, at the weights that are here and at this machine. It sends nothing over a network.
"""

from ixmodal.deploy.checks.check import TARGETS, check
from ixmodal.deploy.checks.findings import Finding, Level, Report, TargetReport
from ixmodal.deploy.checks.weights import ModelReport

__all__ = ["TARGETS", "Finding", "Level", "ModelReport", "Report", "TargetReport", "check"]
