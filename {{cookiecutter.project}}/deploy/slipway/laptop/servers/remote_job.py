"""The scripts that travel to a server, and the outcome of a job there.

A script is put together here and nowhere else: variables, what keeps the secrets and the script on
the server, and the server's own part. That is all files of slipway/server/ and of one folder in it:
files that define functions in the order of their names, and deploy.sh at the end.
"""

from __future__ import annotations

import enum
import getpass
import hashlib
import shlex
import socket
from collections.abc import Mapping

from slipway.laptop.paths import SLIPWAY
from slipway.laptop.servers.ssh import Connection, without_comments

SERVER = SLIPWAY / "server"
ENTRY = "deploy.sh"


class Outcome(enum.Enum):
    """How a job on a server ended; see server/supervise.sh."""

    DONE = "done"
    FAILED = "failed"
    RECOVERED = "recovered"  # its process was killed, and the server is in order
    IMAGE_GONE = "image-gone"  # another deploy has removed what was sent for this one
    WHEELS_GONE = "wheels-gone"
    LOST = "lost"  # the connection broke, or the shell at its other end was killed

    @property
    def is_gone(self) -> bool:
        """Whether what was sent has to be sent again."""
        return self in (Outcome.IMAGE_GONE, Outcome.WHEELS_GONE)

    @property
    def is_unknown(self) -> bool:
        """Whether only the server knows which release runs now."""
        return self in (Outcome.LOST, Outcome.RECOVERED)


# What fails before the server's own part begins has changed nothing.
BEGIN = """\
trap '[ $? = 0 ] || exit 1' EXIT
set -e
"""

# The server keeps the script, because it may have to start it again, and the environment, which no
# process list shows and which nobody else may read. On a full disk the job ends here.
KEEP_ENVIRONMENT = """\
umask 077
folder=$HOME/.slipway/$PROJECT
mkdir -p "$folder"
if [ -n "${OPTIONS_SUM:-}" ]; then
    printf '%s' "$ENVIRONMENT" >"$folder/env.$$"
    mv -f "$folder/env.$$" "$folder/env-$OPTIONS_SUM"
fi
unset ENVIRONMENT
"""
KEEP_SCRIPT = """\
cat >"$folder/server.$$" <<'END OF SERVER'
{script}
END OF SERVER
mv -f "$folder/server.$$" "$folder/{name}"
"""
USE_SCRIPT = "entry=$folder/{name}\n"

# A server without Docker unpacks the bundle, and keeps the manifest, which has the secrets of the
# environment, where no process list shows it and nobody else may read it.
# A bundle of before slipway/ has another entry, knows `recover` by another name, and reports by its
# exit status.
UNPACK_BUNDLE = """\
umask 022
cd "$PLACE"
if ! [ -d "kit/$KIT" ]; then
    mkdir -p kit
    new=$(mktemp -d .new-XXXXXX)
    chmod 755 "$new"
    tar -xzf "wheels/$KIT/kit.tar.gz" -C "$new"
    mv -T "$new" "kit/$KIT"
fi
if [ -n "$MANIFEST" ]; then
    export SENT="$PLACE/.new-sent-$$"
    (umask 077 && printf '%s' "$MANIFEST" >"$SENT")
fi
unset MANIFEST
entry=$PLACE/kit/$KIT/slipway/server/systemd/deploy.sh
if ! [ -e "$entry" ]; then
    entry=$PLACE/kit/$KIT/service.sh
    [ "$command" != supervise ] || command=guard
    [ "$JOB" != recover ] || JOB=settle
    old=yes
fi
"""

# The job finishes by itself, whatever happens to the shell that ssh started.
RUN = """\
trap - EXIT
set +e
$(command -v setsid || true) sh "$entry" $command </dev/null &
wait $!
"""
REPORT_FOR_OLD_BUNDLE = """\
status=$?
[ -z "${old:-}" ] || [ "$status" != 3 ] || echo 'slipway outcome=recovered'
[ -z "${old:-}" ] || [ "$status" != 4 ] || echo 'slipway outcome=wheels-gone'
exit "$status"
"""

# The script runs as root where that is allowed without a password.
AS_ROOT = """\
as=
[ "$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || as='sudo -n'
exec $as sh -s {arguments} <<'END OF SERVICE'
{text}
END OF SERVICE
"""


def script(kind: str) -> str:
    """Return the server's part of a kind of deploy, `docker` or `systemd`, as one script."""
    parts = [*sorted(SERVER.glob("*.sh")), *sorted((SERVER / kind).glob("*.sh"))]
    parts.sort(key=lambda path: path.name == ENTRY)
    return without_comments("\n".join(path.read_text("utf-8") for path in parts))


def kept_name(text: str) -> str:
    """Return the name under which a server keeps a script."""
    return f"server-{hashlib.sha256(text.encode()).hexdigest()[:12]}.sh"


def assignments(variables: Mapping[str, str]) -> str:
    """Return variables as lines of a shell script, whatever characters the values have."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def exported(variables: Mapping[str, str]) -> str:
    """Return variables as lines of a shell script, for the shell and all that it starts."""
    return f"{assignments(variables)}export {' '.join(variables)}\n"


def as_root(text: str, arguments: str = "") -> str:
    """Return a script that runs another one as root, where that is allowed."""
    return AS_ROOT.format(arguments=arguments, text=text)


def account() -> str:
    """Return who deploys, in one word, for a server's lock and log."""
    return "_".join(f"{getpass.getuser()}@{socket.gethostname()}".split())


def _begin(job: str, variables: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    command = "unlock" if job == "unlock" else "supervise"
    own = {"JOB": job, "BY": account(), **variables}
    return f"{exported(own)}{assignments({'command': command, **secrets})}{BEGIN}"


def for_docker(job: str, variables: Mapping[str, str], environment: str, *, is_kept: bool) -> str:
    """Return the script that does a job on a server with Docker.

    The server's own part is left out if the server has kept it.
    """
    own = script("docker")
    name = kept_name(own)
    keep = "" if is_kept else KEEP_SCRIPT.format(script=own, name=name)
    begin = _begin(job, variables, {"ENVIRONMENT": environment})
    return begin + KEEP_ENVIRONMENT + keep + USE_SCRIPT.format(name=name) + RUN


def for_systemd(job: str, variables: Mapping[str, str], manifest: str) -> str:
    """Return the script that does a job on a server without Docker."""
    begin = _begin(job, variables, {"MANIFEST": manifest})
    return as_root(begin + UNPACK_BUNDLE + RUN + REPORT_FOR_OLD_BUNDLE)


def perform(connection: Connection, text: str, *, has_gzip: bool, silence: float = 0) -> Outcome:
    """Run a script that does a job, show its output, and return the outcome.

    silence is the number of seconds for which it may print nothing, by default that of a question.
    Without a line that states the outcome the script has ended with 0 or 1, or was cut off.
    """
    prefix = f"{connection.host}: "
    finished = connection.script(text, prefix, has_gzip=has_gzip, silence=silence)
    if finished.outcome in {each.value for each in Outcome}:
        return Outcome(finished.outcome)
    return {0: Outcome.DONE, 1: Outcome.FAILED}.get(finished.status, Outcome.LOST)


def one_word_a_line(options: str) -> str:
    """Return quoted options as lines of one word each, which a server splits without eval.

    An empty value joins its option, since an empty line would be lost. Options have no line breaks.
    """
    lines: list[str] = []
    for word in shlex.split(options):
        if word or not lines:
            lines.append(word)
        else:
            lines[-1] += "="
    return "\n".join(lines)
