"""Restante's tests: one folder per part of the product, plus the lab that the end-to-end tests run in."""
