/* Recurrent layers of float32: all steps of a sequence. */

enum mcc_squash { MCC_SIGMOID, MCC_TANH, MCC_RELU, MCC_HARD_SIGMOID };

struct mcc_recurrent {
  uint32_t steps, batch, hidden;
  int32_t reverse;
  float clip;
  int32_t gate, cell, output; /* of enum mcc_squash */
};

static inline float mcc_squash(int32_t kind, float x) {
  switch (kind) {
    case MCC_SIGMOID: return mcc_sigmoid(x);
    case MCC_TANH: return mcc_tanh(x);
    case MCC_RELU: return x < 0.0f ? 0.0f : x;
    default: x = 0.2f * x + 0.5f; return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;
  }
}

static inline float mcc_squashed(const struct mcc_recurrent *p, int32_t kind, float x) {
  if (x > p->clip) x = p->clip;
  if (x < -p->clip) x = -p->clip;
  return mcc_squash(kind, x);
}

/* The sum of h[k] * column[k * stride]. */
static inline float mcc_recur(uint32_t hidden, const float *h, const float *column, size_t stride) {
  float sum = 0.0f;
  for (uint32_t k = 0; k < hidden; k++) sum += h[k] * column[k * stride];
  return sum;
}

/* y[steps, 2, batch, hidden] from x[steps, batch, 4 * hidden], gates in the order i, o, f, c. */
MCC_KERNEL void mcc_lstm(const struct mcc_recurrent *p, const float *x, const float *r,
                         const float *h, const float *c, const float *peep,
                         const int32_t *lengths, float *y) {
  size_t size = p->hidden, state = p->batch * size;
  for (uint32_t s = 0; s < p->steps; s++) {
    uint32_t step = p->reverse ? p->steps - 1 - s : s;
    float *shown = y + step * 2 * state, *kept = shown + state;
    for (uint32_t n = 0; n < p->batch; n++) {
      const float *in = x + (step * p->batch + n) * 4 * size, *was = h + n * size;
      for (size_t j = 0; j < size; j++) {
        float old = c[n * size + j], sums[4];
        if (lengths && (int32_t)step >= lengths[n]) {
          shown[n * size + j] = was[j], kept[n * size + j] = old;
          continue;
        }
        for (size_t g = 0; g < 4; g++)
          sums[g] = in[g * size + j] + mcc_recur(p->hidden, was, r + g * size + j, 4 * size);
        if (peep) sums[0] += peep[j] * old, sums[2] += peep[2 * size + j] * old;
        float let_in = mcc_squashed(p, p->gate, sums[0]), keep = mcc_squashed(p, p->gate, sums[2]);
        float cell = keep * old + let_in * mcc_squashed(p, p->cell, sums[3]);
        if (peep) sums[1] += peep[size + j] * cell;
        kept[n * size + j] = cell;
        shown[n * size + j] = mcc_squashed(p, p->gate, sums[1]) * mcc_squash(p->output, cell);
      }
    }
    h = shown, c = kept;
  }
}

/* y[steps, batch, hidden] from x[steps, batch, 3 * hidden], gates in the order z, r, n. With a bias
   the reset gate scales the recurrence, else the state: then `room` holds hidden of them. */
MCC_KERNEL void mcc_gru(const struct mcc_recurrent *p, const float *x, const float *r,
                        const float *h, const float *bias, const int32_t *lengths, float *room,
                        float *y) {
  size_t size = p->hidden, state = p->batch * size, wide = 3 * size;
  for (uint32_t s = 0; s < p->steps; s++) {
    uint32_t step = p->reverse ? p->steps - 1 - s : s;
    float *out = y + step * state;
    for (uint32_t n = 0; n < p->batch; n++) {
      const float *in = x + (step * p->batch + n) * wide, *was = h + n * size;
      int live = !lengths || (int32_t)step < lengths[n];
      if (!bias)
        for (size_t j = 0; j < size; j++)
          room[j] = was[j] * mcc_squashed(p, p->gate,
              in[size + j] + mcc_recur(p->hidden, was, r + size + j, wide));
      for (size_t j = 0; j < size; j++) {
        if (!live) {
          out[n * size + j] = was[j];
          continue;
        }
        float z = mcc_squashed(p, p->gate, in[j] + mcc_recur(p->hidden, was, r + j, wide)), inner;
        if (bias) {
          float reset = mcc_squashed(p, p->gate,
              in[size + j] + mcc_recur(p->hidden, was, r + size + j, wide));
          inner = reset * (mcc_recur(p->hidden, was, r + 2 * size + j, wide) + bias[j]);
        } else {
          inner = mcc_recur(p->hidden, room, r + 2 * size + j, wide);
        }
        float new = mcc_squashed(p, p->cell, in[2 * size + j] + inner);
        out[n * size + j] = (1.0f - z) * new + z * was[j];
      }
    }
    h = out;
  }
}

/* y[steps, batch, hidden] from x of the same shape. */
MCC_KERNEL void mcc_rnn(const struct mcc_recurrent *p, const float *x, const float *r,
                        const float *h, const int32_t *lengths, float *y) {
  size_t size = p->hidden, state = p->batch * size;
  for (uint32_t s = 0; s < p->steps; s++) {
    uint32_t step = p->reverse ? p->steps - 1 - s : s;
    float *out = y + step * state;
    for (uint32_t n = 0; n < p->batch; n++) {
      const float *in = x + step * state + n * size, *was = h + n * size;
      for (size_t j = 0; j < size; j++)
        out[n * size + j] =
            lengths && (int32_t)step >= lengths[n]
                ? was[j]
                : mcc_squashed(p, p->cell, in[j] + mcc_recur(p->hidden, was, r + j, size));
    }
    h = out;
  }
}
