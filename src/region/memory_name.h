/* SPDX-License-Identifier: MIT */
/* What is a name of shared memory, for whoever has to know before it is used. */
#ifndef HF_REGION_MEMORY_NAME_H
#define HF_REGION_MEMORY_NAME_H

#define memory_check_name hf_memory_check_name

/* 0, -EINVAL or -ENAMETOOLONG. */
int memory_check_name(const char *name);

#endif
