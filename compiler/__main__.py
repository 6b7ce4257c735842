"""`python -m mcc` is the command `mcc`."""

from .cli import main

if __name__ == "__main__":
    main()
