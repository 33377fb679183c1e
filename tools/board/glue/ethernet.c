// The LAN9118 Ethernet controller as an interface of lwIP. It is polled: see network_poll().
//
// Names: programs and lwIP ask 10.0.2.2 and 10.0.2.3 at port 53, but a test's DNS servers listen on
// free ports of the host. So datagrams to those two addresses go to the port that the setting dns0 or
// dns1 names, and answers come back as from port 53. Nothing else is rewritten.

#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "py/mphal.h"
#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/udp.h"
#include "lwip/timeouts.h"
#if LWIP_MDNS_RESPONDER
#include "lwip/apps/mdns.h"
#endif
#include "netif/ethernet.h"

// Registers (LAN9118 data sheet, chapter 5). QEMU's model is at 0x40200000 and raises interrupt 13.
#define LAN(offset)      REGISTER(0x40200000 + (offset))
#define RX_DATA          LAN(0x00)
#define TX_DATA          LAN(0x20)
#define RX_STATUS        LAN(0x40)
#define TX_STATUS        LAN(0x48)
#define IRQ_CONFIG       LAN(0x54)
#define INT_STATUS       LAN(0x58)
#define INT_ENABLE       LAN(0x5c)
#define FIFO_INT         LAN(0x68)
#define TX_CONFIG        LAN(0x70)
#define RX_CONTROL       LAN(0x78)
#define RX_FIFO_INFO     LAN(0x7c)
#define TX_FIFO_INFO     LAN(0x80)
#define MAC_COMMAND      LAN(0xa4)
#define MAC_DATA         LAN(0xa8)

#define IRQ_ON           (1 << 8 | 1 << 4 | 1 << 0) // enabled, active high, push-pull
#define RX_HAS_STATUS    (1 << 3)
#define TX_ON            (1 << 1)
#define TX_FIRST_LAST    (1 << 13 | 1 << 12)
#define RX_ERROR         (1 << 15)
#define RX_SKIP          (1u << 31)

enum { MAC_CONTROL = 1, MAC_ADDRESS_HIGH = 2, MAC_ADDRESS_LOW = 3, MII_ACCESS = 6, MII_DATA = 7 };
#define MAC_RX_TX_ON     (1 << 3 | 1 << 2 | 1 << 19 /* all multicast: IPv6, mDNS */)
#define PHY_STATUS       (1)
#define PHY_LINK_UP      (1 << 2)

#define FRAME_MAX        (1518)
#define CRC_BYTES        (4)

struct netif board_netif;
static bool polling;

static void mac_write(int number, uint32_t value) {
    MAC_DATA = value;
    MAC_COMMAND = 1u << 31 | number;
}

static uint32_t mac_read(int number) {
    MAC_COMMAND = 1u << 31 | 1 << 30 | number;
    return MAC_DATA;
}

static bool link_is_up(void) {
    mac_write(MII_ACCESS, 1 << 11 | PHY_STATUS << 6);
    return mac_read(MII_DATA) & PHY_LINK_UP;
}

uint32_t random32(void) {
    uint32_t value;
    host_random(&value, sizeof(value));
    return value;
}

uint32_t sys_now(void) {
    return mp_hal_ticks_ms();
}

// --- DNS servers on any port of the host ---

#define NAME_SERVERS (2)
#define DNS_PORT     (53)

static uint16_t dns_ports[NAME_SERVERS];
static const uint8_t dns_addresses[NAME_SERVERS][4] = { { 10, 0, 2, 2 }, { 10, 0, 2, 3 } };
static const uint8_t host_address[4] = { 10, 0, 2, 2 };

static uint16_t get16(const uint8_t *at) {
    return at[0] << 8 | at[1];
}

static void put16(uint8_t *at, uint16_t value) {
    at[0] = value >> 8;
    at[1] = value;
}

