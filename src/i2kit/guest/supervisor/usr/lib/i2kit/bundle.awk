# Make each container's bundle for this start of the machine.
#
# In:  pairs of runtime.json and config.json below /containers (OCI runtime spec, written by LinuxKit or
#      i2kit with an indent of four spaces); $run/env with lines NAME=VALUE from the user data; $run/facts
#      with lines FIELD=VALUE of the pod, and $run/secrets with more of them; each byte but letters, digits and
#      -_./ as %XX. Where `first` is set, what is below onboot are the containers that a pod starts with, whose
#      names are without their number.
# Out: $run/NAME/config.json with absolute root, own cgroup as its root, seccomp profile, no inheritable
#      capabilities, the usual devices unless it names some, a read-only root where its annotation says so,
#      the additional environment, and each `$(i2kit:FIELD)` with the field's value in its place, or for
#      `env/NAME` that of the variable in $run/env, `$(NAME)` where there is none; lines for
#      the file systems to mount in $run/fstab.tmp and $run/fstab.rootfs; $run/NAME/prepare, a script of what
#      runtime.json wants done before the container starts.

function json(text) {
    return "\"" inner(text) "\""
}

# Of a backslash in a replacement only \\& means the same to all versions of busybox: 1.37 reads others anew.
function inner(text,    code) {
    gsub(/["\\]/, "\\\\&", text)
    if (text ~ /[\001-\037]/)
        for (code = 1; code < 32; code++)
            text = swapped(text, sprintf("%c", code), sprintf("\\u%04x", code))
    return text
}

function swapped(text, old, new,    i, count, part) {
    count = split(text, part, old)
    text = part[1]
    for (i = 2; i <= count; i++)
        text = text new part[i]
    return text
}

function plain(text,    i, count, part) {
    count = split(text, part, "%")
    text = part[1]
    for (i = 2; i <= count; i++)
        text = text sprintf("%c", 16 * digit(substr(part[i], 1, 1)) + digit(substr(part[i], 2, 1))) \
            substr(part[i], 3)
    return text
}

function digit(letter) {
    return index("0123456789ABCDEF", letter) - 1
}

# A line of config.json with the values of fields in place of their words.
function filled(text,    at, rest, end, done, field) {
    while ((at = index(text, "$(i2kit:")) > 0) {
        rest = substr(text, at + 8)
        end = index(rest, ")")
        if (end == 0)
            break
        field = substr(rest, 1, end - 1)
        done = done substr(text, 1, at - 1) inner(field ~ /^env\// ? told(substr(field, 5)) : plain(facts[field]))
        text = substr(rest, end + 1)
    }
    return done text
}

function told(variable) {
    return variable in values_of ? values_of[variable] : "$(" variable ")"
}

function read_facts(path,    fact, at) {
    while ((getline fact < path) > 0) {
        at = index(fact, "=")
        facts[substr(fact, 1, at - 1)] = substr(fact, at + 1)
    }
    close(path)
}

function read_file(path,    line, text) {
    while ((getline line < path) > 0)
        text = text line "\n"
    close(path)
    return text
}

# The text of a line `"TEXT",` or `"KEY": "TEXT",`.
function value(text) {
    sub(/^ *("[a-zA-Z]*": )?"/, "", text)
    sub(/",?$/, "", text)
    return text
}

# As one word of the shell.
function quoted(text,    i, count, part) {
    count = split(text, part, "'")
    text = part[1]
    for (i = 2; i <= count; i++)
        text = text "'\"'\"'" part[i]
    return "'" text "'"
}

function prepare(command) {
    print command >> (run "/" name "/prepare")
}

# A mount of runtime.json: of the container's root, which all have, or one that the template asks for.
function mount() {
    if (destination == directory "/rootfs") {
        if (layers) {
            print "tmpfs " directory "/tmp tmpfs nosuid,nodev 0 0" >> (run "/fstab.tmp")
            print "overlay " destination " overlay " layers ",upperdir=" directory "/tmp/upper,workdir=" \
                directory "/tmp/work 0 0" >> (run "/fstab.rootfs")
        } else if (source != destination)
            # A read-only root whose image another container brings.
            print source " " destination " none bind 0 0" >> (run "/fstab.tmp")
    } else if (destination != directory "/tmp") {
        prepare("mkdir -p " quoted(destination))
        prepare("mount -t " quoted(type ? type : "none") " -o " quoted((type == "bind" ? "bind" : "rw") options) \
            " " quoted(source ? source : "none") " " quoted(destination))
        # A bind mount takes the flags of what it shows, and others only afterwards.
        if (options ~ /,ro(,|$)/ && (type == "bind" || options ~ /,r?bind(,|$)/))
            prepare("mount -o remount,bind,ro " quoted(destination))
    }
}

# The variables of the user data that the container does not set itself, each with a comma before it.
function additions(    i, text) {
    for (i = 1; i <= variables; i++)
        if (!(names[i] in own))
            text = text ",\n            " json(values[i])
    return text
}

# The profile, with the calls allowed that the container's capabilities are for (moby,
# profiles/seccomp/default_linux.go).
function filter(    capability, text, calls, count, i, known, list) {
    text = profile
    for (capability in bounding) {
        count = split(unlocked[capability], calls, " ")
        for (i = 1; i <= count; i++)
            if (!(calls[i] in known)) {
                known[calls[i]] = 1
                gsub("\"" calls[i] "\", *", "", text)
                list = list ", \"" calls[i] "\""
            }
    }
    if (list)
        sub(/"syscalls": \[/, "&{\"action\": \"SCMP_ACT_ALLOW\", \"names\": [" substr(list, 3) "]},", text)
    return text
}

function finish(    i, text, out) {
    if (lines == 0)
        return
    out = run "/" name "/config.json"
    text = additions()
    for (i = 1; i <= lines; i++) {
        if (runtime_default && inherit_at && i >= inherit_at && i <= inherit_end) {
            # As container runtimes have it since CVE-2022-24769: LinuxKit passes all of them on.
            if (i == inherit_end)
                print "            \"inheritable\": []" (line[i] ~ /,$/ ? "," : "") > out
        } else if (i == env_end) {
            # The last variable of the list has no comma yet; an empty list must not begin with one.
            printf "%s", (env_empty ? substr(text, 2) : text) > out
            print "\n" line[i] > out
        } else if (i + 1 == env_end) {
            printf "%s", line[i] > out
        } else if (i == root_at && root_read_only && line[i] !~ /,$/) {
            print "        \"readonly\": true," > out
            print line[i] > out
        } else if (runtime_default && i == resources_at && !devices_at) {
            # crun allows the usual ones (null, zero, tty, ...) after this; the machine's disk is not among them.
            print "        \"resources\": {\"devices\": [{\"allow\": false, \"access\": \"rwm\"}]" \
                (line[i] ~ /\{\},?$/ ? "}" (line[i] ~ /,$/ ? "," : "") : ",") > out
        } else
            print line[i] > out
        if (i == process_at && !env_end && text != "")
            print "        \"env\": [" substr(text, 2) "\n        ]," > out
        if (runtime_default && i == namespaces_at)
            # A container finds its own limits at /sys/fs/cgroup, as in Docker; LinuxKit has no key for it.
            print "            {\"type\": \"cgroup\"}," > out
        if (i == linux_at) {
            if (!cgroup_at)
                print "        \"cgroupsPath\": \"/pod/" name "/container\"," > out
            if (filtered && !seccomp_at)
                print "        \"seccomp\": " filter() "," > out
        }
    }
    close(out)
}

BEGIN {
    while ((getline variable < (run "/env")) > 0) {
        values[++variables] = variable
        names[variables] = substr(variable, 1, index(variable, "=") - 1)
        values_of[names[variables]] = substr(variable, index(variable, "=") + 1)
    }
    # Left as they are until they are wanted: a secret can be large, and what is for a file only is not used here.
    read_facts(run "/facts")
    read_facts(run "/secrets")
    profile = read_file("/usr/lib/i2kit/seccomp.json")
    sub(/\n$/, "", profile)
    unlocked["CAP_DAC_READ_SEARCH"] = "open_by_handle_at"
    unlocked["CAP_SYS_ADMIN"] = "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie" \
        " mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname" \
        " sethostname setns syslog umount umount2 unshare"
    unlocked["CAP_SYS_BOOT"] = "reboot"
    unlocked["CAP_SYS_MODULE"] = "delete_module finit_module init_module"
    unlocked["CAP_SYS_PACCT"] = "acct"
    unlocked["CAP_SYS_PTRACE"] = "kcmp pidfd_getfd process_madvise"
    unlocked["CAP_SYS_RAWIO"] = "ioperm iopl"
    unlocked["CAP_SYS_TIME"] = "clock_settime clock_settime64 settimeofday stime"
    unlocked["CAP_SYS_TTY_CONFIG"] = "vhangup"
    unlocked["CAP_SYSLOG"] = "syslog"
    unlocked["CAP_BPF"] = "bpf"
    unlocked["CAP_PERFMON"] = "perf_event_open"
}

FNR == 1 {
    finish()
    lines = process_at = linux_at = resources_at = cgroup_at = seccomp_at = runtime_default = 0
    env_at = env_end = env_empty = inherit_at = inherit_end = 0
    filtered = root_at = root_read_only = devices_at = in_bounding = 0
    split("", own)
    split("", bounding)
    split(FILENAME, part, "/")
    name = (part[3] == "onshutdown" ? "onshutdown-" : "") part[4]
    if (first && part[3] == "onboot")
        sub(/^[0-9]+-/, "", name)
    directory = "/" part[2] "/" part[3] "/" part[4]
}

FILENAME ~ /\/runtime\.json$/ {
    if (match($0, /^    "[a-zA-Z]+": /)) {
        split($0, part, "\"")
        section = part[2]
    } else if (/^        "/) {
        if (section == "mkdir")
            prepare("mkdir -p " quoted(value($0)))
        else if (section == "cgroups")
            prepare("mkdir -p " quoted("/sys/fs/cgroup/" value($0)))
    } else if (section != "mounts")
        next
    else if (/^        \{/) {
        type = source = options = layers = ""
    } else if (/^            "destination": /)
        destination = value($0)
    else if (/^            "type": /)
        type = value($0)
    else if (/^            "source": /)
        source = value($0)
    else if (/^                "lowerdir=/)
        layers = value($0)
    else if (/^                "/)
        options = options "," value($0)
    else if (/^        \}/)
        mount()
    next
}

{
    line[++lines] = index($0, "$(i2kit:") ? filled($0) : $0
}

# Most lines are deeper than anything of interest but the variables: not tried against the rest.
/^            / {
    if (/^            "bounding": \[$/)
        in_bounding = 1
    else if (in_bounding) {
        if (/^            \]/)
            in_bounding = 0
        else
            bounding[value($0)] = 1
    } else if (/^            "inheritable": \[$/)
        inherit_at = lines
    else if (resources_at && /^            "devices": \[$/)
        devices_at = lines
    else if (/^            \],?$/ && inherit_at && !inherit_end)
        inherit_end = lines
    else if (env_at && !env_end) {
        sub(/^ *"/, "")
        own[substr($0, 1, index($0, "=") - 1)] = 1
    }
    next
}

/^    "process": \{/ { process_at = lines }
/^    "linux": \{/   { linux_at = lines }
/^        "resources": \{/ { resources_at = lines }
/^        "seccomp":/ { seccomp_at = lines }
/^        "namespaces": \[$/ { namespaces_at = lines }
/"io.i2kit.seccomp": *"(runtime-default|unconfined)"/ { runtime_default = 1 }
/"io.i2kit.seccomp": *"runtime-default"/ { filtered = 1 }
/"io.i2kit.root": *"read-only"/ { root_read_only = 1 }

/^        "cgroupsPath":/ {
    cgroup_at = lines
    sub(/"cgroupsPath": *"[^"]*"/, "\"cgroupsPath\": \"/pod/" name "/container\"", line[lines])
}

# crun before 1.9 refuses a version after 1.0, and nothing newer is used.
/^    "ociVersion":/ { sub(/"ociVersion": *"[^"]*"/, "\"ociVersion\": \"1.0.2\"", line[lines]) }

/^        "path": "rootfs"/ { root_at = lines; sub(/"rootfs"/, json(directory "/rootfs"), line[lines]) }

/^        "env": \[\]/ {
    # Opened here, so that there is one way to add variables.
    env_empty = 1
    comma = /,$/ ? "," : ""
    line[lines] = "        \"env\": ["
    line[++lines] = "        ]" comma
    env_end = lines
    next
}

/^        "env": \[$/ { env_at = lines; next }

/^        \]/ && env_at && !env_end { env_end = lines }

END { finish() }
