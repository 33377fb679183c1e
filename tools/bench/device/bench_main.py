# Runs one task of one client. The first line of stdin is the job, {"adapter": "umqtt", "task":
# "rate", ...} (as an argument it would be too long for the unix port); the result is the last line
# said.

import json
import sys

import bench_base


def main():
    job = json.loads(sys.stdin.readline())
    client = __import__("bench_" + job["adapter"]).Client(job)
    bench_base.say(result=getattr(client, job["task"])())


main()
