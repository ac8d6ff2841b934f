#!/bin/sh
# What is no number is refused with the usage, and nothing is done. usage: numbers.sh PROGRAM
set -eu
for option in --seed --seconds --kills; do
    for number in -3 +3 ' 3' 3x '' 99999999999999999999; do
        status=0
        said=$(timeout 5 "$1" --seconds 1 $option "$number" 2>&1) || status=$?
        case $status:$said in
        2:usage:*) ;;
        *)
            echo "$option '$number': $status: $said"
            exit 1
            ;;
        esac
    done
done
