/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The conntrack clock: seconds since boot (and 300 s before it), by the tick; reading it costs a load and a division. */
#pragma once

#include "maps.h"

static __always_inline __u32 clock_seconds(void)
{
	return bpf_jiffies64() / config.hz;
}
