// Starts MicroPython and runs the program that the settings name; without one, the REPL.
//
// Settings (a line each, name=value): heap (bytes), run (the program's path: .py or .mpy), arg (its
// arguments, one a line), path (further entries of sys.path, one a line), epoch (seconds since 1970),
// dns0 and dns1 (ports of the host), net (0: the program brings the network up itself), restart (1:
// a reset starts the board again, 0: it ends the run).

#include <string.h>

#include "board.h"
#include "py/builtin.h"
#include "py/compile.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/objmodule.h"
#include "py/persistentcode.h"
#include "py/runtime.h"
#include "extmod/modnetwork.h"
#include "extmod/vfs.h"
#include "shared/readline/readline.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"

extern char _stack_top, _heap_start, _heap_end;
void tls_heap_init(void);

#define DEFAULT_HEAP_BYTES (128 * 1024)

// Tracebacks go to the host's standard error, where one's own computer has them, too.
static void print_error(void *env, const char *text, size_t n) {
    host_error(text, n);
}
static const mp_print_t error_print = { NULL, print_error };

static void extend_sys_path_and_argv(void) {
    const char *text;
    for (int i = 0; (text = setting("path", i)) != NULL; ++i) {
        mp_obj_list_append(mp_sys_path, mp_obj_new_str_from_cstr(text));
    }
    if ((text = setting("run", 0)) != NULL) {
        mp_obj_list_append(mp_sys_argv, mp_obj_new_str_from_cstr(text));
    }
    for (int i = 0; (text = setting("arg", i)) != NULL; ++i) {
        mp_obj_list_append(mp_sys_argv, mp_obj_new_str_from_cstr(text));
    }
}

static mp_obj_t load_program(const char *path) {
    size_t n = strlen(path);
    qstr name = qstr_from_strn(path, n);
    if (n > 4 && strcmp(path + n - 4, ".mpy") == 0) {
        mp_compiled_module_t compiled;
        compiled.context = m_new_obj(mp_module_context_t);
        compiled.context->module.globals = mp_globals_get();
        mp_raw_code_load_file(name, &compiled);
        return mp_make_function_from_proto_fun(compiled.rc, compiled.context, NULL);
    }
    mp_lexer_t *lexer = mp_lexer_new_from_file(name);
    qstr source_name = lexer->source_name;
    mp_parse_tree_t tree = mp_parse(lexer, MP_PARSE_FILE_INPUT);
    return mp_compile(&tree, source_name, false);
}

// What SystemExit's argument means as an exit status: nothing is 0, a number itself, anything else
// is printed and is 1.
static int exit_status(mp_obj_t exception) {
    mp_obj_t value = mp_obj_exception_get_value(exception);
    mp_int_t status;
    if (value == mp_const_none) {
        return 0;
    }
    if (mp_obj_get_int_maybe(value, &status)) {
        return status & 0xff;
    }
    mp_obj_print_helper(&error_print, value, PRINT_STR);
    mp_print_str(&error_print, "\n");
    return 1;
}

static int run_program(const char *path) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_call_function_0(load_program(path));
        mp_handle_pending(true);
        nlr_pop();
        return 0;
    }
    mp_handle_pending(false);
    mp_obj_t exception = MP_OBJ_FROM_PTR(nlr.ret_val);
    if (mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(mp_obj_get_type(exception)), MP_OBJ_FROM_PTR(&mp_type_SystemExit))) {
        return exit_status(exception);
    }
    mp_obj_print_exception(&error_print, exception);
    return 1;
}

int main(void) {
    time_init();
    uart_init();
    reset_cause_init();
    tls_heap_init();
    network_start();
    mp_cstack_init_with_top(&_stack_top, BOARD_STACK_BYTES);
    size_t heap = MIN((size_t)setting_number("heap", DEFAULT_HEAP_BYTES), (size_t)(&_heap_end - &_heap_start));
    gc_init(&_heap_start, &_heap_start + heap);

    for (;;) {
        mp_init();
        mp_obj_list_append(mp_sys_path, MP_OBJ_NEW_QSTR(MP_QSTR__slash_lib));
        readline_init0();
        mod_network_init();
        pyexec_frozen_module("_boot.py", false);
        extend_sys_path_and_argv();
        const char *path = setting("run", 0);
        if (path != NULL) {
            char own[256]; // setting() reuses its buffer
            strncpy(own, path, sizeof(own) - 1);
            own[sizeof(own) - 1] = 0;
            int status = run_program(own);
            gc_sweep_all(); // closes files and sockets, as a soft reset does
            uart_flush();
            host_exit(status);
        }
        stdout_for_repl();
        while ((pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl()) == 0) {
        }
        mp_hal_stdout_tx_strn_cooked("MPY: soft reboot\n", 17);
        gc_sweep_all();
        mp_deinit();
    }
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

void nlr_jump_fail(void *value) {
    static const char text[] = "board: an exception that nobody catches\n";
    host_error(text, sizeof(text) - 1);
    mp_obj_print_exception(&error_print, MP_OBJ_FROM_PTR(value));
    host_exit(STATUS_CRASH);
}
