// SPDX-License-Identifier: Apache-2.0
// What two maps must have in common for one to take the other's place.
#pragma once
#include "support.h"

#include <linux/bpf.h>
#include <optional>

struct bpf_map;

namespace axoneme {

struct Layout {
  uint32_t type, keySize, valueSize, maxEntries, flags;
};

Layout layoutOf(const bpf_map_info& map);
std::optional<Layout> layoutOf(const bpf_map* declared);  // null: none

// An inner map's layout is seen only through an entry; an empty map-in-map passes.
std::vector<Difference> compareMaps(Napi::Env env, int pinnedFd, const Layout& wanted, const std::optional<Layout>& wantedInner);
std::string describe(const std::vector<Difference>& differences);

}  // namespace axoneme
