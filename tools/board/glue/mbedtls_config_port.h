// mbedTLS's options: those of ports/rp2 (records of 16384 bytes in, 4096 out, TLS 1.2). Its memory is
// the GC heap, as on every bare-metal port; with the esp32 profile a C heap of its own.
#pragma once

#define MBEDTLS_ECP_NIST_OPTIM

#include <time.h>
time_t tls_time(time_t *timer);
#define MBEDTLS_PLATFORM_TIME_MACRO     tls_time
#define MBEDTLS_PLATFORM_MS_TIME_ALT    mbedtls_ms_time
#define MBEDTLS_PLATFORM_GMTIME_R_ALT   // the usual one wants malloc()

#define MICROPY_MBEDTLS_CONFIG_BARE_METAL (1)
#include "extmod/mbedtls/mbedtls_config_common.h"

#if BOARD_PROFILE_ESP32
#define MBEDTLS_MEMORY_BUFFER_ALLOC_C
#undef MBEDTLS_PLATFORM_STD_CALLOC
#undef MBEDTLS_PLATFORM_STD_FREE
#endif
