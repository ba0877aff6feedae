// SPDX-License-Identifier: Apache-2.0
// Facts about BPF maps that several topics need.
#pragma once
#include "support.h"

#include <linux/bpf.h>

namespace axoneme {

uint32_t mapTypeByName(Napi::Env env, const std::string& name);
const char* mapTypeName(uint32_t type);
bpf_map_info readMapInfo(Napi::Env env, int fd);

// Bytes of one value as the system call copies it: per-CPU maps hold an 8-byte aligned value for each possible CPU.
size_t valueBytes(const bpf_map_info& map);

}  // namespace axoneme
