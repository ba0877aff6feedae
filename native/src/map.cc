// SPDX-License-Identifier: Apache-2.0
// Single operations on BPF maps, addressed by descriptor.
#include "map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

namespace axoneme {

uint32_t mapTypeByName(Napi::Env env, const std::string& name) {
  for (uint32_t type = 1;; type++) {
    const char* known = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type));
    if (!known) fail(env, "bpf(BPF_MAP_CREATE)", EINVAL, "map type " + name, "libbpf knows no such map type");
    if (name == known) return type;
  }
}

const char* mapTypeName(uint32_t type) {
  const char* name = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type));
  return name ? name : "unknown";
}

bpf_map_info readMapInfo(Napi::Env env, int fd) {
  bpf_map_info map{};
  uint32_t size = sizeof(map);
  if (bpf_obj_get_info_by_fd(fd, &map, &size) < 0) fail(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno, "map");
  return map;
}

size_t valueBytes(const bpf_map_info& map) {
  switch (map.type) {
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
      return static_cast<size_t>((map.value_size + 7) & ~7u) * libbpf_num_possible_cpus();
    default:
      return map.value_size;
  }
}

namespace {

Napi::Value mapCreate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = info[0].As<Napi::Object>();
  const std::string name = textOf(options.Get("name"));
  LIBBPF_OPTS(bpf_map_create_opts, create);
  if (options.Has("flags")) create.map_flags = u32Of(options.Get("flags"));
  if (options.Has("innerMapFd")) create.inner_map_fd = u32Of(options.Get("innerMapFd"));
  const auto type = static_cast<bpf_map_type>(mapTypeByName(env, textOf(options.Get("type"))));
  const int fd = bpf_map_create(type, name.substr(0, BPF_OBJ_NAME_LEN - 1).c_str(), u32Of(options.Get("keySize")),
                                u32Of(options.Get("valueSize")), u32Of(options.Get("maxEntries")), &create);
  if (fd < 0) fail(env, "bpf(BPF_MAP_CREATE)", errno, "map " + name);
  return Napi::Number::New(env, fd);
}

Napi::Value mapInfo(const Napi::CallbackInfo& info) {
  const bpf_map_info map = readMapInfo(info.Env(), intOf(info[0]));
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("id", map.id);
  result.Set("type", mapTypeName(map.type));
  result.Set("name", map.name);
  result.Set("keySize", map.key_size);
  result.Set("valueSize", map.value_size);
  result.Set("valueBytes", static_cast<double>(valueBytes(map)));
  result.Set("maxEntries", map.max_entries);
  result.Set("flags", map.map_flags);
  return result;
}

Napi::Value mapFdById(const Napi::CallbackInfo& info) {
  const int fd = bpf_map_get_fd_by_id(u32Of(info[0]));
  if (fd < 0) fail(info.Env(), "bpf(BPF_MAP_GET_FD_BY_ID)", errno, "map id " + std::to_string(u32Of(info[0])));
  return Napi::Number::New(info.Env(), fd);
}

// Sizes of key and value were checked by map.ts against the map's info.
Napi::Value mapLookup(const Napi::CallbackInfo& info) {
  if (bpf_map_lookup_elem(intOf(info[0]), bytesOf(info[1]).data, bytesOf(info[2]).data) == 0)
    return Napi::Boolean::New(info.Env(), true);
  if (errno != ENOENT) fail(info.Env(), "bpf(BPF_MAP_LOOKUP_ELEM)", errno, textOf(info[3]));
  return Napi::Boolean::New(info.Env(), false);
}

Napi::Value mapUpdate(const Napi::CallbackInfo& info) {
  const uint64_t flags = info[3].As<Napi::Number>().Int64Value();
  if (bpf_map_update_elem(intOf(info[0]), bytesOf(info[1]).data, bytesOf(info[2]).data, flags) < 0)
    fail(info.Env(), "bpf(BPF_MAP_UPDATE_ELEM)", errno, textOf(info[4]));
  return info.Env().Undefined();
}

Napi::Value mapDelete(const Napi::CallbackInfo& info) {
  if (bpf_map_delete_elem(intOf(info[0]), bytesOf(info[1]).data) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno != ENOENT) fail(info.Env(), "bpf(BPF_MAP_DELETE_ELEM)", errno, textOf(info[2]));
  return Napi::Boolean::New(info.Env(), false);
}

Napi::Value mapFreeze(const Napi::CallbackInfo& info) {
  if (bpf_map_freeze(intOf(info[0])) < 0) fail(info.Env(), "bpf(BPF_MAP_FREEZE)", errno, textOf(info[1]));
  return info.Env().Undefined();
}

Napi::Value possibleCpus(const Napi::CallbackInfo& info) {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) fail(info.Env(), "open", -cpus, "/sys/devices/system/cpu/possible");
  return Napi::Number::New(info.Env(), cpus);
}

}  // namespace

void defineMap(Napi::Object exports) {
  define(exports, "mapCreate", mapCreate);
  define(exports, "mapInfo", mapInfo);
  define(exports, "mapFdById", mapFdById);
  define(exports, "mapLookup", mapLookup);
  define(exports, "mapUpdate", mapUpdate);
  define(exports, "mapDelete", mapDelete);
  define(exports, "mapFreeze", mapFreeze);
  define(exports, "possibleCpus", possibleCpus);
}

}  // namespace axoneme
