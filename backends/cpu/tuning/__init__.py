"""Choosing the blocks of kernels by measurement, and remembering what was found."""

from .database import Database, Entry, read_databases, user_database
from .tasks import Task, measure, tune

__all__ = [
    "Database",
    "Entry",
    "Task",
    "measure",
    "read_databases",
    "tune",
    "user_database",
]
