"""Geometry that every maze world shares."""
