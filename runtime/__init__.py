"""What runs artifacts: their format, sessions, the instruction set and its simulator."""
