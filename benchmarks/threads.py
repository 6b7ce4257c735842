"""What a second thread gains, and what sessions that run at the same time lose.

    python benchmarks/threads.py [--only resnet50 ...] [--seconds 8] [--json] [--write]

One thread and all take turns in one process, in wall time, best of each turn, median over the
turns. `together`: inferences a second of as many one-thread sessions as there are cores, each in a
Python thread of its own, by those of one session alone. Both need idle cores; the notes say how
many processes wanted to run meanwhile.
"""

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence

import cpu_models as built
import onnx
from cpu_sessions import best, run_of
from recording import Cell, Table, arguments, finish

from mcc import compile as compile_model

MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "resnet50": lambda: built.resnet((3, 4, 6, 3), bottleneck=True),
    "mobilenet_v2": built.mobilenet_v2,
    "bert_2_layers": built.bert,
    "tiny_cnn": built.tiny_cnn,
}
TURNS = 8


def rate(runs: Sequence[Callable[[], object]], seconds: float) -> float:
    """Inferences a second, each of `runs` in a thread of its own."""
    counts = [0] * len(runs)
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            runs[number]()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=8.0, help="for each model")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    share = options.seconds / TURNS / 4
    rows: list[Sequence[Cell]] = []
    loads: list[float] = []
    for name in options.only:
        artifact = compile_model(MODELS[name]())
        one, all_ = run_of(artifact, 1), run_of(artifact, cores)
        others = [run_of(artifact, 1) for _ in range(cores)]
        turns: list[tuple[float, float, float]] = []
        for _ in range(TURNS):
            pair = best(one, share, time.perf_counter), best(all_, share, time.perf_counter)
            turns.append((*pair, rate(others, share) / rate(others[:1], share)))
            loads.append(os.getloadavg()[0])
        single, several = (1e3 * min(turn[side] for turn in turns) for side in (0, 1))
        gain = statistics.median(turn[0] / turn[1] for turn in turns)
        together = statistics.median(turn[2] for turn in turns)
        rows.append((name, single, several, gain, together))
        print(rows[-1], file=sys.stderr)
    table = Table(
        "threads",
        f"One thread and {cores}",
        "python benchmarks/threads.py",
        ("model", "1 thread ms", f"{cores} threads ms", "gain", "together"),
        rows,
        [
            "Aimed at with 2 cores: a gain of 1.7 on ResNet-50.",
            f"Processes that wanted to run, this one's threads included: {min(loads):.1f} to "
            f"{max(loads):.1f} (load average of a minute), on {cores} cores.",
        ],
        timed=True,
    )
    finish([table], options)


if __name__ == "__main__":
    main()
