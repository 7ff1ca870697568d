"""`edgedl benchmark --target @targets.toml`: many devices side by side, one record.

file.py        the file that names them
quarantine.py  which of them are skipped, and why
measuring.py   the measurement: in parallel across machines, one device of each at a time
"""

from edgedl.targets.fleet.file import Device, read
from edgedl.targets.fleet.measuring import Fleet
from edgedl.targets.fleet.quarantine import Quarantine, Trouble, quarantine

__all__ = ["Device", "Fleet", "Quarantine", "Trouble", "quarantine", "read"]
