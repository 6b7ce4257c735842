"""Passes: the pass base, the manager, the pipelines and every target-independent rewrite."""
