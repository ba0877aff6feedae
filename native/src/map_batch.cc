// SPDX-License-Identifier: Apache-2.0
// Whole maps and many entries at once: the batch commands where the kernel has them, else entry by entry.
#include "map.h"

#include <algorithm>
#include <bpf/bpf.h>
#include <unordered_set>

namespace axoneme {

namespace {

constexpr uint32_t kBatchEntries = 4096;
constexpr int kErrnoNotSupported = 524;  // ENOTSUPP: this map type has no batch commands
constexpr int kInterruptedMax = 64;

bool batchMissing(int code) { return code == EINVAL || code == kErrnoNotSupported || code == ENOTSUP; }

// Collects entries; with `unique`, an entry whose key was seen before is left out.
class Entries {
 public:
  Entries(size_t keySize, size_t valueSize, bool unique) : keySize_(keySize), valueSize_(valueSize), unique_(unique) {}

  bool add(const uint8_t* key, const uint8_t* value) {
    if (unique_ && !seen_.emplace(reinterpret_cast<const char*>(key), keySize_).second) return false;
    keys.insert(keys.end(), key, key + keySize_);
    values.insert(values.end(), value, value + valueSize_);
    count++;
    return true;
  }
  bool has(const uint8_t* key) const { return seen_.contains(std::string(reinterpret_cast<const char*>(key), keySize_)); }

  std::vector<uint8_t> keys, values;
  uint32_t count = 0;

 private:
  size_t keySize_, valueSize_;
  bool unique_;
  std::unordered_set<std::string> seen_;
};

// Returns 0, or the errno of a failure; EINVAL or ENOTSUPP before any entry means: no batch here.
int scanBatches(int fd, const bpf_map_info& map, Entries& entries) {
  const size_t valueSize = valueBytes(map);
  // A hash map's cursor is a bucket number of 4 bytes, other maps' a key.
  std::vector<uint8_t> cursor(std::max<size_t>(map.key_size, 8)), next(cursor.size());
  uint32_t room = std::min(kBatchEntries, std::max(map.max_entries, 1u));
  std::vector<uint8_t> keys, values;
  bool first = true;
  for (int interrupted = 0;;) {
    keys.resize(static_cast<size_t>(room) * map.key_size);
    values.resize(room * valueSize);
    uint32_t count = room;
    const int result = bpf_map_lookup_batch(fd, first ? nullptr : cursor.data(), next.data(), keys.data(), values.data(), &count, nullptr);
    const int code = result < 0 ? errno : 0;
    if (code == ENOSPC) {  // one bucket holds more entries than there was room for
      room *= 2;
      continue;
    }
    if (code == EINTR && count == 0) {  // the next key was deleted meanwhile
      if (++interrupted > kInterruptedMax) return EINTR;
      continue;
    }
    if (code != 0 && code != ENOENT && code != EINTR) return code;
    for (uint32_t i = 0; i < std::min(count, room); i++) entries.add(&keys[i * map.key_size], &values[i * valueSize]);
    if (code == ENOENT) return 0;
    first = false;
    cursor.swap(next);
  }
}

/*
 * When the present key is deleted meanwhile, get_next_key starts over from the first one. Keys seen before are
 * stepped over then; the budget ends a walk that others keep throwing back.
 */
int scanKeys(int fd, const bpf_map_info& map, Entries& entries) {
  std::vector<uint8_t> key(map.key_size), next(map.key_size), value(valueBytes(map));
  uint64_t budget = 16ull * map.max_entries + 1024;
  bool first = true;
  while (budget-- > 0) {
    if (bpf_map_get_next_key(fd, first ? nullptr : key.data(), next.data()) < 0) return errno == ENOENT ? 0 : errno;
    first = false;
    key.swap(next);
    if (entries.has(key.data())) continue;
    if (bpf_map_lookup_elem(fd, key.data(), value.data()) == 0) entries.add(key.data(), value.data());
    else if (errno != ENOENT) return errno;
  }
  return 0;
}

Napi::Value mapScan(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = intOf(info[0]);
  const bpf_map_info map = readMapInfo(env, fd);
  const bool hash = map.type == BPF_MAP_TYPE_HASH || map.type == BPF_MAP_TYPE_PERCPU_HASH || map.type == BPF_MAP_TYPE_LRU_HASH ||
                    map.type == BPF_MAP_TYPE_LRU_PERCPU_HASH || map.type == BPF_MAP_TYPE_HASH_OF_MAPS;
  const bool batched = hash || map.type == BPF_MAP_TYPE_ARRAY || map.type == BPF_MAP_TYPE_PERCPU_ARRAY;
  Entries entries(map.key_size, valueBytes(map), !batched);
  // A trie's batch command is get_next_key in the kernel and can hand out a key twice, or without end: walk it here.
  int code = batched ? scanBatches(fd, map, entries) : EINVAL;
  if (batchMissing(code) && entries.count == 0) {
    entries = Entries(map.key_size, valueBytes(map), true);
    code = scanKeys(fd, map, entries);
  }
  if (code != 0) fail(env, "bpf(BPF_MAP_LOOKUP_BATCH)", code, textOf(info[1]));
  Napi::Object result = Napi::Object::New(env);
  result.Set("keys", Napi::Buffer<uint8_t>::Copy(env, entries.keys.data(), entries.keys.size()));
  result.Set("values", Napi::Buffer<uint8_t>::Copy(env, entries.values.data(), entries.values.size()));
  result.Set("count", entries.count);
  return result;
}

// One step of a walk through a hash map: the entries of the next buckets, and the cursor that goes on from there.
Napi::Value mapScanChunk(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = intOf(info[0]);
  const bpf_map_info map = readMapInfo(env, fd);
  std::vector<uint8_t> cursor(std::max<size_t>(map.key_size, 8)), next(cursor.size()), keys, values;
  const bool first = info[1].IsUndefined();
  if (!first) memcpy(cursor.data(), bytesOf(info[1]).data, std::min(bytesOf(info[1]).size, cursor.size()));
  const size_t valueSize = valueBytes(map);
  int code = ENOSPC;
  uint32_t count = 0;
  for (uint32_t room = std::max(u32Of(info[2]), 1u); code == ENOSPC; room *= 2) {  // a bucket may hold more than there is room for
    keys.resize(static_cast<size_t>(room) * map.key_size);
    values.resize(room * valueSize);
    count = room;
    code = bpf_map_lookup_batch(fd, first ? nullptr : cursor.data(), next.data(), keys.data(), values.data(), &count, nullptr) < 0 ? errno : 0;
  }
  if (code != 0 && code != ENOENT) fail(env, "bpf(BPF_MAP_LOOKUP_BATCH)", code, textOf(info[3]));
  Napi::Object result = Napi::Object::New(env);
  result.Set("keys", Napi::Buffer<uint8_t>::Copy(env, keys.data(), static_cast<size_t>(count) * map.key_size));
  result.Set("values", Napi::Buffer<uint8_t>::Copy(env, values.data(), count * valueSize));
  result.Set("count", count);
  if (code == 0) result.Set("next", Napi::Buffer<uint8_t>::Copy(env, next.data(), next.size()));
  return result;
}

Napi::Value mapUpdateBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = intOf(info[0]);
  const Bytes keys = bytesOf(info[1]), values = bytesOf(info[2]);
  const uint32_t count = u32Of(info[3]);
  const uint64_t flags = info[4].As<Napi::Number>().Int64Value();
  if (count == 0) return env.Undefined();
  const size_t keySize = keys.size / count, valueSize = values.size / count;
  LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = flags);
  uint32_t done = count;
  if (bpf_map_update_batch(fd, keys.data, values.data, &done, &options) == 0) return env.Undefined();
  if (!batchMissing(errno)) fail(env, "bpf(BPF_MAP_UPDATE_BATCH)", errno, textOf(info[5]));
  for (uint32_t i = 0; i < count; i++)
    if (bpf_map_update_elem(fd, keys.data + i * keySize, values.data + i * valueSize, flags) < 0)
      fail(env, "bpf(BPF_MAP_UPDATE_ELEM)", errno, textOf(info[5]));
  return env.Undefined();
}

