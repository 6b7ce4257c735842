"""mcc compiles trained ONNX models for a CPU or for a RISC-V accelerator."""

__version__ = "0.1.0"
