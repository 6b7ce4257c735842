"""Targets: each backend lowers a module by named stages and emits an artifact."""
