"""tools/bench/p256.py: that it measures what it says. Speeds are never judged here; steps are."""

import json
import subprocess
import sys

import pytest
import workshop


@pytest.mark.skipif(not workshop.micropython(), reason=workshop.why_no_micropython() or "")
def test_both_interpreters_take_the_same_steps(tmp_path):
    path = tmp_path / "p256.json"
    command = [sys.executable, workshop.ROOT / "tools" / "bench", "p256"]
    done = subprocess.run(
        command + ["--rounds", "2", "--json", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    figures = json.loads(path.read_text())
    assert figures["rounds"] == 2
    assert [row["interpreter"] for row in figures["rows"]] == ["micropython", "cpython"]
    for row in figures["rows"]:
        assert row["steps"] == 225
        assert 0 < row["key_s"] < row["key_and_request_s"]
        assert row["longest_step_ms"] <= row["worst_step_ms"] <= row["key_and_request_s"] * 2e3
        assert row["interpreter"] in done.stdout


def test_no_rounds_no_figures():
    command = [sys.executable, workshop.ROOT / "tools" / "bench", "p256", "--rounds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "--rounds must be 1 or more" in done.stderr
