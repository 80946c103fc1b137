#!/bin/sh
# `curl.sh HTTP CA URL…`: HTTP is 1 or 2 (without TLS: by prior knowledge).
set -eu
http=$1 ca=$2
shift 2

ask() {
    answer=$(curl -sS --max-time 20 --noproxy '*' --cacert "$ca" $version -w '\n%{http_code}' "$@")
    status=$(echo "$answer" | tail -n 1)
    body=$(echo "$answer" | sed '$d')
    printf '[%s,%s]' "$status" "${body:-null}"
}

for url in "$@"; do
    case $http:$url in
        1:*) version=--http1.1 ;;
        2:https:*) version=--http2 ;;
        2:*) version=--http2-prior-knowledge ;;
    esac
    printf '['
    ask "$url/orders/1"; printf ,
    ask --json '{"item":"tea","n":1}' "$url/orders"; printf ,
    head -c 300000 /dev/zero | tr '\0' s | ask -T - -H 'Content-Type: application/octet-stream' "$url/orders/1/file"; printf ,
    ask -d 'a=1&b=2' "$url/denied"; printf ,
    ask -X DELETE "$url/orders/1"
    printf ']\n'
done
