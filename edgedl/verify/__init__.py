"""The gate: an artifact is held against its reference before any verb says that it is done.

cases.py     the inputs: real ones where the task has them, at several lengths of every dynamic axis
parity.py    one output of one case against the reference
evidence.py  all of it together, and whether the gate opens
culprit.py   where a failed artifact diverges first; the only one that needs torch: import it from there
"""

from edgedl.verify.evidence import Evidence, prove
from edgedl.verify.parity import Parity, compare

__all__ = ["Evidence", "Parity", "compare", "prove"]
