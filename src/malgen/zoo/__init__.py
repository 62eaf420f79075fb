"""Agents whose answer is known by construction, one small file each."""
