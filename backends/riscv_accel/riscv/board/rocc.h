/* Commands as RISC-V custom-3 instructions (RoCC): funct7 and two 64-bit operands. */
#define ACCEL(funct7, rs1, rs2)                                                       \
  __asm__ volatile(".insn r 0x7b, 3, " #funct7 ", x0, %0, %1"                          \
                   :                                                                  \
                   : "r"((uint64_t)(rs1)), "r"((uint64_t)(rs2))                        \
                   : "memory")

/* The core waits until the accelerator is idle and its stores are in memory. */
#define ACCEL_FENCE() __asm__ volatile("fence" : : : "memory")
