"""tools/sizes.py: what a client costs on a board is measured, and README.md says it truly."""

import subprocess
import sys

import pytest
import sizes
import workshop

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
    assert [row[0] for row in rows] == [modules[0] for modules, _ in sizes.CLIENTS]
    link = rows[0]
    for client, loaded, heap, heap_source, everything in rows:
        assert 5000 < loaded <= everything
        assert loaded < heap < heap_source  # code takes more room unpacked, and more with lines
        if not client.startswith(("mqtt_link", "idigi")):
            assert loaded > link[1] and heap > link[2]  # it stands on the link


def test_a_table_reads_back(rows):
    assert sizes.parse(sizes.table(rows)) == rows


def test_what_is_stale():
    there = [("iotc", 1000, 2000, 3000, 4000)]
    near = [("iotc", 1030, 1950, 3000, 4000)]
    far = [("iotc", 1000, 2100, 3000, 4000)]
    assert sizes.differences(there, there) == []
    assert sizes.differences(there, near) == []
    (line,) = sizes.differences(there, far)
    assert line == "iotc, heap, from `.mpy`: 2,000 there, 2,100 measured"
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
