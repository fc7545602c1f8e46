#!/bin/sh
role=/var/lib/astara/i/conntrackd/role
tell() { /usr/sbin/conntrackd -C /var/lib/astara/i/conntrackd/conntrackd.conf "$@"; }
case "$1" in
active) echo active > "$role"; tell -R; tell -B ;;
standby) echo standby > "$role"; tell -f internal; tell -n ;;
refresh) [ "$(cat "$role")" = active ] || tell -n ;;
again) [ "$(cat "$role")" = active ] || { tell -f internal; tell -n; } ;;
esac > /dev/null 2>&1
exit 0
