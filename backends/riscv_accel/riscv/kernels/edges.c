/* Quantize, dequantize, requantize, the quantized add, tables: docs/numerics.md to the bit. */

/* q = saturate(rne(x / scale) + zero). Channels: `count` of them, each `inner` elements, `outer` times;
   one scale for all where count is 1. Bytes have the same bits signed and unsigned. */
MCC_KERNEL void mcc_quantize(size_t outer, size_t count, size_t inner, const float *x,
                             const float *scale, const int32_t *zero, int32_t lo, int32_t hi,
                             uint8_t *y) {
  for (size_t o = 0; o < outer; o++)
    for (size_t c = 0; c < count; c++)
      for (size_t i = 0; i < inner; i++)
        *y++ = (uint8_t)mcc_integer(*x++ / scale[c], zero[c], lo, hi);
}

/* value * 2^-shift, rounded half to even. */
static inline __attribute__((unused)) int64_t mcc_round_shift(int64_t value, int32_t shift) {
  if (shift <= 0) return (int64_t)((uint64_t)value << -shift);
  if (shift > 62) return 0;
  int64_t floor = value >> shift;
  int64_t rest = value - (int64_t)((uint64_t)floor << shift), half = (int64_t)1 << (shift - 1);
  return floor + (rest > half || (rest == half && (floor & 1)));
}

/* mcc_quantize where the scale is 2^-shift, read off the float's bits: integers only. */
MCC_KERNEL void mcc_quantize_shift(size_t size, const float *x, int32_t shift, int32_t zero,
                                   int32_t lo, int32_t hi, uint8_t *y) {
  for (size_t i = 0; i < size; i++) {
    uint32_t bits = ((const uint32_t *)x)[i];
    int32_t exponent = (int32_t)(bits >> 23 & 0xff);
    int64_t value = bits & 0x7fffff;
    if (exponent == 0xff && value) { /* NaN */
      y[i] = (uint8_t)lo;
      continue;
    }
    if (exponent) value |= 0x800000;
    else exponent = 1;
    /* |x| / scale = value * 2^-down; far above any 8-bit number from 2^9 on. */
    int32_t down = 150 - exponent - shift;
    value = down < -9 ? (value ? 1 << 30 : 0) : mcc_round_shift(value, down);
    value = (bits >> 31 ? -value : value) + zero;
    y[i] = (uint8_t)(value < lo ? lo : value > hi ? hi : value);
  }
}

/* x = float32(q - zero) * scale, from bytes. */
MCC_KERNEL void mcc_dequantize(size_t outer, size_t count, size_t inner, const void *x,
                               int is_unsigned, const float *scale, const int32_t *zero, float *y) {
  size_t at = 0;
  for (size_t o = 0; o < outer; o++)
    for (size_t c = 0; c < count; c++)
      for (size_t i = 0; i < inner; i++, at++)
        y[at] = (float)(mcc_byte(x, at, is_unsigned) - zero[c]) * scale[c];
}

/* The same from 32-bit integers. */
MCC_KERNEL void mcc_dequantize_i32(size_t outer, size_t count, size_t inner, const int32_t *x,
                                   const float *scale, const int32_t *zero, float *y) {
  for (size_t o = 0; o < outer; o++)
    for (size_t c = 0; c < count; c++)
      for (size_t i = 0; i < inner; i++)
        *y++ = (float)((int64_t)*x++ - (int64_t)zero[c]) * scale[c];
}

/* y = clamp(rne(float32(acc) * multiplier) + zero, lo, hi). */
MCC_KERNEL void mcc_requantize(size_t outer, size_t count, size_t inner, const int32_t *x,
                               const float *multiplier, int32_t zero, int32_t lo, int32_t hi,
                               uint8_t *y) {
  for (size_t o = 0; o < outer; o++)
    for (size_t c = 0; c < count; c++)
      for (size_t i = 0; i < inner; i++)
        *y++ = (uint8_t)mcc_integer((float)*x++ * multiplier[c], zero, lo, hi);
}

/* The same where the multiplier is 2^-shift and |acc| <= 2^24: integers only. */
MCC_KERNEL void mcc_requantize_shift(size_t size, const int32_t *x, int32_t shift, int32_t zero,
                                     int32_t lo, int32_t hi, uint8_t *y) {
  for (size_t i = 0; i < size; i++) {
    int64_t value = mcc_round_shift(x[i], shift);
    value += zero;
    y[i] = (uint8_t)(value < lo ? lo : value > hi ? hi : value);
  }
}

/* The bytes of two operands, strides in elements (0 where one is repeated). */
struct mcc_qadd {
  uint32_t dims[MCC_RANK];
  uint32_t a_strides[MCC_RANK], b_strides[MCC_RANK];
  int32_t rank, a_unsigned, b_unsigned;
  float a_scale, b_scale;
  int32_t a_zero, b_zero, zero, lo, hi;
};

/* y = clamp(rne((a - a_zero) * a_scale + (b - b_zero) * b_scale) + zero, lo, hi). */
MCC_KERNEL void mcc_qadd(const struct mcc_qadd *p, const void *a, const void *b, uint8_t *y) {
  uint32_t index[MCC_RANK] = {0};
  size_t at_a = 0, at_b = 0;
  for (;;) {
    float left = (float)(mcc_byte(a, at_a, p->a_unsigned) - p->a_zero) * p->a_scale;
    float right = (float)(mcc_byte(b, at_b, p->b_unsigned) - p->b_zero) * p->b_scale;
    *y++ = (uint8_t)mcc_integer(left + right, p->zero, p->lo, p->hi);
    int axis = p->rank - 1;
    for (; axis >= 0; axis--) {
      at_a += p->a_strides[axis], at_b += p->b_strides[axis];
      if (++index[axis] < p->dims[axis]) break;
      at_a -= (size_t)p->a_strides[axis] * p->dims[axis];
      at_b -= (size_t)p->b_strides[axis] * p->dims[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/* y = table[x + 128] for signed, table[x] for unsigned; entries of `width` bytes. */
MCC_KERNEL void mcc_lookup(size_t size, const uint8_t *x, int is_unsigned, const uint8_t *table,
                           size_t width, uint8_t *y) {
  for (size_t i = 0; i < size; i++) {
    size_t entry = is_unsigned ? x[i] : (size_t)(uint8_t)(x[i] ^ 0x80);
    for (size_t k = 0; k < width; k++) *y++ = table[entry * width + k];
  }
}
