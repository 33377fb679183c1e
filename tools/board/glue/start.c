// From reset to main(): the vector table, memory set up, and what to say when the processor faults.

#include <stdio.h>
#include <string.h>

#include "board.h"

extern uint32_t _stack_top, _data_load, _data_start, _data_end, _bss_start, _bss_end;
extern uint32_t _heap_start;

int main(void);
void NMI_Handler(void);     // board.c: the watchdog's first expiry
void SysTick_Handler(void); // board.c
void External_Handler(void); // board.c: Ethernet and UART

void Reset_Handler(void) {
    memcpy(&_data_start, &_data_load, (char *)&_data_end - (char *)&_data_start);
    memset(&_bss_start, 0, (char *)&_bss_end - (char *)&_bss_start);
    main();
    host_exit(0);
}

// A fault ends the emulation with status 70 and a line that tells where. The most common one is a
// C stack that overflowed: then the stack pointer lies below the RAM.
__attribute__((used)) static void fault(uint32_t *frame) {
    static char text[160]; // static: there may be no stack left
    bool overflow = (uintptr_t)frame < 0x20000000 + 64;
    int n = snprintf(text, sizeof(text), "board: hard fault%s at pc=%08lx lr=%08lx sp=%08lx\n",
        overflow ? " (the C stack overflowed)" : "",
        overflow ? 0ul : (unsigned long)frame[6], overflow ? 0ul : (unsigned long)frame[5],
        (unsigned long)(uintptr_t)frame);
    host_error(text, n);
    host_exit(STATUS_CRASH);
}

__attribute__((naked)) static void Fault_Handler(void) {
    __asm volatile (
        "mov r0, sp\n"
        "ldr r1, =_heap_start\n" // a stack that is certainly there, for fault() itself
        "add r1, #4096\n"
        "mov sp, r1\n"
        "b fault\n");
}

#define EXTERNAL_INTERRUPTS (32)

__attribute__((section(".vectors"), used)) static void *const vectors[16 + EXTERNAL_INTERRUPTS] = {
    &_stack_top,
    Reset_Handler,
    NMI_Handler,
    Fault_Handler, // hard fault
    Fault_Handler, // memory management
    Fault_Handler, // bus fault
    Fault_Handler, // usage fault
    NULL, NULL, NULL, NULL,
    Fault_Handler, // SVC
    Fault_Handler, // debug monitor
    NULL,
    Fault_Handler, // PendSV
    SysTick_Handler,
    [16 ... 16 + EXTERNAL_INTERRUPTS - 1] = External_Handler,
};

// What lwIP, mbedTLS and newlib call where they can't go on.
void exit(int status) {
    static const char text[] = "board: a C library ended the program\n";
    (void)status;
    host_error(text, sizeof(text) - 1);
    host_exit(STATUS_CRASH);
}

void abort(void) {
    exit(STATUS_CRASH);
}
