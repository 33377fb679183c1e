"""tools/sizes.py: what a client costs on a board is measured, and README.md says it truly."""

import re
import subprocess
import sys

import pytest
import services
import sizes
import workshop
from workshop import heap32, packages
from building import outputs

README = workshop.ROOT / "README.md"


@pytest.fixture(scope="module")
def rows():
    try:
        return sizes.measure()
    except workshop.SetupError as error:
        pytest.skip("no heap figures: {}".format(error))


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(workshop.ROOT / "tools" / "sizes.py")] + list(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )


def test_the_table_in_the_readme_is_up_to_date(rows):
    written = sizes.split(README.read_text(encoding="utf-8"))[1]
    assert not sizes.differences(sizes.parse(written), rows), (
        "python3 tools/sizes.py --write README.md"
    )


def test_every_client_has_a_row_with_figures_that_can_be(rows):
    assert [row[0] for row in rows] == [
        row for service in services.SERVICES for row in service.rows
    ]
    link = rows[0]
    for client, file, heap, heap_source, everything in rows:
        assert 5000 < file <= everything
        assert file < heap < heap_source  # code takes more room unpacked, and more with lines
        if not client.startswith(("mqtt_link", "idigi")):
            assert file > link[1] and heap > link[2]  # it stands on the link


def test_no_client_costs_more_than_it_may(rows):
    assert not sizes.over(rows), (
        "make it smaller, or raise the ceiling in tools/sizes.py with the reason beside it"
    )


def test_what_is_over_a_ceiling_is_told():
    budget = sizes.BUDGETS["iotc"]
    assert sizes.over([("iotc", budget.file, budget.heap, 0, 0)]) == []
    told = sizes.over([("iotc", budget.file + 1, budget.heap + 1, 0, 0)])
    assert len(told) == 2 and "iotc, file" in told[0] and "iotc, heap" in told[1]


def test_a_client_without_a_ceiling_is_told_what_to_do():
    rows = [("nobody", 14000, 19000, 35000, 27000)]
    (told,) = sizes.over(rows)
    assert "nobody" in told and "BUDGETS" in told and "14,000" in told
    assert "nobody" in list(sizes.budgets(rows))[1]


def test_what_is_loaded_on_demand_is_small():
    found = sizes.seldom(outputs.Builder())
    large = {
        module: size
        for module, size in found.items()
        if size > sizes.LARGER.get(module, sizes.SELDOM_MAX)
    }
    assert not large, "2 KB each; tools/sizes.py lists the exceptions, with their reasons"
    assert set(sizes.LARGER) <= set(packages.modules()), "an exception for no file"


def test_the_firmware_of_a_board_with_a_network_holds_these_names(tmp_path):
    """Names that heap32.py doesn't charge to a client cost a real firmware nothing."""
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    script = tmp_path / "names.py"
    script.write_text(
        "import micropython\n"
        "class Thing:\n    pass\n"
        "for name in {!r}.split():\n"
        "    micropython.qstr_info()\n"
        "    setattr(Thing, str(name, 'utf-8'), 0)\n"
        "    micropython.qstr_info()\n".format(" ".join(heap32.HELD).encode())
    )
    done = subprocess.run(
        workshop.device_command(script, kind="micropython"), stdout=subprocess.PIPE, text=True
    )
    counts = re.findall("n_qstr=([0-9]+)", done.stdout)
    assert len(counts) == 2 * len(heap32.HELD)
    assert counts[::2] == counts[1::2]


def test_a_table_reads_back(rows):
    assert sizes.parse(sizes.table(rows)) == rows


def test_what_is_stale():
    there = [("iotc", 1000, 2000, 3000, 4000)]
    near = [("iotc", 1030, 1950, 3000, 4000)]
    far = [("iotc", 1000, 2100, 3000, 4000)]
    assert sizes.differences(there, there) == []
    assert sizes.differences(there, near) == []
    (line,) = sizes.differences(there, far)
    assert line == "iotc, heap, from it: 2,000 there, 2,100 measured"
    assert sizes.differences([], there) == ["its rows are not: iotc"]


def test_check_and_write(tmp_path, rows, monkeypatch, capsys):
    monkeypatch.setattr(sizes, "measure", lambda: rows)
    file = tmp_path / "page.md"
    file.write_text("before\n{}\nold\n{}\nafter\n".format(sizes.BEGIN, sizes.END))
    assert sizes.main(["--check", str(file)]) == 1
    assert "--write" in capsys.readouterr().out
    assert sizes.main(["--write", str(file)]) == 0
    before, written, after = sizes.split(file.read_text())
    assert (before, after) == ("before\n" + sizes.BEGIN, sizes.END + "\nafter\n")
    assert sizes.parse(written) == rows
    assert sizes.main(["--check", str(file)]) == 0
    assert capsys.readouterr().out == ""


def test_without_node_it_says_so(tmp_path, monkeypatch, capsys):
    def measure():
        raise workshop.SetupError("no Node here")

    monkeypatch.setattr(sizes, "measure", measure)
    assert sizes.main([]) == 2
    assert "no Node here" in capsys.readouterr().err


def test_a_file_without_markers_is_told_of(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("nothing\n")
    done = run("--check", str(file))
    assert done.returncode == 2 and sizes.BEGIN in done.stdout
