/* Commands through a window of registers (docs/riscv.md): two operands, then the command. */
#ifndef MCC_ACCELERATOR_BASE
#error "define MCC_ACCELERATOR_BASE, the address of the accelerator's registers"
#endif

static inline volatile uint64_t *mcc_register(uint64_t offset) {
  return (volatile uint64_t *)(uintptr_t)(MCC_ACCELERATOR_BASE + offset);
}

/* Writing the command issues it with the operands written before. */
static inline void mcc_issue(uint64_t funct7, uint64_t rs1, uint64_t rs2) {
  *mcc_register(0x00) = rs1;
  *mcc_register(0x08) = rs2;
  *mcc_register(0x10) = funct7;
}

#define ACCEL(funct7, rs1, rs2) mcc_issue(funct7, rs1, rs2)

/* Bit 0 of the status: busy. The fences order memory around the wait. */
#define ACCEL_FENCE()                            \
  do {                                           \
    __asm__ volatile("fence" : : : "memory");    \
    while (*mcc_register(0x18) & 1) {            \
    }                                            \
    __asm__ volatile("fence" : : : "memory");    \
  } while (0)
