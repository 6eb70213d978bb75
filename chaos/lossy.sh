#!/usr/bin/env bash
#
# The chaos test over a bad link: in a network namespace of its own, with loss,
# delay and reordering by tc netem on lo, or, where the kernel has no netem, by the
# test's own link (-lossy, a TUN device). What the machine does not allow is said in
# one line and is no failure.
#
#	chaos/lossy.sh -duration 1m -seed 7
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
	echo "skipped: $*"
	exit 0
}

for tool in unshare ip tc; do
	command -v "$tool" >/dev/null || skip "$tool is missing (packages util-linux and iproute2)"
done
map=()
if ! unshare --net true 2>/dev/null; then
	map=(--user --map-root-user)
	unshare "${map[@]}" --net true 2>/dev/null || skip "no network namespace is allowed here"
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
race=()
if [ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null; then
	race=(-race)
fi
go test -c -o "$tmp/chaos.test" ./chaos
go build "${race[@]}" -o "$tmp/" ./examples/... # what must be downloaded is, while there is a network

# A lost reset is not sent again: the server sees that its client has gone when
# its own timeouts come, the longest after 130 s.
# All programs at once, whatever processors there are: most of it is waiting.
arguments=(-test.parallel 8 -test.v -test.timeout 0 -settle 100s -clients 8 "$@")

cd chaos
# shellcheck disable=SC2016 # for the inner shell
unshare "${map[@]}" --net bash -c '
	set -euo pipefail
	test=$1
	shift
	ip link set lo mtu 1500 up
	if tc qdisc add dev lo root netem limit 10000 loss 2% duplicate 1% delay 2ms 2ms reorder 10% 2>/dev/null; then
		echo "link: tc netem on lo"
		exec "$test" "$@"
	fi
	echo "link: no netem in this kernel, so the test makes one"
	exec "$test" -lossy "$@"
' bash "$tmp/chaos.test" "${arguments[@]}"
