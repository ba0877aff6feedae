// SPDX-License-Identifier: Apache-2.0
// Compares a pinned map with the one an object file declares.
#include "layout.h"
#include "map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

namespace axoneme {

namespace {

std::vector<Difference> differencesOf(const Layout& pinned, const Layout& wanted) {
  std::vector<Difference> differences;
  const auto compare = [&](const char* property, uint32_t is, uint32_t want) {
    if (is != want) differences.push_back({property, std::to_string(is), std::to_string(want)});
  };
  if (pinned.type != wanted.type) differences.push_back({"type", mapTypeName(pinned.type), mapTypeName(wanted.type)});
  compare("keySize", pinned.keySize, wanted.keySize);
  compare("valueSize", pinned.valueSize, wanted.valueSize);
  compare("maxEntries", pinned.maxEntries, wanted.maxEntries);
  compare("flags", pinned.flags, wanted.flags);
  return differences;
}

Fd firstInner(int outerFd, uint32_t keySize) {
  std::vector<uint8_t> key(keySize);
  uint32_t id = 0;
  if (bpf_map_get_next_key(outerFd, nullptr, key.data()) < 0 || bpf_map_lookup_elem(outerFd, key.data(), &id) < 0) return Fd();
  return Fd(bpf_map_get_fd_by_id(id));
}

}  // namespace

Layout layoutOf(const bpf_map_info& map) { return {map.type, map.key_size, map.value_size, map.max_entries, map.map_flags}; }

std::optional<Layout> layoutOf(const bpf_map* declared) {
  if (!declared) return std::nullopt;
  return Layout{bpf_map__type(declared), bpf_map__key_size(declared), bpf_map__value_size(declared), bpf_map__max_entries(declared), bpf_map__map_flags(declared)};
}

std::vector<Difference> compareMaps(Napi::Env env, int pinnedFd, const Layout& wanted, const std::optional<Layout>& wantedInner) {
  std::vector<Difference> differences = differencesOf(layoutOf(readMapInfo(env, pinnedFd)), wanted);
  if (!differences.empty() || !wantedInner) return differences;
  const Fd inner = firstInner(pinnedFd, wanted.keySize);
  if (!inner.valid()) return differences;
  const Layout pinnedInner = layoutOf(readMapInfo(env, inner.get()));
  // As the kernel has it (bpf_map_meta_equal): maps inside may be of any size, except plain arrays.
  const bool anySize = pinnedInner.type != BPF_MAP_TYPE_ARRAY || (pinnedInner.flags & BPF_F_INNER_MAP);
  for (const Difference& difference : differencesOf(pinnedInner, *wantedInner)) {
    if (anySize && std::string(difference.property) == "maxEntries") continue;
    const std::string property = std::string(difference.property) + " ";
    differences.push_back({"inner", property + difference.pinned, property + difference.wanted});
  }
  return differences;
}

std::string describe(const std::vector<Difference>& differences) {
  std::string text = "the pinned map has another layout:";
  for (const Difference& difference : differences)
    text += std::string(" ") + difference.property + " " + difference.pinned + ", wanted " + difference.wanted + ";";
  text.pop_back();
  return text;
}

}  // namespace axoneme
