// What mbedTLS asks of a board: the time (to judge certificates), random bytes, and with the esp32
// profile a heap.

#include "board.h"
#include "mbedtls_config_port.h"
#include "mbedtls/platform_time.h"

int mbedtls_hardware_poll(void *data, unsigned char *output, size_t n, size_t *written) {
    (void)data;
    host_random(output, n);
    *written = n;
    return 0;
}

time_t tls_time(time_t *timer) {
    time_t now = clock_us() / 1000000;
    if (timer) {
        *timer = now;
    }
    return now;
}

struct tm *mbedtls_platform_gmtime_r(const mbedtls_time_t *seconds, struct tm *into) {
    return gmtime_r(seconds, into);
}

mbedtls_ms_time_t mbedtls_ms_time(void) {
    return clock_us() / 1000;
}

#if BOARD_PROFILE_ESP32
#include "mbedtls/memory_buffer_alloc.h"

void tls_heap_init(void) {
    static unsigned char heap[BOARD_TLS_HEAP_BYTES];
    mbedtls_memory_buffer_alloc_init(heap, sizeof(heap));
}
#else
void tls_heap_init(void) {
}
#endif
