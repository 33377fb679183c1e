# The cases come as a file of their own, one tuple a line.
from given import CASES, report

import gc
import sys
import fake_stream

def run(keep):
    # Three times the same: first use, then two more, which must leave the heap as it was.
    with open(CASES) as file:
        for line in file:
            case = eval(line)
            result = fake_stream.case(*case)
            if keep:
                report(events=result[0], written=result[1])
    del case, result

def in_use(depth):
    # A conservative collector takes what lies about on the C stack for pointers; other depths,
    # other leftovers.
    if depth:
        return in_use(depth - 1)
    gc.collect()
    return gc.mem_alloc()

heap = []
for keep in (True, False, False):
    run(keep)
    heap.append(min([in_use(depth) for depth in range(8)]))
report(grown=heap[2] - heap[1])
