#!/bin/sh
# Lists every C and C++ source of the project, for the formatter.
set -eu
cd "$(dirname "$0")/.."
find include src tools examples bench tests -name '*.[ch]' -o -name '*.cpp' -o -name '*.hpp' | sort
