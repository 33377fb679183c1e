// The `emulator` module: what _boot.py mounts.
//
//     emulator.Flash()    a block device in RAM, for the board's own file system; survives a reset
//     emulator.HostFS()   the host's files, to be read only
//
// Both are in C so that they take next to none of the heap that a program is measured in.

#include <string.h>

#include "board.h"
#include "extmod/vfs.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "py/stream.h"

// --- Flash ---

#define BLOCK_BYTES (4096)

static const mp_obj_type_t flash_type;
static const mp_obj_base_t flash = { &flash_type };

static mp_obj_t flash_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    return MP_OBJ_FROM_PTR(&flash);
}

static uint8_t *flash_place(const mp_obj_t *args, size_t n_args, size_t n) {
    size_t start = mp_obj_get_int(args[1]) * BLOCK_BYTES + (n_args > 3 ? mp_obj_get_int(args[3]) : 0);
    if (start + n > RAM_DISK_BYTES) {
        mp_raise_OSError(MP_EIO);
    }
    return (uint8_t *)RAM_DISK_START + start;
}

static mp_obj_t flash_readblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t buf;
    mp_get_buffer_raise(args[2], &buf, MP_BUFFER_WRITE);
    memcpy(buf.buf, flash_place(args, n_args, buf.len), buf.len);
    return MP_OBJ_NEW_SMALL_INT(0);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(flash_readblocks_obj, 3, 4, flash_readblocks);

static mp_obj_t flash_writeblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t buf;
    mp_get_buffer_raise(args[2], &buf, MP_BUFFER_READ);
    memcpy(flash_place(args, n_args, buf.len), buf.buf, buf.len);
    return MP_OBJ_NEW_SMALL_INT(0);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(flash_writeblocks_obj, 3, 4, flash_writeblocks);

static mp_obj_t flash_ioctl(mp_obj_t self, mp_obj_t command, mp_obj_t argument) {
    switch (mp_obj_get_int(command)) {
        case MP_BLOCKDEV_IOCTL_BLOCK_COUNT:
            return MP_OBJ_NEW_SMALL_INT(RAM_DISK_BYTES / BLOCK_BYTES);
        case MP_BLOCKDEV_IOCTL_BLOCK_SIZE:
            return MP_OBJ_NEW_SMALL_INT(BLOCK_BYTES);
        case MP_BLOCKDEV_IOCTL_BLOCK_ERASE:
            memset((uint8_t *)RAM_DISK_START + mp_obj_get_int(argument) * BLOCK_BYTES, 0xff, BLOCK_BYTES);
            return MP_OBJ_NEW_SMALL_INT(0);
        default:
            return MP_OBJ_NEW_SMALL_INT(0);
    }
}
static MP_DEFINE_CONST_FUN_OBJ_3(flash_ioctl_obj, flash_ioctl);

static const mp_rom_map_elem_t flash_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_readblocks), MP_ROM_PTR(&flash_readblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_writeblocks), MP_ROM_PTR(&flash_writeblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_ioctl), MP_ROM_PTR(&flash_ioctl_obj) },
};
static MP_DEFINE_CONST_DICT(flash_locals, flash_locals_table);

static MP_DEFINE_CONST_OBJ_TYPE(
    flash_type, MP_QSTR_Flash, MP_TYPE_FLAG_NONE, make_new, flash_make_new, locals_dict, &flash_locals);

// --- the ROM file system's place ---

