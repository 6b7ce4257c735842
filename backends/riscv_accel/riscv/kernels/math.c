/* Functions of one float, computed in double and rounded once: the double's error is a few 1e-16. */

static inline uint64_t mcc_bits64(double x) {
  union { double f; uint64_t u; } pun = {x};
  return pun.u;
}

static inline double mcc_double(uint64_t bits) {
  union { uint64_t u; double f; } pun = {bits};
  return pun.f;
}

/* e^x = 2^k e^r with |r| <= ln(2) / 2, the power series to r^13. */
MCC_KERNEL double mcc_exp64(double x) {
  if (x != x) return x;
  if (x > 709.7) return mcc_double(0x7ff0000000000000u);
  if (x < -745.0) return 0.0;
  double k = x * 1.4426950408889634;
  int32_t n = (int32_t)(k + (k < 0 ? -0.5 : 0.5));
  /* ln 2 in two parts, so that n times the first is exact. */
  double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  static const double coefficients[] = {
      1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0,
      1.0 / 40320.0,      1.0 / 5040.0,      1.0 / 720.0,      1.0 / 120.0,     1.0 / 24.0,
      1.0 / 6.0,          0.5,               1.0,              1.0};
  double y = coefficients[0];
  for (int i = 1; i < 14; i++) y = y * r + coefficients[i];
  /* Twice half the power, which reaches the subnormal results. */
  int32_t half = n / 2, rest = n - half;
  y *= mcc_double((uint64_t)(1023 + half) << 52);
  return y * mcc_double((uint64_t)(1023 + rest) << 52);
}

/* ln x = k ln 2 + 2 atanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2)]. */
MCC_KERNEL double mcc_log64(double x) {
  if (x != x || x < 0.0) return mcc_double(0x7ff8000000000000u);
  if (x == 0.0) return mcc_double(0xfff0000000000000u);
  uint64_t bits = mcc_bits64(x);
  if ((bits >> 52) == 0x7ff) return x;
  int32_t k = 0;
  if ((bits >> 52) == 0) bits = mcc_bits64(x * 18014398509481984.0), k = -54;
  k += (int32_t)(bits >> 52) - 1023;
  double m = mcc_double((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  if (m > 1.4142135623730951) m *= 0.5, k++;
  double s = (m - 1.0) / (m + 1.0), square = s * s, sum = 0.0;
  for (int i = 21; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
  return k * 0.69314718055994531 + 2.0 * s * sum;
}

/* The correctly rounded square root, digit by digit in integers: one with 26 bits, rounded to 24. */
MCC_KERNEL float mcc_sqrt(float x) {
  uint32_t bits = mcc_bits(x);
  if (x != x || bits == 0x7f800000u || (bits << 1) == 0) return x;
  if (bits >> 31) return mcc_float(0x7fc00000u);
  int32_t exponent = (int32_t)(bits >> 23);
  uint64_t mantissa = bits & 0x7fffffu;
  if (exponent) mantissa |= 0x800000u;
  else
    for (exponent = 1; !(mantissa & 0x800000u); exponent--) mantissa <<= 1;
  exponent -= 127;
  if (exponent & 1) mantissa <<= 1, exponent--;
  uint64_t rest = mantissa << 27, root = 0;
  for (uint64_t bit = (uint64_t)1 << 50; bit; bit >>= 2) {
    if (rest >= root + bit) rest -= root + bit, root = (root >> 1) + bit;
    else root >>= 1;
  }
  /* root has 26 bits, two too many; what is left over breaks the tie upwards. */
  uint32_t cut = (uint32_t)root & 3, kept = (uint32_t)(root >> 2);
  if (cut > 2 || (cut == 2 && (rest || (kept & 1)))) kept++;
  return mcc_float(((uint32_t)(exponent / 2 + 126) << 23) + kept);
}

MCC_KERNEL double mcc_ratio(const double *above, const double *below, int count, double x) {
  double top = above[0], bottom = below[0];
  for (int i = 1; i < count; i++) top = top * x + above[i], bottom = bottom * x + below[i];
  return top / bottom;
}

/* W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969). */
MCC_KERNEL double mcc_erf64(double x) {
  static const double small[2][5] = {
      {1.85777706184603153e-1, 3.16112374387056560e00, 1.13864154151050156e02,
       3.77485237685302021e02, 3.20937758913846947e03},
      {1.0, 2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03,
       2.84423683343917062e03}};
  static const double middle[2][9] = {
      {2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e00,
       6.61191906371416295e01, 2.98635138197400131e02, 8.81952221241769090e02,
       1.71204761263407058e03, 2.05107837782607147e03, 1.23033935479799725e03},
      {1.0, 1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02,
       1.62138957456669019e03, 3.29079923573345963e03, 4.36261909014324716e03,
       3.43936767414372164e03, 1.23033935480374942e03}};
  double size = x < 0 ? -x : x;
  if (x != x || size <= 0.46875) return x * mcc_ratio(small[0], small[1], 5, x * x);
  if (size > 4.0) return x < 0 ? -1.0 : 1.0; /* to the last bit of a float */
  double head = (double)(int32_t)(size * 16.0) / 16.0;
  double gauss = mcc_exp64(-head * head) * mcc_exp64(-(size - head) * (size + head));
  double y = 1.0 - gauss * mcc_ratio(middle[0], middle[1], 9, size);
  return x < 0 ? -y : y;
}

MCC_KERNEL float mcc_exp(float x) { return (float)mcc_exp64((double)x); }

MCC_KERNEL float mcc_log(float x) { return (float)mcc_log64((double)x); }

MCC_KERNEL float mcc_erf(float x) { return (float)mcc_erf64((double)x); }

MCC_KERNEL float mcc_sigmoid(float x) {
  double size = x < 0 ? (double)x : -(double)x, power = mcc_exp64(size);
  return (float)((x >= 0 ? 1.0 : power) / (1.0 + power));
}

/* Near 0, where 1 - e^-2x cancels, a power series. */
MCC_KERNEL float mcc_tanh(float x) {
  double size = x < 0 ? -(double)x : (double)x, y;
  if (size < 0.05) {
    double square = size * size;
    y = size * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))));
  } else {
    double power = mcc_exp64(-2.0 * size);
    y = (1.0 - power) / (1.0 + power);
  }
  return (float)(x < 0 ? -y : y);
}

