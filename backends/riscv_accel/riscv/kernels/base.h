/* What every kernel needs: fixed-width types, rounding half to even, saturation. No C library. */
#ifndef MCC_BASE_H
#define MCC_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifndef MCC_KERNEL
/* In a model's own source file each kernel is private to it; a test builds them as a library. */
#define MCC_KERNEL static __attribute__((unused))
#endif

#define MCC_RANK 8

/* Products and sums are rounded one by one: no fused multiply-add (gcc: -ffp-contract=off). */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

__attribute__((unused)) static inline uint32_t mcc_bits(float x) {
  union { float f; uint32_t u; } pun = {x};
  return pun.u;
}

__attribute__((unused)) static inline float mcc_float(uint32_t bits) {
  union { uint32_t u; float f; } pun = {bits};
  return pun.f;
}

/* Round half to even. Below 2^23, adding 2^23 leaves no bit for the fraction; above, there is none. */
__attribute__((unused)) static inline float mcc_round(float x) {
  const float whole = 8388608.0f;
  if (x >= 0.0f) return x < whole ? (x + whole) - whole : x;
  return x > -whole ? (x - whole) + whole : x;
}

/* clamp(rne(x) + zero, lo, hi); NaN becomes lo. */
__attribute__((unused)) static inline int32_t mcc_integer(float x, int32_t zero, int32_t lo, int32_t hi) {
#ifdef __riscv_flen
  /* One instruction rounds and saturates to 32 bits; of NaN it makes the largest integer. */
  int32_t value;
  if (x != x) return lo;
  __asm__("fcvt.w.s %0, %1, rne" : "=r"(value) : "f"(x));
  if (value < lo - zero) return lo;
  if (value > hi - zero) return hi;
  return value + zero;
#else
  float rounded = mcc_round(x);
  if (!(rounded > (float)(lo - zero))) return lo;
  if (rounded >= (float)(hi - zero)) return hi;
  return (int32_t)rounded + zero;
#endif
}

/* One 8-bit integer of either sign convention. */
__attribute__((unused)) static inline int32_t mcc_byte(const void *data, size_t index, int is_unsigned) {
  return is_unsigned ? (int32_t)((const uint8_t *)data)[index]
                     : (int32_t)((const int8_t *)data)[index];
}

#endif