mp_obj_t mp_vfs_rom_ioctl(size_t n_args, const mp_obj_t *args) {
    switch (mp_obj_get_int(args[0])) {
        case MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS:
            return MP_OBJ_NEW_SMALL_INT(1);
        case MP_VFS_ROM_IOCTL_GET_SEGMENT:
            return mp_obj_new_memoryview('B', ROMFS_BYTES, (void *)ROMFS_START);
        default:
            return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
}

// --- HostFS ---

typedef struct {
    mp_obj_base_t base;
    int descriptor; // -1 when it is closed
    size_t position;
    size_t size;
} host_file_t;

static mp_uint_t host_file_read(mp_obj_t self_in, void *buf, mp_uint_t n, int *error) {
    host_file_t *self = MP_OBJ_TO_PTR(self_in);
    int got = self->descriptor < 0 ? -1 : host_read(self->descriptor, buf, n);
    if (got < 0) {
        *error = MP_EIO;
        return MP_STREAM_ERROR;
    }
    self->position += got;
    return got;
}

static mp_uint_t host_file_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t argument, int *error) {
    host_file_t *self = MP_OBJ_TO_PTR(self_in);
    if (request == MP_STREAM_CLOSE) {
        if (self->descriptor >= 0) {
            host_close(self->descriptor);
            self->descriptor = -1;
        }
        return 0;
    }
    if (request == MP_STREAM_SEEK) {
        struct mp_stream_seek_t *to = (struct mp_stream_seek_t *)argument;
        mp_int_t base = to->whence == 0 ? 0 : to->whence == 1 ? self->position : self->size;
        mp_int_t position = base + to->offset;
        if (position >= 0 && (size_t)position <= self->size) {
            host_seek(self->descriptor, position);
            self->position = to->offset = position;
            return 0;
        }
    }
    *error = MP_EINVAL;
    return MP_STREAM_ERROR;
}

static const mp_rom_map_elem_t host_file_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_readline), MP_ROM_PTR(&mp_stream_unbuffered_readline_obj) },
    { MP_ROM_QSTR(MP_QSTR_readlines), MP_ROM_PTR(&mp_stream_unbuffered_readlines_obj) },
    { MP_ROM_QSTR(MP_QSTR_seek), MP_ROM_PTR(&mp_stream_seek_obj) },
    { MP_ROM_QSTR(MP_QSTR_tell), MP_ROM_PTR(&mp_stream_tell_obj) },
    { MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&mp_stream_close_obj) },
    { MP_ROM_QSTR(MP_QSTR___del__), MP_ROM_PTR(&mp_stream_close_obj) },
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&mp_stream___exit___obj) },
};
static MP_DEFINE_CONST_DICT(host_file_locals, host_file_locals_table);

static const mp_stream_p_t bytes_stream = { .read = host_file_read, .ioctl = host_file_ioctl };
static const mp_stream_p_t text_stream = { .read = host_file_read, .ioctl = host_file_ioctl, .is_text = true };

static MP_DEFINE_CONST_OBJ_TYPE(
    bytes_file_type, MP_QSTR_FileIO, MP_TYPE_FLAG_ITER_IS_STREAM, protocol, &bytes_stream,
    locals_dict, &host_file_locals);
static MP_DEFINE_CONST_OBJ_TYPE(
    text_file_type, MP_QSTR_TextIOWrapper, MP_TYPE_FLAG_ITER_IS_STREAM, protocol, &text_stream,
    locals_dict, &host_file_locals);

// Opens a file; -1 when there is none, -2 for a directory (the host opens it, but nobody reads it).
static int open_on_host(const char *path, size_t *size) {
    int descriptor = host_open(path, HOST_READ);
    if (descriptor < 0) {
        return -1;
    }
    char first;
    *size = host_size(descriptor);
    if (*size && host_read(descriptor, &first, 1) != 1) {
        host_close(descriptor);
        return -2;
    }
    host_seek(descriptor, 0);
    return descriptor;
}

static mp_import_stat_t kind_on_host(const char *path, size_t *size) {
    int descriptor = open_on_host(path, size);
    if (descriptor >= 0) {
        host_close(descriptor);
        return MP_IMPORT_STAT_FILE;
    }
    return descriptor == -2 ? MP_IMPORT_STAT_DIR : MP_IMPORT_STAT_NO_EXIST;
}

