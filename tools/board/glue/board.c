// The parts of the board itself: settings, time, UART, watchdog, reset.

#include <stdlib.h>
#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "shared/runtime/interrupt_char.h"

// --- settings ---

#define SETTING_MAX (512)

const char *setting(const char *name, int n) {
    static char value[SETTING_MAX];
    size_t name_len = strlen(name);
    const char *line = (const char *)SETTINGS_START;
    while (*line != 0) {
        size_t len = strcspn(line, "\n");
        if (len > name_len && memcmp(line, name, name_len) == 0 && line[name_len] == '=' && n-- == 0) {
            len = MIN(len - name_len - 1, SETTING_MAX - 1);
            memcpy(value, line + name_len + 1, len);
            value[len] = 0;
            return value;
        }
        line += len;
        if (*line == '\n') {
            ++line;
        }
    }
    return NULL;
}

long setting_number(const char *name, long otherwise) {
    const char *text = setting(name, 0);
    return text ? strtol(text, NULL, 10) : otherwise;
}

// --- time ---

// FPGAIO's counter runs without an interrupt: the system clock of 25 MHz, divided by PRESCALE + 1.
#define FPGAIO_COUNTER  REGISTER(0x40028018)
#define FPGAIO_PRESCALE REGISTER(0x4002801c)
#define SYSTICK_CONTROL REGISTER(0xe000e010)
#define SYSTICK_RELOAD  REGISTER(0xe000e014)
#define SYSTICK_VALUE   REGISTER(0xe000e018)
#define CLOCK_HZ        (25000000)

static uint64_t microseconds;
static int64_t clock_offset_us;

void time_init(void) {
    FPGAIO_PRESCALE = CLOCK_HZ / 1000000 - 1;
    FPGAIO_COUNTER = 0;
    microseconds = 0;
    // One interrupt a millisecond: it ends waits, and sees every overflow of the counter.
    SYSTICK_RELOAD = CLOCK_HZ / 1000 - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7; // the processor's clock, interrupt, enabled
    const char *epoch = setting("epoch", 0);
    clock_set(epoch ? strtoll(epoch, NULL, 10) * 1000000 : (int64_t)host_time() * 1000000);
}

uint64_t time_us(void) {
    uint32_t state = atomic_begin();
    microseconds += (uint32_t)(FPGAIO_COUNTER - (uint32_t)microseconds);
    uint64_t now = microseconds;
    atomic_end(state);
    return now;
}

void SysTick_Handler(void) {
    time_us();
}

int64_t clock_us(void) {
    return clock_offset_us + (int64_t)time_us();
}

void clock_set(int64_t us_since_1970) {
    clock_offset_us = us_since_1970 - (int64_t)time_us();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return time_us() / 1000;
}

mp_uint_t mp_hal_ticks_us(void) {
    return time_us();
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return time_us();
}

uint64_t mp_hal_time_ns(void) {
    return clock_us() * 1000;
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = time_us() + us;
    while (time_us() < end) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    uint64_t end = time_us() + (uint64_t)ms * 1000;
    // At least one look at the network, so that `while True: sleep_ms(0)` receives, too.
    do {
        mp_event_wait_ms(1);
    } while (time_us() < end);
}

// --- interrupts: they only end a wait, the work is done afterwards by whoever waited ---

#define NVIC_ENABLE  REGISTER(0xe000e100)
#define NVIC_DISABLE REGISTER(0xe000e180)
#define IRQ_UART_RX  (1u << 0)
#define IRQ_ETHERNET (1u << 13)

void External_Handler(void) {
    // Level-triggered sources that are served later: off until the next wait.
    NVIC_DISABLE = IRQ_UART_RX | IRQ_ETHERNET;
}

// Sleeps until a packet, a byte or the next millisecond comes.
void wait_for_interrupt(void) {
    uint32_t state = atomic_begin();
    NVIC_ENABLE = IRQ_UART_RX | IRQ_ETHERNET;
    __asm volatile ("dsb\n wfi" ::: "memory"); // wakes with interrupts masked, too
    atomic_end(state);
}

// --- UART 0: the program's stdin and stdout ---

#define UART_DATA    REGISTER(0x40004000)
#define UART_STATE   REGISTER(0x40004004)
#define UART_CONTROL REGISTER(0x40004008)
#define UART_IRQ     REGISTER(0x4000400c)
#define UART_DIVIDER REGISTER(0x40004010)
#define UART_TX_FULL (1u << 0)
#define UART_RX_FULL (1u << 1)

void uart_init(void) {
    UART_DIVIDER = 16;
    UART_CONTROL = 1 | 2 | 8; // transmit, receive, interrupt on receive
}

// The UART holds one byte. What comes while nobody reads waits here; when this is full it waits in
// the UART and in QEMU, so nothing is lost.
static uint8_t waiting[256];
static uint8_t waiting_put, waiting_get; // they wrap by themselves

