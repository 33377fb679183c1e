// What MicroPython's core asks of a board: time, and sections that no interrupt may enter.
#pragma once

#include "board.h"
#include "shared/runtime/interrupt_char.h"

static inline uint32_t atomic_begin(void) {
    uint32_t state;
    __asm volatile ("mrs %0, primask\n cpsid i" : "=r" (state) : : "memory");
    return state;
}

static inline void atomic_end(uint32_t state) {
    __asm volatile ("msr primask, %0" : : "r" (state) : "memory");
}

#define MICROPY_BEGIN_ATOMIC_SECTION()  atomic_begin()
#define MICROPY_END_ATOMIC_SECTION(state) atomic_end(state)
