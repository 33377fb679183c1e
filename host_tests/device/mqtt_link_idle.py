# ruff: noqa: F821 (what stands before it defines the rest)
# What an idle link allocates, looking (idle) and waiting. mqtt_link_start.py is there.
from given import options, report

link = make("idle", **options)
link.connect()
link.subscribe("a/b", 1)
run(lambda: acks)
for _ in range(20):
    link.do_next(1)
gc.collect()
gc.disable()
before = gc.mem_alloc()
for _ in range(1000):
    link.do_next()
idle = gc.mem_alloc() - before
for _ in range(20):
    link.do_next(2)
report(idle=idle, waiting=gc.mem_alloc() - before - idle)
