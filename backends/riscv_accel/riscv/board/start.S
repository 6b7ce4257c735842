/* Reset: one hart runs, with its floating point and the accelerator switched on, on a fresh stack. */
  .section .text.start, "ax"
  .globl _start
_start:
  csrr t0, mhartid
  bnez t0, park
  /* mstatus.FS and mstatus.XS: dirty. A core without them ignores the bits. */
  li t0, 0x1e000
  csrs mstatus, t0
  la t0, trap
  csrw mtvec, t0
  la sp, __stack_top
  la t0, __bss_start
  la t1, __bss_end
clear:
  bgeu t0, t1, run
  sd zero, 0(t0)
  addi t0, t0, 8
  j clear
run:
  call main
  call board_exit
park:
  wfi
  j park

  .align 4
trap:
  csrr a0, mcause
  csrr a1, mepc
  csrr a2, mtval
  la sp, __stack_top
  call board_trap
  j park

  .section .stack, "aw", @nobits
  .align 4
  .space 16384
  .globl __stack_top
__stack_top:
