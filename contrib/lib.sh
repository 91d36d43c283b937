# Shell functions shared by quickstart and test; sourced, not run.

# packages PACKAGE... installs what is missing, asking apt for new lists only when it has to.
packages() {
	local p missing=()
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "    apt installs: ${missing[*]}"
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
	local log
	log=$(mktemp)
	if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
		"${apt[@]}" update >>"$log" 2>&1 || true
		if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
			tail -20 "$log" >&2
			rm -f "$log"
			echo "apt could not install ${missing[*]}" >&2
			return 1
		fi
	fi
	rm -f "$log"
}

# find_go puts Go into PATH, also where sudo took it out, and complains when there is none.
find_go() {
	local d
	for d in "" /usr/local/go/bin /usr/lib/go/bin "${SUDO_USER:+$(getent passwd "$SUDO_USER" | cut -d: -f6)/go/bin}" "$HOME/go/bin"; do
		if [ -n "$d" ] && [ -x "$d/go" ] && ! command -v go >/dev/null; then PATH=$d:$PATH; fi
	done
	export PATH
	command -v go >/dev/null || { echo "Go is missing: install it from https://go.dev/dl" >&2; return 1; }
}
