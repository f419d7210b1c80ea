/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep guest's first instructions, its exception vectors, and the registers it watches.
 * x0 is the device tree's address on the first CPU, the CPU's number on the others.
 */
    .arch armv8.2-a+sve

    .section .text.start, "ax"
    .global _start
_start:
    b       first
    .balign 8
first:
    mov     x19, x0
    ldr     x1, =bss_start
    ldr     x2, =bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  mov     x20, #0
    bl      prepare
    mov     x0, x19
    bl      sweep_first
halt:
    wfi
    b       halt

    .global secondary
secondary:
    mov     x20, x0
    bl      prepare
    mov     x0, x20
    bl      sweep_cpu
    b       halt

/* Stack of 16 KiB for CPU x20, vectors, caches and an identity map, FP and SVE usable. */
prepare:
    ldr     x1, =stacks
    add     x2, x20, #1
    add     x1, x1, x2, lsl #14
    mov     sp, x1
    ldr     x1, =vectors
    msr     vbar_el1, x1
    mov     x1, #(3 << 20)              /* CPACR_EL1.FPEN */
    orr     x1, x1, #(3 << 16)          /* CPACR_EL1.ZEN */
    msr     cpacr_el1, x1
    isb
    cbnz    x20, 3f
    ldr     x1, =table                  /* 1 GiB blocks: devices, then five of memory */
    mov     x2, #0x401                  /* block, AF, attribute 0 */
    str     x2, [x1]
    mov     x3, #1
4:  lsl     x2, x3, #30
    mov     x4, #0x705                  /* block, attribute 1, inner shareable, AF */
    orr     x2, x2, x4
    str     x2, [x1, x3, lsl #3]
    add     x3, x3, #1
    cmp     x3, #6
    b.lo    4b
    dsb     sy
3:  mov     x1, #0xff00                 /* MAIR: 0 device nGnRnE, 1 write-back */
    msr     mair_el1, x1
    ldr     x1, =0x200803519            /* TCR: T0SZ 25, 4 KiB, inner shareable, write-back, */
    msr     tcr_el1, x1                 /* no TTBR1, 40 bits of address */
    ldr     x1, =table
    msr     ttbr0_el1, x1
    tlbi    vmalle1
    dsb     sy
    isb
    mrs     x1, sctlr_el1
    mov     x2, #0x1005                 /* I, C, M */
    orr     x1, x1, x2
    msr     sctlr_el1, x1
    isb
    ret

/* hypercall(function, a, b, c): PSCI by HVC. */
    .text
    .global hypercall
hypercall:
    hvc     #0
    ret

/* Load pair with write-back from a device: no hypervisor can tell what it was. */
    .global crash
crash:
    mov     x0, #0x09000000
    ldp     x1, x2, [x0], #16
    ret

/* simd_set(seed): every vector register gets a value of its own. simd_get(buffer): all 32 as they
 * are, 16 bytes each. */
    .global simd_set
simd_set:
    .irp    n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x1, x0, #\n
    dup     v\n\().2d, x1
    .endr
    ret
    .global simd_get
simd_get:
    .irp    n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     q\n, [x0], #16
    .endr
    ret

/* The same with the whole SVE registers. sve_bytes(): length of one. */
    .global sve_bytes
sve_bytes:
    rdvl    x0, #1
    ret
    .global sve_enable
sve_enable:
    mov     x1, #15
    msr     s3_0_c1_c2_0, x1            /* ZCR_EL1: the longest there is */
    isb
    ret
    .global sve_set
sve_set:
    .irp    n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x1, x0, #\n
    mov     z\n\().d, x1
    .endr
    ret
    .global sve_get
sve_get:
    rdvl    x2, #1
    .irp    n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     z\n, [x0]
    add     x0, x0, x2
    .endr
    ret

/* Interrupts are taken; anything else is reported and the CPU stops. The C code keeps off the
 * vector registers. */
    .macro entry handler
    .balign 128
    b       \handler
    .endm
    .balign 2048
vectors:
    .rept 4
    entry   trap
    .endr
    entry   trap                        /* current EL with SP_ELx: synchronous */
    entry   interrupt
    entry   trap
    entry   trap
    .rept 8
    entry   trap
    .endr

interrupt:
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #160]
    bl      sweep_interrupt
    ldp     x0, x1, [sp, #160]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    add     sp, sp, #192
    eret

trap:
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    bl      sweep_trap
    b       halt

    .bss
    .balign 4096
table:
    .space  4096
