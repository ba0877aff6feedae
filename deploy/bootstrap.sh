#!/bin/sh
# Makes this checkout ready to run on Debian 12: tools, npm packages (Node 24 among them), the native addon, the BPF
# objects and a mounted bpffs. Silent and well under a second when there is nothing to do.
#
#   deploy/bootstrap.sh [--lab | --test]     --lab adds what the kernel lab needs (qemu), --test a browser
#
# - Idempotent; concurrent runs wait for each other (a lock on this very file, which is never written).
# - Writes nothing outside the checkout but through apt and npm.
# - Each failure says what failed and what to do.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# run WHAT HINT COMMAND…: quiet on success; on failure the last lines of the output, and the hint.
run() {
  what=$1 hint=$2
  shift 2
  if ! output=$("$@" 2>&1 9<&-); then
    printf '%s\n' "$output" | tail -n 30 >&2
    fail "$what failed (command: $*). $hint"
  fi
}

exec 9<"$root/deploy/bootstrap.sh"
if command -v flock >/dev/null && ! flock --nonblock 9; then
  say 'waiting for another bootstrap of this checkout …'
  flock 9
fi

# --- 1. npm packages, and Node 24 as one of them, beside what follows: neither needs the other -------------------------
command -v node >/dev/null && command -v npm >/dev/null || fail 'node (20 or later) and npm are needed: install them first.'

# npm's own record of what is installed against our lockfile; a package of another platform is absent by right.
packages_fresh() {
  [ -f node_modules/.package-lock.json ] || return 1
  [ ! package-lock.json -nt node_modules/.package-lock.json ] && return 0
  node -e '
    const read = (file) => JSON.parse(require("node:fs").readFileSync(file, "utf8")).packages;
    const want = read("package-lock.json"), have = read("node_modules/.package-lock.json");
    const stale = Object.keys(want).filter((path) => path && (have[path] ? have[path].version !== want[path].version : !want[path].optional));
    process.exit(stale.length ? 1 : 0);' && touch node_modules/.package-lock.json
}
npm_packages() {
  if ! packages_fresh; then
    say 'installing npm packages …'
    # No install scripts: the only one we need is that of `node` (below). better-sqlite3 brings its binary with it.
    run 'npm ci' 'Is the npm registry reachable?' \
      npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  fi
  if ! [ -x node_modules/node/bin/node ] || ! [ -e node_modules/.bin/node ]; then
    say 'fetching Node 24 …'
    run 'npm rebuild node' 'It fetches the npm package with the node binary for this platform.' \
      npm rebuild node --ignore-scripts=false --no-audit --no-fund --loglevel=error
    [ -x node_modules/node/bin/node ] || fail 'npm rebuild node ran, but node_modules/node/bin/node is missing: are install scripts forbidden by an npmrc?'
  fi
}
npm_packages &
npm_job=$!

# --- 2. Debian packages -----------------------------------------------------------------------------------------------
packages='clang-19 libbpf-dev libelf-dev zlib1g-dev make g++ bpftool iproute2 nftables openssl iperf3 iputils-ping curl jq
  tcpdump netcat-openbsd procps util-linux ca-certificates'
# Only where no kubectl is on PATH: other packages that bring one conflict with Debian's.
command -v kubectl >/dev/null || packages="$packages kubernetes-client"
[ "${1:-}" != --test ] || packages="$packages chromium-headless-shell"
[ "${1:-}" != --lab ] || packages="$packages qemu-system-x86 qemu-system-common kmod xz-utils busybox-static"

missing=
# shellcheck disable=SC2086 # a list of words
installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' $packages 2>/dev/null || true)
for package in $packages; do
  case "
$installed
" in
    *"
$package installed
"*) ;;
    *) missing="$missing $package" ;;
  esac
done

if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || fail "missing Debian packages:$missing. Run deploy/bootstrap.sh once as root."
  command -v apt-get >/dev/null || fail "missing packages:$missing, and there is no apt-get. Axoneme is built on Debian 12."
  export DEBIAN_FRONTEND=noninteractive
  say 'updating package lists …'
  run 'apt-get update' 'Is the network there, and are the sources in /etc/apt right?' \
    apt-get -qq -o DPkg::Lock::Timeout=300 update
  say "installing$missing …"
  # shellcheck disable=SC2086
  run 'apt-get install' 'Install the packages by hand, then run this again.' \
    apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install $missing
fi
wait "$npm_job" || exit 1

# --- 3. Native addon and BPF objects ----------------------------------------------------------------------------------
for part in native bpf; do
  if ! make --silent --question -C "$part" >/dev/null 2>&1; then
    say "building $part …"
    run "make -C $part" 'The output above is the compiler'"'"'s.' make --silent -C "$part"
  fi
done

# --- 4. The agent's code, compiled: an agent that must do it keeps the compiler in memory, 15 MB ------------------------
compiled=node_modules/.cache/compiled/agent.stamp
if ! [ -e "$compiled" ] || [ -n "$(find cli cluster datapath machines native observe policy reconcilers state \
  -name '*.ts' -newer "$compiled" -print -quit)" ]; then
  run 'cli/axoneme agent --check' 'The agent cannot load its own code: is the checkout complete?' \
    cli/axoneme agent --check
  touch "$compiled"
fi

# --- 5. bpffs, where maps and links are pinned ------------------------------------------------------------------------
if [ "$(id -u)" = 0 ] && ! mountpoint -q /sys/fs/bpf; then
  say 'mounting bpffs on /sys/fs/bpf …'
  run 'mounting bpffs' 'A container needs CAP_SYS_ADMIN and a writable /sys, or bpffs mounted from outside.' \
    mount -t bpf bpf /sys/fs/bpf
fi
