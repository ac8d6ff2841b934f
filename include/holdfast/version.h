/* SPDX-License-Identifier: MIT */
/* The version of these headers, and of the library that runs. */
#ifndef HOLDFAST_VERSION_H
#define HOLDFAST_VERSION_H

#include "holdfast/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HF_VERSION "0.1.0"

/* The running library's version, as "major.minor.patch". Static; any thread. */
HF_API const char *hf_version(void);

#ifdef __cplusplus
}
#endif
#endif
