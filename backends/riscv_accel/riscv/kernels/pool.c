/* Pooling: maxima, sums of bytes, means of floats. */

/* One image [in0, in1, in2] of a channel slides under the kernel; strides in elements. */
struct mcc_pool {
  int32_t batch, channels;
  int32_t in[3], out[3], kernel[3], stride[3], pad[3], pad_end[3], dilation[3];
  int32_t x_batch, x_channel, x_space[3];
  int32_t y_batch, y_channel, y_space[3];
  int32_t x_unsigned, zero, include_pad;
};

#define MCC_FOR_WINDOWS(p)                             \
  for (int32_t n = 0; n < (p)->batch; n++)             \
    for (int32_t c = 0; c < (p)->channels; c++)        \
      for (int32_t d = 0; d < (p)->out[0]; d++)        \
        for (int32_t h = 0; h < (p)->out[1]; h++)      \
          for (int32_t v = 0; v < (p)->out[2]; v++)

#define MCC_FOR_WINDOW(p)                              \
  for (int32_t t0 = 0; t0 < (p)->kernel[0]; t0++)      \
    for (int32_t t1 = 0; t1 < (p)->kernel[1]; t1++)    \
      for (int32_t t2 = 0; t2 < (p)->kernel[2]; t2++)

/* Where an element of a window lies; -1 outside x. `padded` tells the declared padding from beyond. */
static inline int64_t mcc_element(const struct mcc_pool *p, int32_t n, int32_t c, const int32_t *o,
                                  const int32_t *t, int *padded) {
  int64_t at = (int64_t)n * p->x_batch + (int64_t)c * p->x_channel;
  int inside = 1;
  *padded = 1;
  for (int i = 0; i < 3; i++) {
    int32_t place = o[i] * p->stride[i] - p->pad[i] + t[i] * p->dilation[i];
    if (place < 0 || place >= p->in[i]) inside = 0;
    if (place >= p->in[i] + p->pad_end[i]) *padded = 0;
    at += (int64_t)place * p->x_space[i];
  }
  return inside ? at : -1;
}

static inline size_t mcc_pooled(const struct mcc_pool *p, int32_t n, int32_t c, const int32_t *o) {
  int64_t at = (int64_t)n * p->y_batch + (int64_t)c * p->y_channel;
  for (int i = 0; i < 3; i++) at += (int64_t)o[i] * p->y_space[i];
  return (size_t)at;
}

MCC_KERNEL void mcc_max_pool(const struct mcc_pool *p, const void *x, uint8_t *y) {
  int padded;
  MCC_FOR_WINDOWS(p) {
    const int32_t o[3] = {d, h, v};
    int32_t best = p->x_unsigned ? 0 : -128;
    MCC_FOR_WINDOW(p) {
      const int32_t t[3] = {t0, t1, t2};
      int64_t at = mcc_element(p, n, c, o, t, &padded);
      if (at < 0) continue;
      int32_t value = mcc_byte(x, (size_t)at, p->x_unsigned);
      if (value > best) best = value;
    }
    y[mcc_pooled(p, n, c, o)] = (uint8_t)best;
  }
}

MCC_KERNEL void mcc_max_pool_f32(const struct mcc_pool *p, const float *x, float *y) {
  int padded;
  MCC_FOR_WINDOWS(p) {
    const int32_t o[3] = {d, h, v};
    float best = mcc_float(0xff800000u);
    MCC_FOR_WINDOW(p) {
      const int32_t t[3] = {t0, t1, t2};
      int64_t at = mcc_element(p, n, c, o, t, &padded);
      if (at < 0) continue;
      if (x[at] > best || x[at] != x[at]) best = x[at];
      if (best != best) break;
    }
    y[mcc_pooled(p, n, c, o)] = best;
  }
}

/* The sum of x - zero; padding adds nothing. */
MCC_KERNEL void mcc_sum_pool(const struct mcc_pool *p, const void *x, int32_t *y) {
  int padded;
  MCC_FOR_WINDOWS(p) {
    const int32_t o[3] = {d, h, v};
    int32_t sum = 0;
    MCC_FOR_WINDOW(p) {
      const int32_t t[3] = {t0, t1, t2};
      int64_t at = mcc_element(p, n, c, o, t, &padded);
      if (at >= 0) sum += mcc_byte(x, (size_t)at, p->x_unsigned) - p->zero;
    }
    y[mcc_pooled(p, n, c, o)] = sum;
  }
}

MCC_KERNEL void mcc_avg_pool(const struct mcc_pool *p, const float *x, float *y) {
  int padded;
  MCC_FOR_WINDOWS(p) {
    const int32_t o[3] = {d, h, v};
    float sum = 0.0f;
    int32_t count = 0;
    MCC_FOR_WINDOW(p) {
      const int32_t t[3] = {t0, t1, t2};
      int64_t at = mcc_element(p, n, c, o, t, &padded);
      if (at >= 0) sum += x[at];
      count += at >= 0 || (p->include_pad && padded);
    }
    y[mcc_pooled(p, n, c, o)] = sum / (float)count;
  }
}
