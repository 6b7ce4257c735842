/* Sums of a few picked rows of float32. */

/* y[o, j, :] = sum over t of weights[j, t] * x[o, indices[j, t], :]; indices beyond an end of the
   axis mean the row at that end. */
MCC_KERNEL void mcc_resample(size_t outer, size_t axis, size_t inner, size_t count, size_t taps,
                             const float *x, const void *indices, int wide, const float *weights,
                             float *y) {
  for (size_t o = 0; o < outer; o++, x += axis * inner)
    for (size_t j = 0; j < count; j++, y += inner) {
      for (size_t i = 0; i < inner; i++) y[i] = 0.0f;
      for (size_t t = 0; t < taps; t++) {
        size_t at = j * taps + t;
        int64_t index = wide ? ((const int64_t *)indices)[at] : ((const int32_t *)indices)[at];
        if (index < 0) index = 0;
        if (index >= (int64_t)axis) index = (int64_t)axis - 1;
        const float *row = x + (size_t)index * inner;
        for (size_t i = 0; i < inner; i++) y[i] += row[i] * weights[at];
      }
    }
}
