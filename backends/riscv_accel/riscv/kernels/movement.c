/* Moving elements: one strided copy does transposes, slices, broadcasts and joins. */

struct mcc_copy {
  uint32_t dims[MCC_RANK];
  int32_t from[MCC_RANK], to[MCC_RANK]; /* strides in elements; from may be 0 or negative */
  int32_t rank;
  uint32_t width; /* bytes of an element */
  int64_t from_start, to_start;
};

/* Bytes from one place to another; eight at a time where both are aligned. */
MCC_KERNEL void mcc_move(size_t count, const void *from, void *to) {
  const uint8_t *x = from;
  uint8_t *y = to;
  if ((((uintptr_t)x | (uintptr_t)y) & 7) == 0)
    for (; count >= 8; count -= 8, x += 8, y += 8) *(uint64_t *)y = *(const uint64_t *)x;
  while (count--) *y++ = *x++;
}

MCC_KERNEL void mcc_copy(const struct mcc_copy *p, const void *x, void *y) {
  uint32_t index[MCC_RANK] = {0};
  int64_t source = p->from_start, target = p->to_start;
  for (int axis = 0; axis < p->rank; axis++)
    if (p->dims[axis] == 0) return;
  int inner = p->rank - 1;
  int64_t step_from = inner < 0 ? 0 : p->from[inner], step_to = inner < 0 ? 0 : p->to[inner];
  uint32_t run = inner < 0 ? 1 : p->dims[inner];
  for (;;) {
    const uint8_t *s = (const uint8_t *)x + source * p->width;
    uint8_t *t = (uint8_t *)y + target * p->width;
    if (step_from == 1 && step_to == 1) mcc_move((size_t)run * p->width, s, t);
    else for (uint32_t i = 0; i < run; i++, s += step_from * p->width, t += step_to * p->width)
      switch (p->width) {
        case 1: *t = *s; break;
        case 2: *(uint16_t *)t = *(const uint16_t *)s; break;
        case 4: *(uint32_t *)t = *(const uint32_t *)s; break;
        default: *(uint64_t *)t = *(const uint64_t *)s; break;
      }
    int axis = inner - 1;
    for (; axis >= 0; axis--) {
      source += p->from[axis], target += p->to[axis];
      if (++index[axis] < p->dims[axis]) break;
      source -= (int64_t)p->from[axis] * p->dims[axis];
      target -= (int64_t)p->to[axis] * p->dims[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/* `count` elements of `width` bytes, each a copy of the one at `value`. */
MCC_KERNEL void mcc_fill(size_t count, size_t width, const uint8_t *value, void *to) {
  uint8_t *y = to;
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < width; k++) *y++ = value[k];
}

/* `count` equal bytes, eight at a time. */
MCC_KERNEL void mcc_set(size_t count, uint8_t value, void *to) {
  uint8_t *y = to;
  while (count && ((uintptr_t)y & 7)) *y++ = value, count--;
  uint64_t word = 0x0101010101010101u * value;
  for (; count >= 8; count -= 8, y += 8) *(uint64_t *)y = word;
  while (count--) *y++ = value;
}

/* y[o, j, :] = x[o, indices[j], :]; negative indices count from the end. */
MCC_KERNEL void mcc_gather(size_t outer, size_t axis, size_t count, size_t bytes, const void *x,
                           const void *indices, int wide, void *to) {
  uint8_t *y = to;
  for (size_t o = 0; o < outer; o++)
    for (size_t j = 0; j < count; j++) {
      int64_t index = wide ? ((const int64_t *)indices)[j] : ((const int32_t *)indices)[j];
      if (index < 0) index += (int64_t)axis;
      const uint8_t *from = (const uint8_t *)x + (o * axis + (size_t)index) * bytes;
      for (size_t k = 0; k < bytes; k++) *y++ = from[k];
    }
}
