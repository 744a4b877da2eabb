"""Rows of variants × columns of tasks × seeds, trained and measured as one file says."""