Napi::Value mapDeleteBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = intOf(info[0]);
  const Bytes keys = bytesOf(info[1]);
  const uint32_t count = u32Of(info[2]);
  if (count == 0) return Napi::Number::New(env, 0);
  const size_t keySize = keys.size / count;
  uint32_t deleted = 0, at = 0;
  while (at < count) {
    uint32_t done = count - at;
    const int result = bpf_map_delete_batch(fd, keys.data + at * keySize, &done, nullptr);
    const int code = result < 0 ? errno : 0;
    if (code == 0) {
      deleted += count - at;
      break;
    }
    if (batchMissing(code)) {  // one by one
      for (; at < count; at++) {
        if (bpf_map_delete_elem(fd, keys.data + at * keySize) == 0) deleted++;
        else if (errno != ENOENT) fail(env, "bpf(BPF_MAP_DELETE_ELEM)", errno, textOf(info[3]));
      }
      break;
    }
    if (code != ENOENT) fail(env, "bpf(BPF_MAP_DELETE_BATCH)", code, textOf(info[3]));
    deleted += done;  // the kernel stops at an absent key: step over it
    at += done + 1;
  }
  return Napi::Number::New(env, deleted);
}

}  // namespace

void defineMapBatch(Napi::Object exports) {
  define(exports, "mapScan", mapScan);
  define(exports, "mapScanChunk", mapScanChunk);
  define(exports, "mapUpdateBatch", mapUpdateBatch);
  define(exports, "mapDeleteBatch", mapDeleteBatch);
}

}  // namespace axoneme
