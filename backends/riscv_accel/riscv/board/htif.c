/* Berkeley's host-target interface, as Spike and the RTL simulations' front-end server have it. */
volatile uint64_t tohost __attribute__((section(".tohost"), aligned(64)));
volatile uint64_t fromhost __attribute__((section(".tohost"), aligned(64)));

/* A system call of the host: number and arguments in memory, its address in tohost. */
static void host_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c) {
  static volatile uint64_t call[8] __attribute__((aligned(64)));
  call[0] = number, call[1] = a, call[2] = b, call[3] = c;
  __asm__ volatile("fence" : : : "memory");
  tohost = (uint64_t)(uintptr_t)call;
  while (fromhost == 0) {
  }
  fromhost = 0;
  __asm__ volatile("fence" : : : "memory");
}

static void console_write(const char *text, uint64_t size) {
  host_call(64, 1, (uint64_t)(uintptr_t)text, size); /* write(1, text, size) */
}

void board_exit(int code) {
  __asm__ volatile("fence" : : : "memory");
  for (;;) tohost = ((uint64_t)(uint32_t)code << 1) | 1;
}
