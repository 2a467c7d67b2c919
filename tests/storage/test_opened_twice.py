"""A file that one process has opened twice, while other processes come and go."""

import subprocess
import sys
from pathlib import Path

from umoja.storage.database import Database

OTHER = """
import sys
from pathlib import Path
from umoja.storage.database import Database
database = Database(Path(sys.argv[1]))
database.run("INSERT INTO lines VALUES (:line)", line=sys.argv[2])
database.close()
"""


def write_elsewhere(path: Path, line: str) -> None:
    subprocess.run([sys.executable, "-c", OTHER, str(path), line], check=True)


def test_what_another_process_writes_is_seen_and_what_we_write_stays(tmp_path: Path):
    path = tmp_path / "twice.db"
    first = Database(path)
    first.run("CREATE TABLE lines (line TEXT)")
    second = Database(path)
    write_elsewhere(path, "theirs")
    first.run("INSERT INTO lines VALUES (:line)", line="ours")
    for each in (first, second):
        assert [row[0] for row in each.query("SELECT line FROM lines")] == ["theirs", "ours"]
    write_elsewhere(path, "theirs again")
    assert len(first.query("SELECT line FROM lines")) == 3
    second.close()
    first.close()
    again = Database(path)
    lines = [row[0] for row in again.query("SELECT line FROM lines")]
    again.close()
    assert lines == ["theirs", "ours", "theirs again"]
