"""Metrics whose states add up over ranks, so that N ranks report what one would."""
