/* Convolution and matrix product on the host, in integers (wrapping in 32 bits) and in float32. */

/* Any number of spatial dimensions up to 3, as 3: strides in elements say how x and y lie. */
struct mcc_conv {
  int32_t batch, groups, in_per_group, out_per_group;
  int32_t in[3], out[3], kernel[3], stride[3], pad[3], dilation[3];
  int32_t x_batch, x_channel, x_space[3];
  int32_t y_batch, y_channel, y_space[3];
  int32_t x_unsigned, w_unsigned, r_unsigned, pad_value;
  int32_t lo, hi;
  float lo_float, hi_float;
};

/* Walks over output elements; `t` are the kernel's offsets, `inside` tells padding from data. */
#define MCC_FOR_OUTPUTS(p)                              \
  for (int32_t n = 0; n < (p)->batch; n++)              \
    for (int32_t g = 0; g < (p)->groups; g++)           \
      for (int32_t m = 0; m < (p)->out_per_group; m++)  \
        for (int32_t d = 0; d < (p)->out[0]; d++)       \
          for (int32_t h = 0; h < (p)->out[1]; h++)     \
            for (int32_t v = 0; v < (p)->out[2]; v++)

#define MCC_FOR_TAPS(p)                                  \
  for (int32_t c = 0; c < (p)->in_per_group; c++)        \
    for (int32_t t0 = 0; t0 < (p)->kernel[0]; t0++)      \
      for (int32_t t1 = 0; t1 < (p)->kernel[1]; t1++)    \
        for (int32_t t2 = 0; t2 < (p)->kernel[2]; t2++)

/* Where a tap reads x; -1 in the padding. */
static inline int64_t mcc_tap(const struct mcc_conv *p, int32_t n, int32_t channel, int32_t d,
                              int32_t h, int32_t v, int32_t t0, int32_t t1, int32_t t2) {
  int32_t at0 = d * p->stride[0] - p->pad[0] + t0 * p->dilation[0];
  int32_t at1 = h * p->stride[1] - p->pad[1] + t1 * p->dilation[1];
  int32_t at2 = v * p->stride[2] - p->pad[2] + t2 * p->dilation[2];
  if (at0 < 0 || at0 >= p->in[0] || at1 < 0 || at1 >= p->in[1] || at2 < 0 || at2 >= p->in[2])
    return -1;
  return (int64_t)n * p->x_batch + (int64_t)channel * p->x_channel + (int64_t)at0 * p->x_space[0] +
         (int64_t)at1 * p->x_space[1] + (int64_t)at2 * p->x_space[2];
}

static inline int64_t mcc_place(const struct mcc_conv *p, int32_t n, int32_t channel, int32_t d,
                                int32_t h, int32_t v) {
  return (int64_t)n * p->y_batch + (int64_t)channel * p->y_channel + (int64_t)d * p->y_space[0] +
         (int64_t)h * p->y_space[1] + (int64_t)v * p->y_space[2];
}

/* b, r may be null; with k, r holds bytes that enter as k * r; without, 32-bit integers. */
MCC_KERNEL void mcc_conv_i32(const struct mcc_conv *p, const void *x, const void *w,
                             const int32_t *b, const void *r, const int32_t *k, int32_t *y) {
  MCC_FOR_OUTPUTS(p) {
    int32_t channel = g * p->out_per_group + m;
    uint32_t sum = b ? (uint32_t)b[channel] : 0;
    size_t tap = (size_t)channel * p->in_per_group * p->kernel[0] * p->kernel[1] * p->kernel[2];
    MCC_FOR_TAPS(p) {
      int64_t at = mcc_tap(p, n, g * p->in_per_group + c, d, h, v, t0, t1, t2);
      int32_t value = at < 0 ? p->pad_value : mcc_byte(x, (size_t)at, p->x_unsigned);
      sum += (uint32_t)(value * mcc_byte(w, tap++, p->w_unsigned));
    }
    size_t place = (size_t)mcc_place(p, n, channel, d, h, v);
    if (r && k) sum += (uint32_t)k[channel] * (uint32_t)mcc_byte(r, place, p->r_unsigned);
    else if (r) sum += (uint32_t)((const int32_t *)r)[place];
    int32_t result = (int32_t)sum;
    y[place] = result < p->lo ? p->lo : result > p->hi ? p->hi : result;
  }
}

