"""The accelerator in software: every instruction's effect, and an estimate of its cycles."""
