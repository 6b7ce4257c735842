"""Threads: kernels that share their work, sessions that run at the same time, pools that end."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cpu_cases import Array, attach

from mcc.backends.cpu import library_members
from mcc.backends.cpu.source import pool_source
from mcc.ir import DType, Module, Region, Tensor, Yield, constant, evaluate
from mcc.ops import Conv, Matmul, Softmax
from mcc.runtime import load_target
from mcc.runtime.library import Library

TARGET = load_target("cpu")

HARNESS = """
#include <pthread.h>
#include <stdio.h>
#include "pool.c"

enum { TASKS = 37, ROUNDS = 400, CALLERS = 3 };

struct frame { int done[TASKS]; int32_t tasks; };

static void body(void *argument, int32_t task, int32_t tasks)
{
    struct frame *frame = argument;
    frame->done[task] += tasks == frame->tasks; /* what the caller wrote is seen */
}

int model_call(const void *const inputs[], void *const outputs[], void *workspace,
               const struct model_team *team)
{
    (void)inputs, (void)outputs, (void)workspace;
    for (int round = 0; round < ROUNDS; round++) {
        int32_t tasks = 1 + (round * 7) % TASKS;
        struct frame frame = {{0}, tasks};
        if (team)
            team->launch(team->context, body, &frame, tasks);
        else
            for (int32_t task = 0; task < tasks; task++)
                body(&frame, task, tasks);
        for (int32_t task = 0; task < TASKS; task++)
            if (frame.done[task] != (task < tasks))
                return 1;
        if (round % 100 == 0)
            sched_yield();
    }
    return 0;
}

static int32_t busy;
static struct mcc_pool *pools[2];

static void *caller(void *number)
{
    long failed = 0;
    struct mcc_call call = {.pool = pools[(long)number % 2]};
    for (int i = 0; i < 5; i++)
        failed += mcc_pool_run(&call);
    return (void *)failed;
}

