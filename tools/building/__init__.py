"""
What tools/build.py is made of: lib/ as people read it becomes what a board runs.

source.py     one file of lib/ as a tree without what a board has no use for
firmware.py   names that every firmware holds, so that they cost a board nothing
private.py    which private name becomes which of those, the same everywhere
scopes.py     puts the names in, by Python's rules of scope
apart.py      functions that are needed seldom, in files of their own
texts.py      the words of errors, likewise
inline.py     functions that are called from one place, put at that place
joined.py     the resident files of a service as one file
umqtt.py      umqtt.simple in two files, of which the link needs one
outputs.py    .mpy files, a ROMFS image, an index for mip
explain.py    a board's traceback in the words of lib/
"""
