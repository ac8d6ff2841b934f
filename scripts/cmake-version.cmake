# Fails if this CMake is too old for the presets.
cmake_minimum_required(VERSION 3.25)
