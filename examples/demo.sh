#!/bin/sh
# From nothing to nginx in three virtual machines, without an account anywhere:
#   1. an nginx image is made from the distribution's packages and put into a registry on loopback,
#   2. `i2kit deploy` turns it into a machine image and starts three virtual machines,
#   3. each of them answers a request.
# `demo.sh stop` takes all of it down. REGISTRY_PORT chooses another port for the registry.
set -eu
cd "$(dirname "$0")/.."

i2kit=.venv/bin/i2kit
port=${REGISTRY_PORT:-5005}
state=${XDG_STATE_HOME:-$HOME/.local/state}/i2kit-demo
registry=http://127.0.0.1:$port/v2/
configuration=$state/registry-$port.yml

say() { printf '\n%s\n' "$*"; }
fail() { printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2; exit 1; }

# The process that serves the registry of a configuration file, if it still runs.
process_of() {
    pid=$(cat "$1.pid" 2>/dev/null) || return 1
    grep --quiet --fixed-strings "$1" "/proc/$pid/cmdline" 2>/dev/null || return 1
    echo "$pid"
}

start_registry() {
    process_of "$configuration" >/dev/null && return
    if curl --silent --max-time 2 --output /dev/null "$registry"; then
        fail "port $port of this machine is in use" "choose another for the registry: make demo REGISTRY_PORT=5006"
    fi
    mkdir -p "$state/registry"
    cat >"$configuration" <<YAML
version: 0.1
log: { level: warn }
storage: { filesystem: { rootdirectory: $state/registry } }
http: { addr: 127.0.0.1:$port }
YAML
    setsid docker-registry serve "$configuration" </dev/null >"$state/registry.log" 2>&1 &
    pid=$!
    echo "$pid" >"$configuration.pid"
    for _ in $(seq 100); do
        curl --silent --fail --output /dev/null "$registry" && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 3 "$state/registry.log" >&2
    fail "the registry did not start on port $port" "choose another port: make demo REGISTRY_PORT=5006"
}

# The command that deploys an example: as it is, unless the registry had to go to another port.
command_for() {
    if [ "$port" = 5005 ]; then
        echo "$i2kit deploy -f $1"
    else
        echo "sed s/:5005/:$port/ $1 | $i2kit deploy -f -"
    fi
}

deploy() {
    command=$(command_for examples/nginx.yml)
    say "\$ $command" >&2
    sh -c "$command"
}

stop() {
    failed=0
    # The registry goes in any case.
    [ ! -x "$i2kit" ] || $i2kit destroy nginx-deployment || failed=$?
    for configuration in "$state"/registry-*.yml; do
        if pid=$(process_of "$configuration"); then
            kill "$pid"
            echo "the demo's registry is stopped"
        fi
    done
    rm -rf "$state"
    return $failed
}

demo() {
    say "1. An nginx image of the distribution's packages, in a registry on 127.0.0.1:$port"
    mkdir -p "$state"
    start_registry
    .venv/bin/python examples/nginx-image/build.py "$state/nginx"
    # No login: where root has used containers, others may not even look for theirs in /run/containers.
    skopeo --insecure-policy copy --quiet --dest-tls-verify=false --dest-no-creds \
        "oci:$state/nginx:stable" "docker://127.0.0.1:$port/nginx:stable"
    curl --silent --fail "${registry}nginx/tags/list"

    say "2. The manifest, and the one command"
    cat examples/nginx.yml
    url=$(deploy)
    echo "$url"

    say "3. Three virtual machines behind one address"
    answered=
    for _ in $(seq 30); do
        name=$(curl --silent --show-error --fail --max-time 10 "$url/hostname")
        echo "\$ curl $url/hostname
$name"
        case " $answered " in *" $name "*) ;; *) answered="$answered $name" ;; esac
        # shellcheck disable=SC2086 # counts the words
        set -- $answered
        [ $# -lt 3 ] || break
    done
    [ $# -ge 3 ] || fail "only these answered:$answered" "see $i2kit status nginx-deployment"

    say "\$ $i2kit status nginx-deployment"
    $i2kit status nginx-deployment

    say "Once more: nothing has changed, so nothing is built and nothing replaced"
    deploy >/dev/null

    say "The three virtual machines stay up. Go on with
  curl $url
  $i2kit logs nginx-deployment
  $(command_for examples/two-containers.yml)
  $i2kit destroy nginx-deployment
  make demo-stop        (destroys it and stops the registry)"
}

case ${1:-} in
    stop) stop ;;
    '') demo ;;
    *) fail "unknown argument: $1" "demo.sh, or demo.sh stop" ;;
esac
