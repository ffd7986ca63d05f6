#!/bin/sh
# Whether the container works: builds it, starts it, and asks it. What it started it leaves there, most of
# all when something is wrong.
#
#   packaging/docker/test.sh [--dev] [--skip-build]
#
# Exit status: 0 all is well, 1 something is not.
# shellcheck disable=SC2317 # functions are called by their names in `check`
set -u
cd "$(dirname "$0")/../.." || exit 1

build=true setup=''
for argument; do
    case $argument in
        --dev) setup=--dev ;;
        --skip-build) build=false ;;
        *) echo "usage: $0 [--dev] [--skip-build]" >&2; exit 1 ;;
    esac
done

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    green=$(printf '\033[32m') red=$(printf '\033[31m') yellow=$(printf '\033[33m') plain=$(printf '\033[0m')
else
    green='' red='' yellow='' plain=''
fi
passed=0 failed=0 skipped=0
pass() { passed=$((passed + 1)); echo "${green}ok${plain}       $1"; }
skip() { skipped=$((skipped + 1)); echo "${yellow}skipped${plain}  $1"; }
fail() {
    failed=$((failed + 1))
    echo "${red}failed${plain}   $1"
    [ -z "${2:-}" ] || echo "$2" | tail -n 5 | sed 's/^/         /'
}

finish() {
    echo
    if [ "$failed" -eq 0 ]; then
        echo "${green}$passed passed${plain}, $skipped skipped; the services are up: $compose down ends them"
        exit 0
    fi
    echo "${red}$failed failed${plain}, $passed passed, $skipped skipped; the services are up, to look at:"
    echo "    $compose logs magi"
    echo "    $compose exec magi magictl check"
    exit 1
}

# What must be so for the rest to make sense.
need() {
    what=$1
    shift
    if output=$("$@" 2>&1); then pass "$what"; else fail "$what" "$output"; finish; fi
}

check() {
    what=$1
    shift
    if output=$("$@" 2>&1); then pass "$what"; else fail "$what" "$output"; fi
}

command -v curl >/dev/null || { echo "error    there is no curl" >&2; exit 1; }
export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
if docker compose version >/dev/null 2>&1; then
    compose='docker compose'
    compose() { docker compose "$@"; }
else
    compose=docker-compose
    compose() { docker-compose "$@"; }
fi
magi() { compose exec -T magi "$@"; }
setting() {
    value=$(sed -n "s/^$1=//p" .env | tail -n 1)
    echo "${value:-$2}"
}

if [ ! -f .env ] || [ -n "$setup" ]; then
    # It builds as well.
    need "setup.sh" packaging/docker/setup.sh ${setup:+"$setup"}
elif $build; then
    need "the image is built" compose build
fi

need "the services are started" compose up -d
container=$(compose ps -q magi)
key=$(setting MAGI_API_KEY '')
port=$(setting BACKEND_PORT 8000)
url=http://127.0.0.1:$port

inspect() { docker inspect --format "$1" "$container"; }
healthy() {
    tries=0
    until [ "$(inspect '{{.State.Health.Status}}')" = healthy ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 60 ] || [ "$(inspect '{{.State.Running}}')" != true ]; then
            compose logs --tail 5 magi
            return 1
        fi
        sleep 1
    done
}
need "magi is healthy" healthy

# The answer to a request with the key, which is not in argv, where everybody could read it.
get() {
    answer=$(printf 'header = "Authorization: Bearer %s"\n' "$key" |
        curl -sS --max-time 60 -w '\n%{http_code}' -K - "$@") || return
    echo "$answer" | sed '$d'
    [ "$(echo "$answer" | tail -n 1)" = 200 ]
}
status_of() { curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$@"; }

for path in /health /v1/models /api/models/registry /api/models/servers /api/models/profiles \
    /api/models/status /metrics /openapi.json /docs; do
    check "GET $path" get "$url$path"
done
refuses() { [ "$(status_of "$url/v1/models")" = 401 ]; }
check "the gateway asks for a key" refuses
ready() {
    tries=0
    until get "$url/health/ready"; do
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || return 1
        sleep 1
    done
}
check "every server that should run is ready" ready

# The first server of those that chat.
server=$(get "$url/v1/models" | tr ',{' '\n' | sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' | head -n 1)
if [ -n "$server" ]; then
    answers() {
        get "$url/v1/chat/completions" -d "{\"model\": \"$server\", \"max_tokens\": 4,
            \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}"
    }
    check "$server answers" answers
else
    skip "no model is served: see $compose exec magi magictl models list"
fi

check "magictl status" magi magictl status
check "magictl models rescan" magi magictl models rescan
has_models() { magi magictl models list -o json | grep -q '"id"'; }
check "models are found" has_models
not_root() { [ "$(magi id -u)" != 0 ]; }
check "nothing runs as root" not_root
read_only() { ! magi touch /models/x /usr/x 2>/dev/null; }
check "models and the image are read-only" read_only
loopback() { ! docker port "$container" | grep -v ' 127\.0\.0\.1:'; }
check "all ports are bound to this machine alone" loopback
check "magictl check" magi magictl check
finish
