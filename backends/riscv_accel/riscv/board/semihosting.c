/* RISC-V semihosting: three uncompressed instructions around ebreak mark a call of the debugger. */
static uint64_t host_call(uint64_t number, const void *argument) {
  register uint64_t a0 __asm__("a0") = number;
  register uint64_t a1 __asm__("a1") = (uint64_t)(uintptr_t)argument;
  __asm__ volatile(
      ".option push\n.option norvc\n.balign 16\n"
      "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
      : "+r"(a0)
      : "r"(a1)
      : "memory");
  return a0;
}

static void console_write(const char *text, uint64_t size) {
  for (uint64_t i = 0; i < size; i++) host_call(3, text + i); /* SYS_WRITEC */
}

void board_exit(int code) {
  const uint64_t reason[2] = {0x20026, (uint64_t)(uint32_t)code}; /* ADP_Stopped_ApplicationExit */
  for (;;) host_call(0x20, reason);                               /* SYS_EXIT_EXTENDED */
}