/* sin(r + quarter * pi / 2) with |r| <= pi / 4, the power series to r^15. */
MCC_KERNEL double mcc_sin_from(double r, uint32_t quarter) {
  double square = r * r, sine = 0.0, cosine = 0.0;
  for (int i = 14; i >= 2; i -= 2) {
    sine = (1.0 - sine) * square / (double)(i * (i + 1));
    cosine = (1.0 - cosine) * square / (double)(i * (i - 1));
  }
  double y = quarter & 1 ? 1.0 - cosine : r * (1.0 - sine);
  return quarter & 2 ? -y : y;
}

/* |x| less the multiple of 2 pi in it, an exact remainder of the double nearest to 2 pi times powers
   of two, with what 2 pi has beyond that double subtracted as often; then the next quarter turn.
   Beyond 1e20 that is too little of 2 pi, and the result any angle. */
MCC_KERNEL double mcc_quarters(double size, uint32_t *quarter) {
  const double turn = 6.28318530717958623200, rest_of_turn = 2.44929359829470635445e-16;
  double least = 0.0;
  while (size >= turn) {
    double step = turn, tail = rest_of_turn;
    while (step <= size * 0.5) step *= 2.0, tail *= 2.0;
    size -= step, least += tail;
  }
  while (least >= turn) {
    double step = turn;
    while (step <= least * 0.5) step *= 2.0;
    least -= step;
  }
  double r = size - least;
  int32_t n = (int32_t)(r * 0.63661977236758134308 + (r < 0 ? -0.5 : 0.5));
  *quarter = (uint32_t)n;
  return (size - n * 1.57079632679489655800) - least - n * 6.12323399573676588613e-17;
}

MCC_KERNEL float mcc_sin(float x) {
  if (x == 0.0f || x - x != 0.0f) return x - x == 0.0f ? x : mcc_float(0x7fc00000u);
  uint32_t quarter;
  double r = mcc_quarters(x < 0 ? -(double)x : (double)x, &quarter), y = mcc_sin_from(r, quarter);
  return (float)(x < 0 ? -y : y);
}

MCC_KERNEL float mcc_cos(float x) {
  if (x - x != 0.0f) return mcc_float(0x7fc00000u);
  uint32_t quarter;
  double r = mcc_quarters(x < 0 ? -(double)x : (double)x, &quarter);
  return (float)mcc_sin_from(r, quarter + 1);
}

/* Beyond 1 by the angle of 1 / x, beyond tan(pi / 8) by that of (x - 1) / (x + 1); then a series. */
MCC_KERNEL float mcc_atan(float x) {
  if (x != x) return x;
  double size = x < 0 ? -(double)x : (double)x, base = 0.0, sign = 1.0, sum = 0.0;
  if (size > 1.0) base = 1.57079632679489661923, sign = -1.0, size = 1.0 / size;
  if (size > 0.41421356237309503) base += sign * 0.78539816339744830962, size = (size - 1.0) / (size + 1.0);
  double square = size * size;
  for (int i = 27; i >= 1; i -= 2) sum = 1.0 / i - sum * square;
  double y = base + sign * size * sum;
  return (float)(x < 0 ? -y : y);
}
