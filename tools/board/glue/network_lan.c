// network.LAN, and network.WLAN for programs that join Wi-Fi: the same interface under both names. The
// air is always in range and takes any name and password; what fails is the line, from outside.

#include <string.h>

#include "board.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "lwip/dhcp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/prot/dhcp.h"
#include "extmod/modnetwork.h"

extern struct netif board_netif;

enum { STATUS_IDLE = 0, STATUS_CONNECTING = 1, STATUS_GOT_IP = 3 };

static const mp_obj_base_t lan = { &network_lan_type };

static mp_obj_t lan_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 0, MP_OBJ_FUN_ARGS_MAX, true);
    return MP_OBJ_FROM_PTR(&lan);
}

static bool has_address(void) {
    return !ip4_addr_isany_val(*netif_ip4_addr(&board_netif));
}

static mp_obj_t lan_active(size_t n_args, const mp_obj_t *args) {
    if (n_args == 1) {
        return mp_obj_new_bool(netif_is_up(&board_netif));
    }
    if (mp_obj_is_true(args[1])) {
        netif_set_up(&board_netif);
    } else {
        netif_set_down(&board_netif);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_active_obj, 1, 2, lan_active);

// connect(ssid, key): an address from DHCP, unless there is one.
static mp_obj_t lan_connect(size_t n_args, const mp_obj_t *args, mp_map_t *kwargs) {
    netif_set_up(&board_netif);
    if (!has_address()) {
        dhcp_start(&board_netif);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(lan_connect_obj, 1, lan_connect);

static mp_obj_t lan_disconnect(mp_obj_t self) {
    dhcp_release_and_stop(&board_netif);
    netif_set_addr(&board_netif, IP4_ADDR_ANY4, IP4_ADDR_ANY4, IP4_ADDR_ANY4);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(lan_disconnect_obj, lan_disconnect);

static int status(void) {
    if (!netif_is_up(&board_netif)) {
        return STATUS_IDLE;
    }
    if (netif_is_link_up(&board_netif) && has_address()) {
        return STATUS_GOT_IP;
    }
    struct dhcp *dhcp = netif_dhcp_data(&board_netif);
    return dhcp != NULL && dhcp->state != DHCP_STATE_OFF ? STATUS_CONNECTING : STATUS_IDLE;
}

static mp_obj_t lan_isconnected(mp_obj_t self) {
    return mp_obj_new_bool(status() == STATUS_GOT_IP);
}
static MP_DEFINE_CONST_FUN_OBJ_1(lan_isconnected_obj, lan_isconnected);

static mp_obj_t lan_status(size_t n_args, const mp_obj_t *args) {
    return MP_OBJ_NEW_SMALL_INT(n_args > 1 ? -50 : status()); // status("rssi"): a good radio
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_status_obj, 1, 2, lan_status);

// config("mac"), config(pm=...): what is set is taken and has no effect.
static mp_obj_t lan_config(size_t n_args, const mp_obj_t *args, mp_map_t *kwargs) {
    if (n_args < 2) {
        return mp_const_none;
    }
    switch (mp_obj_str_get_qstr(args[1])) {
        case MP_QSTR_mac:
            return mp_obj_new_bytes(board_netif.hwaddr, 6);
        case MP_QSTR_essid:
        case MP_QSTR_ssid:
            return mp_obj_new_str_from_cstr("emulated");
        default:
            mp_raise_ValueError(MP_ERROR_TEXT("unknown config param"));
    }
}
static MP_DEFINE_CONST_FUN_OBJ_KW(lan_config_obj, 1, lan_config);

static mp_obj_t lan_ifconfig(size_t n_args, const mp_obj_t *args) {
    return mod_network_nic_ifconfig(&board_netif, n_args - 1, args + 1);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_ifconfig_obj, 1, 2, lan_ifconfig);

static mp_obj_t lan_ipconfig(size_t n_args, const mp_obj_t *args, mp_map_t *kwargs) {
    return mod_network_nic_ipconfig(&board_netif, n_args - 1, args + 1, kwargs);
}
static MP_DEFINE_CONST_FUN_OBJ_KW(lan_ipconfig_obj, 1, lan_ipconfig);

static const mp_rom_map_elem_t lan_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_active), MP_ROM_PTR(&lan_active_obj) },
    { MP_ROM_QSTR(MP_QSTR_connect), MP_ROM_PTR(&lan_connect_obj) },
    { MP_ROM_QSTR(MP_QSTR_disconnect), MP_ROM_PTR(&lan_disconnect_obj) },
    { MP_ROM_QSTR(MP_QSTR_isconnected), MP_ROM_PTR(&lan_isconnected_obj) },
    { MP_ROM_QSTR(MP_QSTR_status), MP_ROM_PTR(&lan_status_obj) },
    { MP_ROM_QSTR(MP_QSTR_config), MP_ROM_PTR(&lan_config_obj) },
    { MP_ROM_QSTR(MP_QSTR_ifconfig), MP_ROM_PTR(&lan_ifconfig_obj) },
    { MP_ROM_QSTR(MP_QSTR_ipconfig), MP_ROM_PTR(&lan_ipconfig_obj) },
    { MP_ROM_QSTR(MP_QSTR_IF_STA), MP_ROM_INT(0) },
    { MP_ROM_QSTR(MP_QSTR_IF_AP), MP_ROM_INT(1) },
};
static MP_DEFINE_CONST_DICT(lan_locals, lan_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    network_lan_type, MP_QSTR_LAN, MP_TYPE_FLAG_NONE, make_new, lan_make_new, locals_dict, &lan_locals);
