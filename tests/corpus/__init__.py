"""Measurements of the packs on mail: false positives on real mail, true positives on generated mail."""