static const mp_obj_type_t host_fs_type;
static const mp_obj_base_t host_fs = { &host_fs_type };

static mp_obj_t host_fs_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    return MP_OBJ_FROM_PTR(&host_fs);
}

static mp_obj_t host_fs_mount(mp_obj_t self, mp_obj_t readonly, mp_obj_t mkfs) {
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(host_fs_mount_obj, host_fs_mount);

static mp_obj_t host_fs_open(mp_obj_t self, mp_obj_t path, mp_obj_t mode_in) {
    const char *mode = mp_obj_str_get_str(mode_in);
    if (strpbrk(mode, "wax+")) {
        mp_raise_OSError(MP_EROFS);
    }
    host_file_t *file = mp_obj_malloc_with_finaliser(
        host_file_t, strchr(mode, 'b') ? &bytes_file_type : &text_file_type);
    file->position = 0;
    file->descriptor = open_on_host(mp_obj_str_get_str(path), &file->size);
    if (file->descriptor < 0) {
        int error = file->descriptor == -2 ? MP_EISDIR : MP_ENOENT;
        file->descriptor = -1;
        mp_raise_OSError(error);
    }
    return MP_OBJ_FROM_PTR(file);
}
static MP_DEFINE_CONST_FUN_OBJ_3(host_fs_open_obj, host_fs_open);

static mp_obj_t host_fs_stat(mp_obj_t self, mp_obj_t path) {
    size_t size = 0;
    mp_import_stat_t kind = kind_on_host(mp_obj_str_get_str(path), &size);
    if (kind == MP_IMPORT_STAT_NO_EXIST) {
        mp_raise_OSError(MP_ENOENT);
    }
    mp_obj_tuple_t *found = MP_OBJ_TO_PTR(mp_obj_new_tuple(10, NULL));
    for (int i = 0; i < 10; ++i) {
        found->items[i] = MP_OBJ_NEW_SMALL_INT(0);
    }
    found->items[0] = MP_OBJ_NEW_SMALL_INT(kind == MP_IMPORT_STAT_FILE ? MP_S_IFREG : MP_S_IFDIR);
    found->items[6] = MP_OBJ_NEW_SMALL_INT(size);
    return MP_OBJ_FROM_PTR(found);
}
static MP_DEFINE_CONST_FUN_OBJ_2(host_fs_stat_obj, host_fs_stat);

static const mp_rom_map_elem_t host_fs_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_mount), MP_ROM_PTR(&host_fs_mount_obj) },
    { MP_ROM_QSTR(MP_QSTR_umount), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR_open), MP_ROM_PTR(&host_fs_open_obj) },
    { MP_ROM_QSTR(MP_QSTR_stat), MP_ROM_PTR(&host_fs_stat_obj) },
};
static MP_DEFINE_CONST_DICT(host_fs_locals, host_fs_locals_table);

static mp_import_stat_t host_fs_import_stat(void *self, const char *path) {
    size_t size;
    return kind_on_host(path, &size);
}

static const mp_vfs_proto_t host_fs_proto = { .import_stat = host_fs_import_stat };

static MP_DEFINE_CONST_OBJ_TYPE(
    host_fs_type, MP_QSTR_HostFS, MP_TYPE_FLAG_NONE, make_new, host_fs_make_new,
    protocol, &host_fs_proto, locals_dict, &host_fs_locals);

// --- the module ---

static const mp_rom_map_elem_t emulator_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_emulator) },
    { MP_ROM_QSTR(MP_QSTR_Flash), MP_ROM_PTR(&flash_type) },
    { MP_ROM_QSTR(MP_QSTR_HostFS), MP_ROM_PTR(&host_fs_type) },
};
static MP_DEFINE_CONST_DICT(emulator_globals, emulator_globals_table);

const mp_obj_module_t emulator_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&emulator_globals,
};

MP_REGISTER_MODULE(MP_QSTR_emulator, emulator_module);
