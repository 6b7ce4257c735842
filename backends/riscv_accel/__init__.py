"""The RISC-V accelerator: tile, allocate, schedule, select and emit."""
