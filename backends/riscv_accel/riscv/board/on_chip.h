/* Moves a tensor out of the scratchpad, where an image lies one pixel a row (see mcc's Frame). */
struct mcc_frame {
  uint32_t first, height, width, rows_apart, cols_apart, above, left, pitch, plane_rows;
};

static void mcc_show(struct mcc_frame f, uint32_t channels, uint8_t *to) {
  uint32_t block_rows = f.rows_apart * f.cols_apart * f.plane_rows;
  for (uint32_t channel = 0; channel < channels; channel += MCC_DIM)
    for (uint32_t row = 0; row < f.height; row++)
      for (uint32_t col = 0; col < f.width; col++) {
        uint32_t plane = row % f.rows_apart * f.cols_apart + col % f.cols_apart;
        uint32_t local = f.first + channel / MCC_DIM * block_rows + plane * f.plane_rows +
                         (row / f.rows_apart + f.above) * f.pitch + col / f.cols_apart + f.left;
        uint64_t width = channels - channel < MCC_DIM ? channels - channel : MCC_DIM;
        uint64_t place = (uint64_t)(uintptr_t)to + (row * f.width + col) * channels + channel;
        ACCEL(3, place, (uint64_t)1 << 48 | width << 32 | local);
      }
}
