// The computer on which the board is emulated, asked by semihosting: files, time, random bytes, the
// end. A breakpoint with a number in r0 and a pointer in r1 is what QEMU takes for a call.

#include <string.h>

#include "board.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0a,
    SYS_FLEN = 0x0c,
    SYS_TIME = 0x11,
    SYS_EXIT_EXTENDED = 0x20,
};

static int call(int number, const void *argument) {
    register int r0 __asm ("r0") = number;
    register const void *r1 __asm ("r1") = argument;
    __asm volatile ("bkpt 0xab" : "+r" (r0) : "r" (r1) : "memory");
    return r0;
}

int host_open(const char *path, int mode) {
    uint32_t block[] = { (uint32_t)path, mode, strlen(path) };
    return call(SYS_OPEN, block);
}

int host_read(int descriptor, void *buf, size_t n) {
    uint32_t block[] = { descriptor, (uint32_t)buf, n };
    int left = call(SYS_READ, block); // what was asked for and not read
    return left < 0 || (size_t)left > n ? -1 : (int)n - left;
}

int host_seek(int descriptor, size_t position) {
    uint32_t block[] = { descriptor, position };
    return call(SYS_SEEK, block);
}

int host_size(int descriptor) {
    uint32_t block[] = { descriptor };
    return call(SYS_FLEN, block);
}

void host_close(int descriptor) {
    uint32_t block[] = { descriptor };
    call(SYS_CLOSE, block);
}

void host_error(const char *text, size_t n) {
    static int descriptor = -1;
    if (descriptor < 0) {
        descriptor = host_open(":tt", 8); // mode "a" of the console: standard error
    }
    uint32_t block[] = { descriptor, (uint32_t)text, n };
    call(SYS_WRITE, block);
}

uint32_t host_time(void) {
    return call(SYS_TIME, NULL);
}

void host_random(void *buf, size_t n) {
    static int descriptor = -1;
    if (descriptor < 0) {
        descriptor = host_open("/dev/urandom", HOST_READ);
    }
    if (host_read(descriptor, buf, n) != (int)n) {
        static const char text[] = "board: the host has no /dev/urandom\n";
        host_error(text, sizeof(text) - 1);
        host_exit(STATUS_CRASH);
    }
}

void host_exit(int status) {
    uint32_t block[] = { 0x20026, status }; // ADP_Stopped_ApplicationExit
    call(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}