int main(void)
{
    pthread_t threads[CALLERS];
    long failed = 0;
    pools[0] = mcc_pool_new(3, 8, &busy);
    pools[1] = mcc_pool_new(1, 8, &busy);
    for (long i = 0; i < CALLERS; i++)
        pthread_create(&threads[i], NULL, caller, (void *)i);
    for (int i = 0; i < CALLERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        failed += (long)result;
    }
    mcc_pool_free(pools[0]);
    mcc_pool_free(pools[1]);
    printf("%ld %d\\n", failed, busy);
    return failed != 0 || busy != 0;
}
"""
HEADER = """
#include <stdint.h>
struct model_team {
    int32_t most_tasks;
    void (*launch)(void *, void (*)(void *, int32_t, int32_t), void *, int32_t);
    void *context;
};
int model_call(const void *const [], void *const [], void *, const struct model_team *);
"""


@pytest.mark.parametrize("checked", [False, True], ids=["plain", "thread-sanitizer"])
def test_each_task_is_done_once(tmp_path: Path, checked: bool) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler called cc")
    (tmp_path / "pool.c").write_text(pool_source())
    (tmp_path / "model.h").write_text(HEADER)
    (tmp_path / "harness.c").write_text(HARNESS)
    options = ["-fsanitize=thread", "-g"] if checked else []
    line = [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-pthread", *options]
    built = subprocess.run(
        [*line, "harness.c", "-o", "harness"], cwd=tmp_path, capture_output=True, text=True
    )
    if built.returncode and checked:
        pytest.skip("the C compiler has no thread sanitizer")
    assert not built.returncode, built.stderr
    assert not built.stderr
    done = subprocess.run([tmp_path / "harness"], capture_output=True, text=True, timeout=100)
    if checked and "unexpected memory mapping" in done.stderr:
        pytest.skip("the thread sanitizer does not run on this system")
    assert done.stdout == "0 0\n", done.stderr


def layers(size: int) -> Module:
    """A convolution with borders, a matrix product and a softmax, all large enough to share."""
    rng = np.random.default_rng(0)
    region = Region(
        [Tensor(DType.F32, (1, 19, 23, 32)), Tensor(DType.F32, (size, 128))], ["a", "b"]
    )
    a, b = region.args
    kernel = attach(region, constant(rng.standard_normal((40, 32, 3, 3)).astype("f4")))
    first = attach(region, Conv(a, kernel, pads=(1, 1, 1, 1), layout="nhwc"), "first")
    again = attach(region, constant(rng.standard_normal((24, 40, 3, 3)).astype("f4")))
    second = attach(region, Conv(first, again, pads=(1, 1, 1, 1), layout="nhwc"), "second")
    w = attach(region, constant(rng.standard_normal((128, 200)).astype("f4")))
    product = attach(region, Matmul(b, w), "product")
    soft = attach(region, Softmax(product, axis=1), "soft")
    region.append(Yield((second, soft)))
    return Module("layers", region, ["second", "soft"])


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    return dict(library_members(layers(301), TARGET))


def sample(seed: int, size: int = 301) -> list[Array]:
    rng = np.random.default_rng(seed)
    shapes = ((1, 19, 23, 32), (size, 128))
    return [rng.standard_normal(shape).astype("f4") for shape in shapes]


def load(members: dict[str, bytes], threads: int | None) -> Library:
    return Library(members["library.so"], members["library.json"], threads)


def test_any_number_of_threads_gives_the_same_bits(members: dict[str, bytes]) -> None:
    inputs = sample(0)
    wanted = evaluate(layers(301), dict(zip(("a", "b"), inputs, strict=True)))
    alone = load(members, 1).run(inputs)
    for found, exact in zip(alone, wanted.values(), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)
    for threads in (2, 3, 5, None):
        library = load(members, threads)
        for _ in range(3):
            for found, same in zip(library.run(inputs), alone, strict=True):
                np.testing.assert_array_equal(found, same)


def in_threads(count: int, act: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            act(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_libraries_run_in_several_threads_at_once(members: dict[str, bytes]) -> None:
    """Two libraries, each used by two threads of Python, with helpers of their own."""
    libraries = [load(members, 2), load(members, None)]
    inputs = [sample(seed) for seed in range(4)]
    wanted = [libraries[0].run(arrays) for arrays in inputs]

    def act(number: int) -> None:
        for _ in range(10):
            found = libraries[number % 2].run(inputs[number])
            for array, same in zip(found, wanted[number], strict=True):
                np.testing.assert_array_equal(array, same)

    in_threads(4, act)


def long_and_small() -> Module:
    """Much to compute on a small input."""
    region = Region([Tensor(DType.F32, (256, 256))], ["x"])
    value = region.args[0]
    for number in range(40):
        value = attach(region, Softmax(attach(region, Matmul(value, value)), axis=1), f"v{number}")
    region.append(Yield((value,)))
    return Module("long", region, ["y"])


def test_others_run_while_kernels_do() -> None:
    """Python's lock is not held: this thread counts while another one is inside the library."""
    library = load(dict(library_members(long_and_small(), TARGET)), 1)
    x = np.ones((256, 256), "f4")
    library.run([x])
    started, ended = threading.Event(), threading.Event()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100.0)  # nobody is interrupted; the lock must be given up

    def act() -> None:
        started.set()
        for _ in range(5):
            library.run([x])
        ended.set()

    thread = threading.Thread(target=act)
    count = 0
    try:
        thread.start()
        started.wait()
        while not ended.is_set() and count < 1000:
            count += 1
            time.sleep(0)
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert count > 100


def mapped() -> int:
    return sum("/mcc-" in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_a_library_leaves_with_its_threads(members: dict[str, bytes]) -> None:
    gc.collect()
    before, threads = mapped(), len(os.listdir("/proc/self/task"))
    library = load(members, 4)
    library.run(sample(0))
    assert mapped() > before
    del library
    gc.collect()
    assert mapped() == before
    assert len(os.listdir("/proc/self/task")) <= threads


def test_a_child_of_fork_can_run_a_library_of_its_parent(members: dict[str, bytes]) -> None:
    """The helpers do not exist there: the caller does all the tasks.

    Neither is what they held when they were left behind, on their way to sleep or awake.
    """
    library = load(members, 3)
    wanted = library.run(sample(0))
    for number in range(40):
        library.run(sample(0))
        time.sleep(number * 25e-6)
        with warnings.catch_warnings():
            # Of Python's, since 3.12: that other threads do not come along.
            warnings.simplefilter("ignore", DeprecationWarning)
            program = os.fork()
        if not program:
            status = 1
            try:
                found = library.run(sample(0))
                status = int(any((a != b).any() for a, b in zip(found, wanted, strict=True)))
                del library
                gc.collect()
            finally:
                os._exit(status)
        assert ended(program) == 0


def ended(program: int, seconds: float = 20.0) -> int:
    """The exit code of a child, which is stopped if it takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(program, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(program, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