MCC_KERNEL void mcc_conv_f32(const struct mcc_conv *p, const float *x, const float *w,
                             const float *b, const float *r, float *y) {
  MCC_FOR_OUTPUTS(p) {
    int32_t channel = g * p->out_per_group + m;
    float sum = 0.0f;
    size_t tap = (size_t)channel * p->in_per_group * p->kernel[0] * p->kernel[1] * p->kernel[2];
    MCC_FOR_TAPS(p) {
      int64_t at = mcc_tap(p, n, g * p->in_per_group + c, d, h, v, t0, t1, t2);
      float value = at < 0 ? (float)p->pad_value : x[at];
      sum += value * w[tap++];
    }
    size_t place = (size_t)mcc_place(p, n, channel, d, h, v);
    if (b) sum += b[channel];
    if (r) sum += r[place];
    if (sum < p->lo_float) sum = p->lo_float;
    if (sum > p->hi_float) sum = p->hi_float;
    y[place] = sum;
  }
}

/* Matrices [rows, depth] and [depth, columns], `batch` of them; strides of 0 repeat one. */
struct mcc_matmul {
  int32_t rank, rows, depth, columns;
  uint32_t dims[MCC_RANK], x_strides[MCC_RANK], w_strides[MCC_RANK];
  int32_t x_unsigned, w_unsigned, r_unsigned;
  int32_t lo, hi;
  float lo_float, hi_float;
};

/* Steps to the next matrix of the leading dimensions; 0 when all are done. */
static inline int mcc_next_matrix(const struct mcc_matmul *p, uint32_t *index, size_t *x,
                                  size_t *w) {
  for (int axis = p->rank - 1; axis >= 0; axis--) {
    *x += p->x_strides[axis], *w += p->w_strides[axis];
    if (++index[axis] < p->dims[axis]) return 1;
    *x -= (size_t)p->x_strides[axis] * p->dims[axis];
    *w -= (size_t)p->w_strides[axis] * p->dims[axis];
    index[axis] = 0;
  }
  return 0;
}

MCC_KERNEL void mcc_matmul_i32(const struct mcc_matmul *p, const void *x, const void *w,
                               const int32_t *b, const void *r, const int32_t *k, int32_t *y) {
  uint32_t index[MCC_RANK] = {0};
  size_t at_x = 0, at_w = 0, place = 0;
  do {
    for (int32_t i = 0; i < p->rows; i++)
      for (int32_t j = 0; j < p->columns; j++, place++) {
        uint32_t sum = b ? (uint32_t)b[j] : 0;
        for (int32_t d = 0; d < p->depth; d++)
          sum += (uint32_t)(mcc_byte(x, at_x + (size_t)i * p->depth + d, p->x_unsigned) *
                            mcc_byte(w, at_w + (size_t)d * p->columns + j, p->w_unsigned));
        if (r && k) sum += (uint32_t)k[j] * (uint32_t)mcc_byte(r, place, p->r_unsigned);
        else if (r) sum += (uint32_t)((const int32_t *)r)[place];
        int32_t result = (int32_t)sum;
        y[place] = result < p->lo ? p->lo : result > p->hi ? p->hi : result;
      }
  } while (mcc_next_matrix(p, index, &at_x, &at_w));
}

MCC_KERNEL void mcc_matmul_f32(const struct mcc_matmul *p, const float *x, const float *w,
                               const float *b, const float *r, float *y) {
  uint32_t index[MCC_RANK] = {0};
  size_t at_x = 0, at_w = 0, place = 0;
  do {
    for (int32_t i = 0; i < p->rows; i++)
      for (int32_t j = 0; j < p->columns; j++, place++) {
        float sum = 0.0f;
        for (int32_t d = 0; d < p->depth; d++)
          sum += x[at_x + (size_t)i * p->depth + d] * w[at_w + (size_t)d * p->columns + j];
        if (b) sum += b[j];
        if (r) sum += r[place];
        if (sum < p->lo_float) sum = p->lo_float;
        if (sum > p->hi_float) sum = p->hi_float;
        y[place] = sum;
      }
  } while (mcc_next_matrix(p, index, &at_x, &at_w));
}
