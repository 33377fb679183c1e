// lwIP's options. The rp2 profile has the values that a Pico W has (ports/rp2/lwip_inc/lwipopts.h and
// the common file it includes: MEM_SIZE 8000, TCP_MSS 800, TCP_SND_BUF 6400); the esp32 profile those
// of ESP-IDF as MicroPython builds it, as far as lwIP without an operating system has them.
#pragma once

#include <stdint.h>

#define LWIP_NETIF_EXT_STATUS_CALLBACK  1
#define LWIP_NETIF_STATUS_CALLBACK      1

#define LWIP_IPV4                       1
#define LWIP_IPV6                       1
#define LWIP_ND6_NUM_DESTINATIONS       4
#define LWIP_ND6_QUEUEING               0

uint32_t random32(void);
#define LWIP_RAND()                     random32()

#if BOARD_PROFILE_ESP32
#define MEM_SIZE                        (64 * 1024) // there: malloc()
#define TCP_MSS                         (1440)
#define TCP_WND                         (4 * TCP_MSS)
#define TCP_SND_BUF                     (4 * TCP_MSS)
#define MEMP_NUM_TCP_PCB                (16)
#define MEMP_NUM_TCP_SEG                (64)
#define PBUF_POOL_SIZE                  (32)
#endif

#include "extmod/lwip-include/lwipopts_common.h"
