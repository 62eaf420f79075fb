"""Stands in for a logger that jaxgmg imports and that nothing measured here calls."""
