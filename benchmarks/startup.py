"""How long `import mcc` and `mcc --help` take beyond a bare Python.

    python benchmarks/startup.py

Prints the median of alternating runs, in milliseconds, and the promised limit of each; the exit
status is 1 when one is missed. What may be loaded is held by tests/test_imports.py.
"""

import statistics
import subprocess
import sys
import time

RUNS = 15
BARE = "pass"
LIMITS = {  # program: milliseconds beyond a bare Python
    "import mcc": 50,
    "import sys; sys.argv = ['mcc', '--help']; from mcc.cli import main; main()": 150,
}


def milliseconds(program: str) -> float:
    """How long a new Python takes to run `program`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)
    return 1000 * (time.perf_counter() - start)


def main() -> int:
    """Measure and print; 1 when a limit is missed."""
    times: dict[str, list[float]] = {program: [] for program in (BARE, *LIMITS)}
    for _ in range(RUNS):
        for program, taken in times.items():
            taken.append(milliseconds(program))
    bare = statistics.median(times[BARE])
    missed = 0
    for program, limit in LIMITS.items():
        beyond = statistics.median(times[program]) - bare
        print(f"{beyond:6.1f} ms of {limit:3d} ms  {program}")
        missed += beyond > limit
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
