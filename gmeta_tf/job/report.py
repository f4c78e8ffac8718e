"""How a failure is told: the traceback in error.txt, and on the screen unless the library itself
raised the error, whose message then says all.
"""

import contextlib
import os
import pathlib
import re
import sys
import sysconfig
import traceback

REPORT, EARLIER_REPORT = "error.txt", "error.earlier.txt"
NOISE = re.compile(
    r"Graph execution error|Detected at node|Stack trace for|\s+File \""
    r"|\s*\[\[\{\{node|\d+ root error"
)
TEMPLATE = re.compile(r"\bmust\b.*\bReceived: ", re.DOTALL)  # of the library's own messages
ASSERTED = re.compile(r"assertion failed: \[(.*?)\](?=$| \[| *\n)", re.MULTILINE)
OTHERS = (sysconfig.get_paths()["stdlib"], "site-packages", "<frozen", "<string>")
ANOTHERS = "raised on every rank, since it was raised on one"  # a note of such errors
OF_A_LOST_PEER = (
    "HorovodInternalError",
    "Horovod has been shut down",
    "gloo/transport",
    "Connection closed by peer",
)


class Report:
    """error.txt of a job's folder, which the first rank that fails writes."""

    def __init__(self):
        self._file: pathlib.Path | None = None

    def open(self, run_dir, *, first: bool):
        """Sets the folder; a report of an earlier session becomes error.earlier.txt.

        Args:
          run_dir: shared by the ranks of a host, or None for no report.
          first: whether this rank is the first one of its host, which renames.
        """
        self._file = None if run_dir is None else pathlib.Path(run_dir) / REPORT
        if self._file and first:
            with contextlib.suppress(FileNotFoundError):  # another host's rank was faster
                os.replace(self._file, self._file.with_name(EARLIER_REPORT))

    def claim(self, headline: str, error: BaseException | None = None) -> bool:
        """Writes error.txt as the first rank to do so; True if this rank is the one to speak."""
        if self._file is None:
            return True
        details = "".join(traceback.format_exception(error)) if error else ""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("x") as file:
                file.write(f"{headline}\n{details}")
        except FileExistsError:
            return not self._file.is_file()
        except OSError:  # a full disk, a folder that cannot be written: it is printed at least
            return True
        return True

    def told(self) -> str:
        """The headline that error.txt has; "" where there is none to read."""
        try:
            return self._file.read_text().partition("\n")[0] if self._file else ""
        except (OSError, UnicodeError):
            return ""


def show(headline: str, error: BaseException | None):
    """Prints a failure, with the error's traceback if there is one to show."""
    sys.stdout.flush()
    details = "".join(traceback.format_exception(error)) if error else ""
    sys.stderr.write(f"{details}\nerror: {headline}\n")
    sys.stderr.flush()


def show_uncaught(kind, error, trace):
    """An excepthook for scripts: one line of an error that the library raised."""
    if is_told(error):
        show(headline(error), None)
    else:
        sys.__excepthook__(kind, error, trace)


def headline(error: BaseException) -> str:
    """An error in one line."""
    message = in_one_line(error)
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def is_told(error: BaseException) -> bool:
    """Whether an error's message says all: the library, or the script itself, raised it."""
    message = in_one_line(error)
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return True
    if not TEMPLATE.search(message):
        return False
    if ASSERTED.search(str(error)):  # within a graph
        return True
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return module == "__main__" or module.partition(".")[0] == "gmeta_tf"


def lost_a_peer(error: BaseException) -> bool:
    """Whether an exception is Horovod's way to say that another rank has gone."""
    text = f"{type(error).__name__}: {error}"
    return any(word in text for word in OF_A_LOST_PEER)


def is_anothers(error: BaseException) -> bool:
    """Whether another rank has failed, and tells."""
    return ANOTHERS in getattr(error, "__notes__", ())


def in_one_line(error: BaseException) -> str:
    """The message; of TensorFlow's many lines, the one that tells what failed."""
    asserted = ASSERTED.search(str(error))
    if asserted:
        return asserted.group(1).replace('\\"', '"')
    lines = [
        line.strip() for line in str(error).splitlines() if line.strip() and not NOISE.match(line)
    ]
    return lines[-1] if "Graph execution error" in str(error) and lines else " ".join(lines)


def place(frame) -> str:
    """Where a stack is, outside of Python's and others' libraries if it can be said."""
    innermost = frame
    while frame and any(other in frame.f_code.co_filename for other in OTHERS):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return "no Python"
    file = pathlib.Path(frame.f_code.co_filename).name
    return f"{file}:{frame.f_lineno} ({frame.f_code.co_name})"
