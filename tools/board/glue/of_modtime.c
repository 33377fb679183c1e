// The clock, for extmod/modtime.c, which includes this file.

#include "shared/timeutils/timeutils.h"

#if MICROPY_EPOCH_IS_1970
#define EPOCH_OFFSET_S (0)
#else
#define EPOCH_OFFSET_S (TIMEUTILS_SECONDS_1970_TO_2000)
#endif

static mp_uint_t seconds_since_epoch(void) {
    return clock_us() / 1000000 - EPOCH_OFFSET_S;
}

static mp_obj_t mp_time_localtime_get(void) {
    timeutils_struct_time_t tm;
    timeutils_seconds_since_epoch_to_struct_time(seconds_since_epoch(), &tm);
    mp_obj_t tuple[8] = {
        mp_obj_new_int(tm.tm_year),
        mp_obj_new_int(tm.tm_mon),
        mp_obj_new_int(tm.tm_mday),
        mp_obj_new_int(tm.tm_hour),
        mp_obj_new_int(tm.tm_min),
        mp_obj_new_int(tm.tm_sec),
        mp_obj_new_int(tm.tm_wday),
        mp_obj_new_int(tm.tm_yday),
    };
    return mp_obj_new_tuple(8, tuple);
}

static mp_obj_t mp_time_time_get(void) {
    return mp_obj_new_int_from_uint(seconds_since_epoch());
}