// Changes one address and one port of a frame that carries UDP over IPv4.
static void readdress(uint8_t *ip, size_t header, size_t address_at, const uint8_t *address,
    size_t port_at, uint16_t port) {
    memcpy(ip + address_at, address, 4);
    put16(ip + header + port_at, port);
    put16(ip + header + 6, 0); // no UDP checksum: allowed over IPv4
    put16(ip + 10, 0);
    uint32_t sum = 0;
    for (size_t i = 0; i < header; i += 2) {
        sum += get16(ip + i);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    put16(ip + 10, ~sum);
}

// What each server was last asked from: the answer's way back, when both are on the host's address.
static void redirect_dns(uint8_t *frame, size_t n, bool outgoing) {
    uint8_t *ip = frame + 14;
    if (n < 14 + 28 || get16(frame + 12) != 0x0800 || ip[9] != IP_PROTO_UDP) {
        return;
    }
    size_t header = (ip[0] & 15) * 4;
    if (14 + header + 8 > n) {
        return;
    }
    for (int i = 0; i < NAME_SERVERS; ++i) {
        if (!dns_ports[i]) {
            continue;
        }
        if (outgoing) {
            if (memcmp(ip + 16, dns_addresses[i], 4) == 0 && get16(ip + header + 2) == DNS_PORT) {
                readdress(ip, header, 16, host_address, 2, dns_ports[i]);
                return;
            }
        } else if (memcmp(ip + 12, host_address, 4) == 0 && get16(ip + header) == dns_ports[i]) {
            readdress(ip, header, 12, dns_addresses[i], 0, DNS_PORT);
            return;
        }
    }
}

// --- frames out and in ---

static uint32_t frame[(FRAME_MAX + 3) / 4 + 1];

static err_t send_frame(struct netif *netif, struct pbuf *p) {
    size_t n = p->tot_len;
    if (n > FRAME_MAX) {
        return ERR_BUF;
    }
    static uint32_t out[(FRAME_MAX + 3) / 4 + 1]; // frame may be in use: lwIP answers while it reads
    pbuf_copy_partial(p, out, n, 0);
    redirect_dns((uint8_t *)out, n, true);
    TX_DATA = TX_FIRST_LAST | n;
    TX_DATA = n;
    for (size_t i = 0; i < (n + 3) / 4; ++i) {
        TX_DATA = out[i];
    }
    (void)TX_STATUS; // take the result out of its FIFO, which would fill up
    return ERR_OK;
}

static void receive_frame(struct netif *netif) {
    uint32_t status = RX_STATUS;
    size_t n = status >> 16 & 0x3fff;
    if ((status & RX_ERROR) || n < CRC_BYTES || n > FRAME_MAX + CRC_BYTES) {
        RX_CONTROL = RX_SKIP;
        while (RX_CONTROL & RX_SKIP) {
        }
        return;
    }
    for (size_t i = 0; i < (n + 3) / 4; ++i) {
        uint32_t word = RX_DATA;
        if (i < sizeof(frame) / sizeof(frame[0])) {
            frame[i] = word;
        }
    }
    n -= CRC_BYTES;
    redirect_dns((uint8_t *)frame, n, false);
    struct pbuf *p = pbuf_alloc(PBUF_RAW, n, PBUF_POOL);
    if (p == NULL) {
        return; // as on the air: the peer sends it again
    }
    pbuf_take(p, frame, n);
    if (netif->input(p, netif) != ERR_OK) {
        pbuf_free(p);
    }
}

void network_poll(void) {
    if (polling) {
        return; // called from a callback of lwIP
    }
    static uint32_t next_timers, next_link;
    polling = true;
    uart_poll();
    while (RX_FIFO_INFO >> 16 & 0xff) {
        receive_frame(&board_netif);
    }
    INT_STATUS = RX_HAS_STATUS;
    uint32_t now = mp_hal_ticks_ms();
    if ((int32_t)(now - next_timers) >= 0) {
        next_timers = now + 10;
        sys_check_timeouts();
        if ((int32_t)(now - next_link) >= 0) {
            next_link = now + 100;
            bool up = link_is_up();
            if (up != (bool)netif_is_link_up(&board_netif)) {
                (up ? netif_set_link_up : netif_set_link_down)(&board_netif);
            }
        }
    }
    polling = false;
}

static err_t init_interface(struct netif *netif) {
    static const uint8_t mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    netif->name[0] = 'e';
    netif->name[1] = '0';
    netif->mtu = 1500;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP
        | NETIF_FLAG_MLD6;
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->linkoutput = send_frame;
    netif->hwaddr_len = 6;
    memcpy(netif->hwaddr, mac, 6);

    mac_write(MAC_ADDRESS_LOW, mac[0] | mac[1] << 8 | mac[2] << 16 | (uint32_t)mac[3] << 24);
    mac_write(MAC_ADDRESS_HIGH, mac[4] | mac[5] << 8);
    mac_write(MAC_CONTROL, MAC_RX_TX_ON);
    TX_CONFIG = TX_ON;
    FIFO_INT = 0; // an interrupt with the first frame
    INT_ENABLE = RX_HAS_STATUS;
    IRQ_CONFIG = IRQ_ON;
    return ERR_OK;
}

void network_start(void) {
    lwip_init();
    #if LWIP_MDNS_RESPONDER
    mdns_resp_init();
    #endif
    for (int i = 0; i < NAME_SERVERS; ++i) {
        dns_ports[i] = setting_number(i == 0 ? "dns0" : "dns1", 0);
    }
    // The address that QEMU's DHCP server would give, so that a program need not wait for it. With
    // net=off a program does itself what it does on a board: activate, connect, wait.
    ip4_addr_t address, mask, gateway;
    bool on = setting_number("net", 1);
    IP4_ADDR(&address, 10, 0, 2, on ? 15 : 0);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 10, 0, 2, 2);
    if (on) {
        netif_add(&board_netif, &address, &mask, &gateway, NULL, init_interface, ethernet_input);
    } else {
        netif_add(&board_netif, IP4_ADDR_ANY4, IP4_ADDR_ANY4, IP4_ADDR_ANY4, NULL, init_interface, ethernet_input);
    }
    netif_set_default(&board_netif);
    netif_create_ip6_linklocal_address(&board_netif, 1);
    netif_set_hostname(&board_netif, "board");
    netif_set_link_up(&board_netif);
    if (on) {
        netif_set_up(&board_netif);
        for (int i = 0; i < NAME_SERVERS; ++i) {
            if (i == 0 || dns_ports[i]) {
                ip_addr_t server;
                // Without servers of a test's: QEMU's own, which asks the host's.
                const uint8_t *at = dns_addresses[dns_ports[0] ? i : 1];
                IP_ADDR4(&server, at[0], at[1], at[2], at[3]);
                dns_setserver(i, &server);
            }
        }
    }
}
