"""The ops, each defined once: schema, shape rule and meaning in one class."""