void uart_poll(void) {
    UART_IRQ = 2;
    while ((UART_STATE & UART_RX_FULL) && (uint8_t)(waiting_put + 1) != waiting_get) {
        int byte = UART_DATA & 0xff;
        if (byte == mp_interrupt_char) {
            mp_sched_keyboard_interrupt();
        } else {
            waiting[waiting_put++] = byte;
        }
    }
}

int uart_read(void) {
    uart_poll();
    return waiting_get == waiting_put ? -1 : waiting[waiting_get++];
}

static void uart_write(const char *text, size_t n) {
    while (n--) {
        while (UART_STATE & UART_TX_FULL) {
        }
        UART_DATA = *text++;
    }
}

void uart_flush(void) {
    while (UART_STATE & UART_TX_FULL) {
    }
}

uintptr_t mp_hal_stdio_poll(uintptr_t flags) {
    uintptr_t found = flags & MP_STREAM_POLL_WR;
    uart_poll();
    if ((flags & MP_STREAM_POLL_RD) && waiting_get != waiting_put) {
        found |= MP_STREAM_POLL_RD;
    }
    return found;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int byte = uart_read();
        if (byte >= 0) {
            return byte;
        }
        mp_event_wait_ms(1);
    }
}

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t n) {
    uart_write(text, n);
    return n;
}

void mp_hal_stdout_tx_str(const char *text) {
    uart_write(text, strlen(text));
}

// A program's output goes into a pipe or a terminal that wants "\n"; only the REPL's peer (mpremote,
// a terminal program) expects a serial line's "\r\n".
static bool serial_line_ends;

void stdout_for_repl(void) {
    serial_line_ends = true;
}

void mp_hal_stdout_tx_strn_cooked(const char *text, size_t n) {
    if (!serial_line_ends) {
        uart_write(text, n);
        return;
    }
    while (n--) {
        if (*text == '\n') {
            uart_write("\r", 1);
        }
        uart_write(text++, 1);
    }
}

// --- watchdog and reset ---

// The CMSDK watchdog counts the system clock down twice: the first zero is an NMI, the second is
// QEMU's watchdog action. What a board's dog does at once is done here in the NMI and 1 ms later.
#define WATCHDOG_LOAD      REGISTER(0x40008000)
#define WATCHDOG_CONTROL   REGISTER(0x40008008)
#define WATCHDOG_CLEAR     REGISTER(0x4000800c)
#define WATCHDOG_LOCK      REGISTER(0x40008c00)
#define WATCHDOG_UNLOCK    (0x1acce551)
#define RESET_REQUEST      REGISTER(0xe000ed0c)

// Lies in the PSRAM, which a reset leaves alone.
#define KEPT_CAUSE         REGISTER(SETTINGS_START - 8)
#define KEPT_CAUSE_MARK    REGISTER(SETTINGS_START - 4)
#define MARK               (0x90b0a4d5)

static uint32_t watchdog_load;
static int cause;

void reset_cause_init(void) {
    cause = KEPT_CAUSE_MARK == MARK ? (int)KEPT_CAUSE : RESET_POWER_ON;
    KEPT_CAUSE_MARK = 0;
}

int reset_cause(void) {
    return cause;
}

void watchdog_start(uint32_t ms) {
    watchdog_load = ms * (CLOCK_HZ / 1000);
    WATCHDOG_LOCK = WATCHDOG_UNLOCK;
    WATCHDOG_CONTROL = 0;
    WATCHDOG_LOAD = watchdog_load;
    WATCHDOG_CONTROL = 3; // interrupt and reset
}

void watchdog_feed(void) {
    WATCHDOG_LOAD = watchdog_load;
}

// Unless the board is to start again, as a real one does, a reset is the run's end: its status tells
// why.
static void end_instead_of_reset(int status) {
    if (!setting_number("restart", 0)) {
        uart_flush();
        host_exit(status);
    }
}

void NMI_Handler(void) {
    static const char text[] = "board: the watchdog was not fed in time and resets the board\n";
    host_error(text, sizeof(text) - 1);
    end_instead_of_reset(STATUS_WATCHDOG);
    KEPT_CAUSE = RESET_WATCHDOG;
    KEPT_CAUSE_MARK = MARK;
    // Another 1 ms to the reset. Fewer ticks would lose the two lines above: QEMU's reset comes
    // before they are done.
    WATCHDOG_LOAD = CLOCK_HZ / 1000;
    for (;;) {
    }
}

void board_reset(void) {
    end_instead_of_reset(STATUS_RESET);
    KEPT_CAUSE = RESET_POWER_ON;
    KEPT_CAUSE_MARK = MARK;
    RESET_REQUEST = 0x05fa0004;
    for (;;) {
    }
}
