// What the parts of the emulated board share: addresses of QEMU's mps2-an385, the two profiles, and
// each part's functions.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

// --- profiles: whose traits are imitated ---
// Numbers that belong to one part stand there (lwipopts.h, mbedtls_config_port.h, mpconfigport.h).

#if BOARD_PROFILE_RP2
#define BOARD_NAME "an emulated Pico W (QEMU mps2-an385)"
#define BOARD_STACK_BYTES (8 * 1024)
#define BOARD_WDT_MAX_MS (8388) // 0xffffff / 2 microseconds: the RP2040's counter
#elif BOARD_PROFILE_ESP32
#define BOARD_NAME "an emulated board with traits of an ESP32 (QEMU mps2-an385)"
#define BOARD_STACK_BYTES (16 * 1024)
#define BOARD_WDT_MAX_MS (24 * 3600 * 1000)
#define BOARD_TLS_HEAP_BYTES (110 * 1024) // what is usually free of an ESP32's C heap beside Wi-Fi
#else
#error PROFILE must be rp2 or esp32
#endif

// --- what lies in the PSRAM ---

#define ROMFS_START (0x21000000) // loaded by QEMU: an image of `mpremote romfs build`'s kind
#define ROMFS_BYTES (8 * 1024 * 1024)
#define RAM_DISK_START (0x21800000) // the board's "flash" file system; survives a reset
#define RAM_DISK_BYTES (1024 * 1024)
#define SETTINGS_START (0x21f00000) // loaded by QEMU: lines of name=value, then a zero byte

// --- settings (board.c) ---

// The value of the n-th line (from 0) with this name, as a zero-ended text in a buffer that the
// next call overwrites; NULL when there is none.
const char *setting(const char *name, int n);
long setting_number(const char *name, long otherwise);

// --- time (board.c) ---

void time_init(void);
uint64_t time_us(void); // since the board started
int64_t clock_us(void); // since 1970, as the real-time clock has it
void clock_set(int64_t us_since_1970);

// --- UART (board.c) ---

void uart_init(void);
void uart_poll(void);  // takes what has come
int uart_read(void);   // a byte, or -1
void uart_flush(void);
void stdout_for_repl(void); // from now on lines end with "\r\n"

// --- reset and watchdog (board.c) ---

enum { RESET_POWER_ON = 1, RESET_WATCHDOG = 3 }; // the values of the rp2 port

void reset_cause_init(void);
int reset_cause(void);
void board_reset(void) __attribute__((noreturn));
void watchdog_start(uint32_t ms);
void watchdog_feed(void);
void wait_for_interrupt(void);

// --- the host, by semihosting (host.c) ---

// Exit statuses beside the program's own; emulator.py has the same numbers.
enum { STATUS_CRASH = 70, STATUS_WATCHDOG = 71, STATUS_RESET = 72 };

enum { HOST_READ = 1 };
int host_open(const char *path, int mode); // a descriptor, or -1
int host_read(int descriptor, void *buf, size_t n); // bytes read (0: the end), or -1
int host_seek(int descriptor, size_t position);
int host_size(int descriptor);
void host_close(int descriptor);
void host_error(const char *text, size_t n); // to QEMU's standard error
uint32_t host_time(void); // seconds since 1970
void host_random(void *buf, size_t n);
void host_exit(int status) __attribute__((noreturn));

// --- network (ethernet.c) ---

void network_start(void);
void network_poll(void); // packets in, lwIP's timers; cheap, and harmless while it runs already
uint32_t random32(void);
