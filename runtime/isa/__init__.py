"""The accelerator's instructions: fields, encoding and meaning of each in one class."""
