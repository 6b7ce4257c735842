/* Reductions and normalizations of float32. */

/* Along one axis: `outer` x `count` x `inner` elements. */
MCC_KERNEL void mcc_softmax(size_t outer, size_t count, size_t inner, const float *x, float *y) {
  for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++) {
      const float *from = x + o * count * inner + i;
      float *to = y + o * count * inner + i;
      float most = from[0], sum = 0.0f;
      for (size_t c = 1; c < count; c++)
        if (from[c * inner] > most || from[c * inner] != from[c * inner]) most = from[c * inner];
      for (size_t c = 0; c < count; c++) sum += to[c * inner] = mcc_exp(from[c * inner] - most);
      for (size_t c = 0; c < count; c++) to[c * inner] /= sum;
    }
}

/* The axes that stay, in order, and those that are folded away: sizes and strides of x. */
struct mcc_reduce {
  uint32_t kept[MCC_RANK], kept_strides[MCC_RANK], folded[MCC_RANK], folded_strides[MCC_RANK];
  int32_t kept_rank, folded_rank;
};

static inline int mcc_step(const uint32_t *dims, const uint32_t *strides, int32_t rank,
                           uint32_t *index, size_t *at) {
  for (int axis = rank - 1; axis >= 0; axis--) {
    *at += strides[axis];
    if (++index[axis] < dims[axis]) return 1;
    *at -= (size_t)strides[axis] * dims[axis];
    index[axis] = 0;
  }
  return 0;
}

/* The sum, divided by `count` where that is not 0. */
MCC_KERNEL void mcc_reduce_sum(const struct mcc_reduce *p, uint32_t count, const float *x,
                               float *y) {
  uint32_t outer[MCC_RANK] = {0};
  size_t base = 0;
  do {
    uint32_t inner[MCC_RANK] = {0};
    size_t at = base;
    float sum = 0.0f;
    do sum += x[at];
    while (mcc_step(p->folded, p->folded_strides, p->folded_rank, inner, &at));
    *y++ = count ? sum / (float)count : sum;
  } while (mcc_step(p->kept, p->kept_strides, p->kept_rank, outer, &base));
}

MCC_KERNEL void mcc_reduce_max(const struct mcc_reduce *p, const float *x, float *y) {
  uint32_t outer[MCC_RANK] = {0};
  size_t base = 0;
  do {
    uint32_t inner[MCC_RANK] = {0};
    size_t at = base;
    float most = x[at];
    do
      if (x[at] > most || x[at] != x[at]) most = x[at];
    while (most == most && mcc_step(p->folded, p->folded_strides, p->folded_rank, inner, &at));
    *y++ = most;
  } while (mcc_step(p->kept, p->kept_strides, p->kept_rank, outer, &base));
}

MCC_KERNEL void mcc_batch_norm(size_t batch, size_t channels, size_t inner, float epsilon,
                               const float *x, const float *scale, const float *bias,
                               const float *mean, const float *var, float *y) {
  for (size_t n = 0; n < batch; n++)
    for (size_t c = 0; c < channels; c++) {
      float factor = scale[c] / mcc_sqrt(var[c] + epsilon);
      for (size_t i = 0; i < inner; i++) *y++ = (*x++ - mean[c]) * factor + bias[c];
    }
}

/* Over the last axes, `count` elements together; scale and bias (which may be null) as many. */
MCC_KERNEL void mcc_layer_norm(size_t outer, size_t count, float epsilon, const float *x,
                               const float *scale, const float *bias, float *y) {
  for (size_t o = 0; o < outer; o++, x += count, y += count) {
    float sum = 0.0f, squares = 0.0f;
    for (size_t i = 0; i < count; i++) sum += x[i];
    float mean = sum / (float)count;
    for (size_t i = 0; i < count; i++) squares += (x[i] - mean) * (x[i] - mean);
    float root = mcc_sqrt(squares / (float)count + epsilon);
    for (size_t i = 0; i < count; i++)
      y[i] = (x[i] - mean) / root * scale[i] + (bias ? bias[i] : 0.0f);
  }
}
