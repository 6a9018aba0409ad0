"""What each setting may be: its kind and range, read before data is and before a run folder is made."""

from multihot.allowed.check import check_settings, find_faults
from multihot.allowed.kinds import Kind

__all__ = ["Kind", "check_settings", "find_faults"]
