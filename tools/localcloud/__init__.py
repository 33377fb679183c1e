"""
The local cloud: the service sides of five IoT clouds on this machine, for tests, demos and
benches.

`python3 tools/localcloud --help` starts it. Inside Python, `tools/` on sys.path makes this the
package `localcloud`. Nothing here imports lib/: a server that shares the client's code can't catch
its mistakes.
"""
