/* Element-wise float32 ops; two operands broadcast through strides of 0. */

MCC_KERNEL void mcc_neg(size_t size, const float *x, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = -x[i];
}

MCC_KERNEL void mcc_abs(size_t size, const float *x, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = mcc_float(mcc_bits(x[i]) & 0x7fffffffu);
}

MCC_KERNEL void mcc_reciprocal(size_t size, const float *x, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = 1.0f / x[i];
}

MCC_KERNEL void mcc_leaky_relu(size_t size, float alpha, const float *x, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = x[i] >= 0.0f ? x[i] : x[i] * alpha;
}

/* NaN stays NaN; infinite bounds do nothing. */
MCC_KERNEL void mcc_clip(size_t size, float lo, float hi, const float *x, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = x[i] < lo ? lo : x[i] > hi ? hi : x[i];
}

/* The sign is x's: that of a zero too. */
MCC_KERNEL float mcc_floor(float x) {
  float y = mcc_round(x);
  if (y > x) y -= 1.0f;
  return mcc_float((mcc_bits(y) & 0x7fffffffu) | (mcc_bits(x) & 0x80000000u));
}

MCC_KERNEL void mcc_map(size_t size, float (*function)(float), const float *x, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = function(x[i]);
}

struct mcc_binary {
  uint32_t dims[MCC_RANK], a_strides[MCC_RANK], b_strides[MCC_RANK];
  int32_t rank;
  float lo, hi;
};

static inline int mcc_next_pair(const struct mcc_binary *p, uint32_t *index, size_t *a, size_t *b) {
  for (int axis = p->rank - 1; axis >= 0; axis--) {
    *a += p->a_strides[axis], *b += p->b_strides[axis];
    if (++index[axis] < p->dims[axis]) return 1;
    *a -= (size_t)p->a_strides[axis] * p->dims[axis];
    *b -= (size_t)p->b_strides[axis] * p->dims[axis];
    index[axis] = 0;
  }
  return 0;
}

#define MCC_BINARY(name, expression)                                                      \
  MCC_KERNEL void name(const struct mcc_binary *p, const float *a, const float *b, float *y) { \
    uint32_t index[MCC_RANK] = {0};                                                        \
    size_t i = 0, j = 0;                                                                   \
    do {                                                                                   \
      float l = a[i], r = b[j], value = (expression);                                      \
      *y++ = value < p->lo ? p->lo : value > p->hi ? p->hi : value;                        \
    } while (mcc_next_pair(p, index, &i, &j));                                             \
  }

MCC_BINARY(mcc_add, l + r)
MCC_BINARY(mcc_sub, l - r)
MCC_BINARY(mcc_mul, l * r)
MCC_BINARY(mcc_div, l / r)
MCC_BINARY(mcc_min, l != l ? l : r != r ? r : l < r ? l : r)
MCC_BINARY(mcc_max, l != l ? l : r != r ? r : l > r ? l : r)
