"""The accelerator backend."""
