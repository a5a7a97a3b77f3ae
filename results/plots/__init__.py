"""Figures fit for a paper: PNG and SVG, with their data as CSV beside them."""
