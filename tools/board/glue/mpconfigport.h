// How MicroPython is configured for the emulated board: as ports/rp2 does it, where the board has
// the thing at all; the esp32 profile differs where a program can notice it.
#include <alloca.h>
#include <stdint.h>

#include "board.h"

#define MICROPY_CONFIG_ROM_LEVEL        (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

// Memory.
#define MICROPY_ENABLE_GC               (1)
#define MICROPY_GC_STACK_ENTRY_TYPE     uint16_t
#define MICROPY_ALLOC_PATH_MAX          (128)
#define MICROPY_QSTR_BYTES_IN_HASH      (1)
#define MICROPY_TRACKED_ALLOC           (1) // mbedTLS's memory in the GC heap
#define MICROPY_STACK_CHECK_MARGIN      (256)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
#define MICROPY_MEM_STATS               (1) // micropython.mem_peak()
#define MICROPY_MALLOC_USES_ALLOCATED_SIZE (1)

// Code.
#define MICROPY_PERSISTENT_CODE_LOAD    (1)
#define MICROPY_EMIT_THUMB              (1)
#define MICROPY_EMIT_INLINE_THUMB       (1)
#define MICROPY_OPT_COMPUTED_GOTO       (1)
#define MICROPY_MAKE_POINTER_CALLABLE(p) ((void *)((mp_uint_t)(p) | 1))
#define MICROPY_READER_VFS              (1)
#define MICROPY_LONGINT_IMPL            (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_FLOAT_IMPL              (MICROPY_FLOAT_IMPL_FLOAT)
#define MICROPY_SCHEDULER_DEPTH         (8)
#define MICROPY_SCHEDULER_STATIC_NODES  (1)

// What differs between the two profiles: error numbers, and the year that time() counts from.
#if BOARD_PROFILE_ESP32
#define MICROPY_USE_INTERNAL_ERRNO      (0) // newlib's: EINPROGRESS is 119, ETIMEDOUT 116
#define MICROPY_EPOCH_IS_1970           (0)
#define MICROPY_PY_SYS_PLATFORM         "esp32"
#else
#define MICROPY_USE_INTERNAL_ERRNO      (1)
#define MICROPY_EPOCH_IS_1970           (1)
#define MICROPY_PY_SYS_PLATFORM         "rp2"
#endif
#define MICROPY_HW_BOARD_NAME           BOARD_NAME
#define MICROPY_HW_MCU_NAME             "Cortex-M3"
#define MICROPY_BANNER_MACHINE          BOARD_NAME

// Modules.
#define MICROPY_PY_OS_INCLUDEFILE       "of_modos.c"
#define MICROPY_PY_OS_URANDOM           (1)
#define MICROPY_PY_OS_UNAME             (1)
#define MICROPY_PY_TIME                 (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS    (1)
#define MICROPY_PY_TIME_INCLUDEFILE     "of_modtime.c"
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (random32())
#define MICROPY_PY_MACHINE              (1)
#define MICROPY_PY_MACHINE_INCLUDEFILE  "of_modmachine.c"
#define MICROPY_PY_MACHINE_RESET        (1)
#define MICROPY_PY_MACHINE_BARE_METAL_FUNCS (1)
#define MICROPY_PY_MACHINE_DISABLE_IRQ_ENABLE_IRQ (1)
#define MICROPY_PY_MACHINE_WDT          (1)
#define MICROPY_PY_MACHINE_WDT_INCLUDEFILE "of_machine_wdt.c"
#define MICROPY_PY_CRYPTOLIB            (1)
#define MICROPY_PY_HASHLIB_MD5          (1)
#define MICROPY_PY_HASHLIB_SHA1         (1)
#define MICROPY_VFS                     (1)
#define MICROPY_VFS_ROM                 (1)
#define MICROPY_VFS_ROM_IOCTL           (1)
#define MICROPY_PY_WEBSOCKET            (1)

// Network.
#define MICROPY_PY_NETWORK              (1)
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "mpy-board"
#define MICROPY_PY_SOCKET               (1)
#define MICROPY_PY_LWIP_SOCK_RAW        (1)
extern const struct _mp_obj_type_t network_lan_type;
// Programs written for Wi-Fi find it too: the radio is always in range and takes any password.
#define MICROPY_PORT_NETWORK_INTERFACES \
    { MP_ROM_QSTR(MP_QSTR_LAN), MP_ROM_PTR(&network_lan_type) }, \
    { MP_ROM_QSTR(MP_QSTR_WLAN), MP_ROM_PTR(&network_lan_type) }, \
    { MP_ROM_QSTR(MP_QSTR_STAT_IDLE), MP_ROM_INT(0) }, \
    { MP_ROM_QSTR(MP_QSTR_STAT_CONNECTING), MP_ROM_INT(1) }, \
    { MP_ROM_QSTR(MP_QSTR_STAT_WRONG_PASSWORD), MP_ROM_INT(-3) }, \
    { MP_ROM_QSTR(MP_QSTR_STAT_NO_AP_FOUND), MP_ROM_INT(-2) }, \
    { MP_ROM_QSTR(MP_QSTR_STAT_CONNECT_FAIL), MP_ROM_INT(-1) }, \
    { MP_ROM_QSTR(MP_QSTR_STAT_GOT_IP), MP_ROM_INT(3) },

// On a Pico W packets are handled in an interrupt; here between two steps of Python and wherever
// MicroPython waits. Nothing arrives inside a C function, a TLS handshake's arithmetic for example.
#define MICROPY_INTERNAL_EVENT_HOOK     network_poll()
#define MICROPY_INTERNAL_WFE(timeout_ms) wait_for_interrupt()
#define MICROPY_VM_HOOK_COUNT           (64)
#define MICROPY_VM_HOOK_INIT            static unsigned vm_hook_count = MICROPY_VM_HOOK_COUNT;
#define MICROPY_VM_HOOK_POLL \
    if (--vm_hook_count == 0) { \
        vm_hook_count = MICROPY_VM_HOOK_COUNT; \
        network_poll(); \
    }
#define MICROPY_VM_HOOK_LOOP            MICROPY_VM_HOOK_POLL
#define MICROPY_VM_HOOK_RETURN          MICROPY_VM_HOOK_POLL

typedef int32_t mp_int_t;
typedef uint32_t mp_uint_t;
typedef long mp_off_t;
#define MP_SSIZE_MAX                    (0x7fffffff)
#define UINT_FMT                        "%lu"
#define INT_FMT                         "%ld"
#define MP_NEED_LOG2                    (1)
#define MP_STATE_PORT                   MP_STATE_VM
