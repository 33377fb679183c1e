# Run before the program: the board's own file system at /, the host's files at /host.

import vfs

import emulator

_flash = emulator.Flash()
try:
    vfs.mount(vfs.VfsLfs2(_flash, progsize=256), "/")
except OSError:  # never used before
    vfs.VfsLfs2.mkfs(_flash, progsize=256)
    vfs.mount(vfs.VfsLfs2(_flash, progsize=256), "/")
vfs.mount(emulator.HostFS(), "/host")
