"""The prompt of `textfer ask`, on a terminal of its own: editing keys, history, leaving, errors that do not end it."""

from __future__ import annotations

import codecs
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from select import select

import pytest

from textfer.cli.prompt import LEAVE, staying
from textfer.errors import ConfigError

CODE = """
from textfer.cli.prompt import on_terminal, questions, staying
from textfer.errors import DataError
for line in questions("question> "):
    with staying(where=on_terminal()):
        if line == "bad":
            raise DataError("text 1: is bad. Shorten it.")
        print(f"<{line}>", flush=True)
print("left", flush=True)
"""
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


def _as_for_a_person() -> None:
    """The terminal is the session's, and Ctrl-C is heard, which what runs in the background is born deaf to."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A child that takes its terminal for a person's."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.child = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "PYTHONUTF8": "1"},
            start_new_session=True,
            preexec_fn=_as_for_a_person,
        )
        os.close(theirs)
        self.seen = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()  # what is read may end inside a letter

    def wait_for(self, words: str) -> str:
        """All that was shown up to and with these words."""
        end = time.monotonic() + 30
        while words not in self.seen:
            assert time.monotonic() < end, f"{words!r} never came: {self.seen!r}"
            if select([self.ours], [], [], 0.1)[0]:
                try:
                    self.seen += re.sub(r"\x1b\[\?2004[hl]\r?", "", self.decoder.decode(os.read(self.ours, 4096)))
                except OSError:  # the child has closed it
                    break
        before, found, self.seen = self.seen.partition(words)
        assert found, f"{words!r} never came: {before!r}"
        return before + found

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.child.kill()
    made.child.wait()
    os.close(made.ours)


def test_a_person_at_the_prompt(terminal: Terminal) -> None:
    assert "Ctrl-D leaves" in terminal.wait_for("question> ")
    terminal.type("Who sings?\n")
    terminal.wait_for("<Who sings?>")
    terminal.wait_for("question> ")
    terminal.type("half a que")
    terminal.wait_for("half a que")
    time.sleep(0.3)  # Python hears a Ctrl-C only with the next key when it comes just before it waits for keys
    terminal.type(CTRL_C)
    assert "<" not in terminal.wait_for("question> "), "the line is dropped, the prompt stays"
    terminal.type("   \n")
    assert "<" not in terminal.wait_for("question> ")
    terminal.type("bad\n")
    terminal.wait_for("textfer: text 1: is bad. Shorten it.")
    terminal.wait_for("question> ")
    terminal.type("Où est Ann ?\n")
    terminal.wait_for("<Où est Ann ?>")
    terminal.wait_for("question> ")
    terminal.type(":q\n")
    assert "<" not in terminal.wait_for("left")
    assert terminal.child.wait(20) == 0


def test_history_and_the_end_of_input(terminal: Terminal) -> None:
    pytest.importorskip("readline", reason="this Python has no readline")
    terminal.wait_for("question> ")
    terminal.type("Who sings?\n")
    terminal.wait_for("<Who sings?>")
    terminal.wait_for("question> ")
    terminal.type(UP + "\n")
    terminal.wait_for("<Who sings?>")
    terminal.wait_for("question> ")
    terminal.type(CTRL_D)
    terminal.wait_for("left")
    assert terminal.child.wait(20) == 0


def test_lines_of_a_pipe_are_no_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], input="a\n\n :q \nb", capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("<a>\n<:q>\n<b>\nleft\n", "")
    assert ":q" in LEAVE
    failed = subprocess.run([sys.executable, "-c", CODE], input="bad\nb\n", capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert "DataError" in failed.stderr
    assert failed.stdout == ""


def test_only_known_errors_are_outlived() -> None:
    with staying(where=True):
        raise ConfigError("one line")
    with pytest.raises(ZeroDivisionError), staying(where=True):
        raise ZeroDivisionError
