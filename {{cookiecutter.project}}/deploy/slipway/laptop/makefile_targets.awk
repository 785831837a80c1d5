# targets.awk: which targets do makefiles have? awk -f targets.awk FILE…
#
# Prints a call of make's addsuffix for each, since a name may stand in a variable, which make knows:
#   $(addsuffix @Makefile:12,clean)
# What the files include is read as well, where its name is written out. Rules in any branch of a
# conditional count; of patterns those alone that make something from nothing, as in `%:`.

function read(name, line, number, first, pending, defining) {
    while ((getline line < name) > 0) {
        if (++number == 1 && line ~ /^# deploy\.mk: the make targets/) break # ours, of another project too
        sub(/\r$/, "", line)
        if (pending == "") first = number
        # a recipe may begin with any character, but only after a rule; make's own is a tab
        if (pending == "" && line ~ (prefix == "" ? "^\t" : "^[" prefix "]")) continue
        if (line ~ /\\$/) {
            pending = pending substr(line, 1, length(line) - 1) " "
            continue
        }
        line = pending line
        pending = ""
        if (line ~ /^[ ]*(override[ ]+|export[ ]+)*define([ \t]|$)/) defining++
        else if (line ~ /^[ ]*endef([ \t#]|$)/) { if (defining) defining-- }
        else if (!defining) look(name, first, line)
    }
    close(name)
}

function look(name, number, line, words, count, i, targets, rest, colon) {
    sub(/(^|[^\\])#.*/, "", line)
    if (line ~ /^[ ]*(ifeq|ifneq|ifdef|ifndef|else|endif|vpath|undefine|unexport)([ \t(]|$)/) return
    if (line ~ /^[ ]*[-s]?include[ \t]/) {
        count = split(line, words, /[ \t]+/)
        for (i = 2; i <= count; i++)
            if (words[i] ~ /^[A-Za-z0-9_.\/-]+$/ && !(words[i] in seen)) wanted[++last] = words[i]
        return
    }
    if (line ~ /^[ ]*\.RECIPEPREFIX[ \t]*:*=/) {
        sub(/^[^=]*=[ \t]*/, "", line)
        prefix = substr(line, 1, 1)
        return
    }
    # the first colon outside of references: `$(A:.c=.o): x` has it after them
    colon = equals = 0
    for (i = 1; i <= length(line) && !colon; i++) {
        if (substr(line, i, 1) ~ /[({]/) depth++
        else if (substr(line, i, 1) ~ /[)}]/) depth--
        else if (depth <= 0 && substr(line, i, 1) == "=") { equals = i; break }
        else if (depth <= 0 && substr(line, i, 1) == ":") colon = i
    }
    depth = 0
    rest = substr(line, colon + 1)
    if (equals || rest ~ /^:*=/) {
        split(line, words, /[ \t]*[:?+!]*=[ \t]*/)
        sub(/^([ \t]*(export|override)[ \t]+)*/, "", words[1])
        sub(/^[^=]*=[ \t]*/, "", line)
        value[words[1]] = value[words[1]] " " line
        return
    }
    if (!colon) return
    targets = known(substr(line, 1, colon - 1))
    sub(/[ \t]*&$/, "", targets)
    count = split(targets, words, /[ \t]+/)
    for (i = 1; i <= count; i++) {
        if (words[i] ~ /^\./ || words[i] !~ /^([A-Za-z0-9_.%\/-]|\$\([A-Za-z0-9_.-]+\)|\$\{[A-Za-z0-9_.-]+\})+$/) continue
        if (words[i] ~ /%/ && rest ~ /%/) continue
        printf "$(addsuffix @%s:%d,%s)\n", name, number, words[i]
    }
}

# known: put in what the files said of a variable, which may be set after this is read
function known(text, name, times) {
    while (match(text, /\$(\([A-Za-z0-9_.-]+\)|\{[A-Za-z0-9_.-]+\})/) && times++ < 100) {
        name = substr(text, RSTART + 2, RLENGTH - 3)
        if (!(name in value)) break
        text = substr(text, 1, RSTART - 1) value[name] substr(text, RSTART + RLENGTH)
    }
    return text
}

BEGIN {
    for (i = 1; i < ARGC; i++) wanted[++last] = ARGV[i]
    for (done = 1; done <= last; done++) {
        if (wanted[done] in seen) continue
        seen[wanted[done]]
        prefix = ""
        read(wanted[done])
    }
}
