/* Runs the vectors of vectors.h: status and cycles of every step, then of each whole inference. */
#include <stddef.h>
#include <stdint.h>

#include "model.h"

void board_exit(int code);

CONSOLE

static char line[256];
static uint32_t filled;

static void put(const char *text) {
  while (*text && filled < sizeof line) line[filled++] = *text++;
}

static void put_padded(const char *text, uint32_t width) {
  uint32_t start = filled;
  put(text);
  while (filled - start < width && filled < sizeof line) line[filled++] = ' ';
}

static void put_number(uint64_t value) {
  char digits[20];
  int count = 0;
  do digits[count++] = (char)('0' + value % 10), value /= 10;
  while (value);
  while (count && filled < sizeof line) line[filled++] = digits[--count];
}

static void put_hex(uint64_t value) {
  put("0x");
  for (int shift = 60; shift >= 0; shift -= 4)
    if (filled < sizeof line) line[filled++] = "0123456789abcdef"[(value >> shift) & 15];
}

static void end_line(void) {
  if (filled == sizeof line) filled--;
  line[filled++] = '\n';
  console_write(line, filled);
  filled = 0;
}

static inline uint64_t cycles(void) {
  uint64_t now;
  __asm__ volatile("csrr %0, mcycle" : "=r"(now) : : "memory");
  return now;
}

static inline uint64_t instructions(void) {
  uint64_t now;
  __asm__ volatile("csrr %0, minstret" : "=r"(now) : : "memory");
  return now;
}

void board_trap(uint64_t cause, uint64_t pc, uint64_t value) {
  filled = 0;
  put("FAIL: trap, cause "), put_number(cause), put(", at "), put_hex(pc), put(", value ");
  put_hex(value), end_line();
  board_exit(3);
}

#include "vectors.h"

/* The 32-bit Fowler-Noll-Vo hash, variant 1a. */
static uint32_t hash(const uint8_t *data, uint32_t bytes) {
  uint32_t h = 2166136261u;
  while (bytes--) h = (h ^ *data++) * 16777619u;
  return h;
}

static uint64_t step_start, step_end;
static uint32_t wrong;

/* A step has ended, and its result is about to be brought out of the chip. */
void model_showing(void) { step_end = cycles(); }

static void observe(uint32_t step, const char *name, const void *data, uint32_t bytes) {
  uint64_t taken = (step_end ? step_end : cycles()) - step_start;
  step_end = 0;
  const char *status = "-     ";
  if (step_known[step]) {
    int right = hash((const uint8_t *)data, bytes) == step_hash[step];
    status = right ? "ok    " : "WRONG ";
    wrong += !right;
  }
  put("  "), put(status), put_padded(name, 48), put(" "), put_number(taken), put(" cycles");
  end_line();
  step_start = cycles();
}

int main(void) {
  uint32_t failed = 0;
  put("mcc self-test: " MODEL_NAME " on " MODEL_TARGET), end_line();
  ACCEL_START();
  step_start = cycles();
  run_vector(0, observe);
  if (wrong) failed++;
  for (uint32_t vector = 0; vector < VECTORS; vector++) {
    uint64_t start = cycles(), retired = instructions();
    run_vector(vector, 0);
    uint64_t taken = cycles() - start;
    retired = instructions() - retired;
    uint32_t different = compare_vector(vector);
    put("vector "), put_number(vector), put(different ? ": WRONG, " : ": ok, ");
    put_number(taken), put(" cycles, "), put_number(retired), put(" instructions");
    put_classes(vector);
    if (different) put(", "), put_number(different), put(" elements differ"), failed++;
    end_line();
  }
  put(failed ? "FAIL" : "PASS"), end_line();
  return failed ? 1 : 0;
}
