#!/bin/sh
# Gets the container ready: checks what it takes, writes .env with a key, makes the folder of the
# configuration and builds the image. Run again it changes nothing that is there.
#
#   packaging/docker/setup.sh          for use
#   packaging/docker/setup.sh --dev    for working on magi: with the programs that cargo built here
#
# MAGI_MODELS_DIR and LLAMA_SERVER_DIR in the environment say where models and a llama-server are.
# Exit status: 0 ready, 1 something is missing or failed.
set -eu
cd "$(dirname "$0")/../.."
# The user of the container has to read the configuration.
umask 022

here=packaging/docker
dev=false
case "${1:-}" in
    '') ;;
    --dev) dev=true ;;
    *) echo "usage: $0 [--dev]" >&2; exit 1 ;;
esac

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    green=$(printf '\033[32m') yellow=$(printf '\033[33m') red=$(printf '\033[31m') plain=$(printf '\033[0m')
else
    green='' yellow='' red='' plain=''
fi
ok() { echo "${green}ok${plain}       $1"; }
warn() { echo "${yellow}warning${plain}  $1"; }
fail() {
    echo "${red}error${plain}    $1" >&2
    [ -z "${2:-}" ] || echo "         $2" >&2
    exit 1
}

# The value of a variable in .env.
setting() { sed -n "s/^$1=//p" .env 2>/dev/null | tail -n 1; }

# Writes a variable into .env, which has a key in it.
put() {
    others=$(grep -v "^$1=" .env || true)
    printf '%s\n%s=%s\n' "$others" "$1" "$2" > .env
}

check_docker() {
    command -v docker >/dev/null || fail "there is no docker" "see https://docs.docker.com/engine/install"
    docker info >/dev/null 2>&1 ||
        fail "docker does not answer" "start it, or join the group docker: docker info says more"
    ok "docker $(docker version --format '{{.Server.Version}}')"
    if docker compose version >/dev/null 2>&1; then
        compose='docker compose'
    elif command -v docker-compose >/dev/null; then
        compose=docker-compose
    else
        fail "there is no docker compose" "install docker-compose-plugin, or docker-compose 1.29"
    fi
    ok "$compose $($compose version --short)"
}

check_models() {
    models=${MAGI_MODELS_DIR:-$(setting MAGI_MODELS_DIR)}
    models=${models:-${PRAXIS_MODEL_PATH:-$HOME/models}}
    [ -d "$models" ] || fail "there is no folder of models at $models" \
        "name it: MAGI_MODELS_DIR=/path/to/models $0"
    models=$(cd "$models" && pwd)
    count=$(find -L "$models" -name '*.gguf' -type f 2>/dev/null | wc -l)
    [ "$count" -gt 0 ] || fail "there is no GGUF file in $models" \
        "copy one there, or name another folder: MAGI_MODELS_DIR=/path/to/models $0"
    ok "$models has $((count)) GGUF files"
    closed=$(find -L "$models" -name '*.gguf' -type f ! -perm -o=r 2>/dev/null | head -n 1)
    [ -z "$closed" ] ||
        warn "the user of the container cannot read $closed: chmod o+r, or setfacl -m u:10001:r"
}

check_llama_server() {
    llama=${LLAMA_SERVER_DIR:-$(setting LLAMA_SERVER_DIR)}
    if [ -z "$llama" ]; then
        ok "a llama-server is built into the image; LLAMA_SERVER_DIR names one to use instead"
        return
    fi
    [ -x "$llama/llama-server" ] || fail "there is no llama-server in $llama" \
        "LLAMA_SERVER_DIR is the folder that has it; without it one is built into the image"
    llama=$(cd "$llama" && pwd)
    ok "$llama/llama-server"
}

write_env() {
    if [ ! -f .env ]; then
        (umask 077 && cp $here/.env.example .env)
        ok ".env is written, with a key"
    fi
    put MAGI_MODELS_DIR "$models"
    [ -n "$(setting MAGI_API_KEY)" ] || put MAGI_API_KEY "sk-magi-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
    files=docker-compose.yml
    if [ -n "$llama" ]; then
        put LLAMA_SERVER_DIR "$llama"
        put LLAMA_BUILD mounted
        files=$files:$here/mounted.yml
    fi
    if $dev; then
        put MAGI_BUILD prebuilt
        files=$files:$here/dev.yml
    fi
    [ ! -f docker-compose.override.yml ] || files=$files:docker-compose.override.yml
    put COMPOSE_FILE "$files"
    # docker refuses more processors than it has.
    cpus=$(docker info --format '{{.NCPU}}')
    [ "$cpus" -ge 4 ] || [ -n "$(setting MAGI_CPUS)" ] || put MAGI_CPUS "$cpus"
}

make_config() {
    config=$(setting MAGI_CONFIG_DIR)
    config=${config:-$here/config}
    mkdir -p "$config/profiles"
    [ -f "$config/magid.toml" ] || cp $here/magid.toml "$config/"
    [ -n "$(ls "$config/profiles")" ] || cp config/profiles/*.toml "$config/profiles/"
    [ -d "$config/schema" ] || cp -r config/schema "$config/"
    ok "$config has magid.toml and profiles"
}

# The programs that cargo built on this machine, for an image that needs no Rust.
copy_programs() {
    bin=${MAGI_BIN_DIR:-target/debug}
    [ -n "${MAGI_BIN_DIR:-}" ] || cargo build --locked -p magid -p magi-gateway -p magictl
    mkdir -p $here/prebuilt
    cp "$bin/magid" "$bin/magi-gateway" "$bin/magictl" $here/prebuilt/
    ok "programs of $bin"
}

build() {
    export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
    $compose build || fail "the image cannot be built"
    ok "the image is built"
    # As magid finds it: a variable of this shell wins over .env.
    # shellcheck disable=SC2016 # it is the container's
    $compose run --rm --no-deps magi sh -c '"$LLAMA_SERVER_PATH" --version' >/dev/null 2>&1 ||
        fail "${LLAMA_SERVER_PATH:-/opt/llama/llama-server} does not run in the container" \
            "unset LLAMA_SERVER_PATH; or it needs other libraries: empty LLAMA_SERVER_DIR in .env to have one built"
    ok "llama-server runs in it"
}

setting_or() {
    value=$(setting "$1")
    echo "${value:-$2}"
}

check_docker
check_models
check_llama_server
write_env
make_config
[ "$(setting MAGI_BUILD)" != prebuilt ] || copy_programs
build

port=$(setting_or BACKEND_PORT 8000)
cat <<END

Next:
    $compose run --rm magi magictl models rescan    # which models there are
    $compose up -d                                  # the fleet, and the gateway at http://127.0.0.1:$port
    packaging/docker/test.sh --skip-build           # whether all is well
    $compose exec magi magictl status

The key is MAGI_API_KEY in .env. Profiles are in $config/profiles: saving one applies it.
END
