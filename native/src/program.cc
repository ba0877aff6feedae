// SPDX-License-Identifier: Apache-2.0
// Loaded programs: information, test runs, and struct __sk_buff as their context.
#include "support.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

namespace axoneme {

namespace {

constexpr size_t kGrowthMax = 512;  // room for headers a program adds

bpf_prog_info readInfo(Napi::Env env, int fd, std::vector<uint32_t>* mapIds = nullptr) {
  bpf_prog_info program{};
  uint32_t size = sizeof(program);
  if (bpf_obj_get_info_by_fd(fd, &program, &size) < 0) fail(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno, "program");
  if (!mapIds || program.nr_map_ids == 0) return program;
  mapIds->resize(program.nr_map_ids);
  bpf_prog_info again{};
  again.nr_map_ids = program.nr_map_ids;
  again.map_ids = reinterpret_cast<uintptr_t>(mapIds->data());
  size = sizeof(again);
  if (bpf_obj_get_info_by_fd(fd, &again, &size) < 0) fail(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno, "program");
  return program;
}

Napi::Value programInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<uint32_t> mapIds;
  const bpf_prog_info program = readInfo(env, intOf(info[0]), &mapIds);
  char tag[2 * BPF_TAG_SIZE + 1];
  for (size_t i = 0; i < BPF_TAG_SIZE; i++) snprintf(tag + 2 * i, 3, "%02x", program.tag[i]);
  const char* type = libbpf_bpf_prog_type_str(static_cast<bpf_prog_type>(program.type));
  Napi::Array maps = Napi::Array::New(env);
  for (const uint32_t id : mapIds) maps.Set(maps.Length(), id);
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", program.id);
  result.Set("tag", tag);
  result.Set("type", type ? type : "unknown");
  result.Set("name", program.name);
  result.Set("translatedBytes", program.xlated_prog_len);
  result.Set("jitedBytes", program.jited_prog_len);
  result.Set("verifiedInstructions", program.verified_insns);
  result.Set("mapIds", maps);
  return result;
}

Napi::Value programStats(const Napi::CallbackInfo& info) {
  const bpf_prog_info program = readInfo(info.Env(), intOf(info[0]));
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("runTimeNs", Napi::BigInt::New(info.Env(), static_cast<uint64_t>(program.run_time_ns)));
  result.Set("runCount", Napi::BigInt::New(info.Env(), static_cast<uint64_t>(program.run_cnt)));
  return result;
}

Napi::Value programFdById(const Napi::CallbackInfo& info) {
  const int fd = bpf_prog_get_fd_by_id(u32Of(info[0]));
  if (fd < 0) fail(info.Env(), "bpf(BPF_PROG_GET_FD_BY_ID)", errno, "program id " + std::to_string(u32Of(info[0])));
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value programTestRun(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = info[1].As<Napi::Object>();
  LIBBPF_OPTS(bpf_test_run_opts, run);
  std::vector<uint8_t> dataOut, ctxOut;
  if (const Napi::Value data = options.Get("data"); !data.IsUndefined()) {
    const Bytes bytes = bytesOf(data);
    const Napi::Value outSize = options.Get("outSize");
    dataOut.resize(outSize.IsUndefined() ? bytes.size + kGrowthMax : u32Of(outSize));
    run.data_in = bytes.data;
    run.data_size_in = bytes.size;
    run.data_out = dataOut.data();
    run.data_size_out = dataOut.size();
  }
  if (const Napi::Value ctx = options.Get("ctx"); !ctx.IsUndefined()) {
    const Bytes bytes = bytesOf(ctx);
    ctxOut.resize(bytes.size);
    run.ctx_in = bytes.data;
    run.ctx_size_in = bytes.size;
    run.ctx_out = ctxOut.data();
    run.ctx_size_out = ctxOut.size();
  }
  if (const Napi::Value repeat = options.Get("repeat"); !repeat.IsUndefined()) run.repeat = intOf(repeat);
  if (bpf_prog_test_run_opts(intOf(info[0]), &run) < 0) {
    const int code = errno;
    fail(env, "bpf(BPF_PROG_TEST_RUN)", code, textOf(info[2]),
         code == ENOSPC ? "the packet grew to " + std::to_string(run.data_size_out) + " bytes, more than outSize" : "");
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("retval", static_cast<int32_t>(run.retval));
  result.Set("durationNs", run.duration);
  result.Set("data", Napi::Buffer<uint8_t>::Copy(env, dataOut.data(), std::min<size_t>(run.data_size_out, dataOut.size())));
  result.Set("ctx", Napi::Buffer<uint8_t>::Copy(env, ctxOut.data(), std::min<size_t>(run.ctx_size_out, ctxOut.size())));
  return result;
}

// The 32-bit fields of struct __sk_buff that net/bpf/test_run.c takes from user space.
struct SkbField {
  const char* name;
  uint32_t __sk_buff::*field;
};
constexpr SkbField kSkbFields[] = {
    {"mark", &__sk_buff::mark},         {"priority", &__sk_buff::priority}, {"ingressIfindex", &__sk_buff::ingress_ifindex},
    {"ifindex", &__sk_buff::ifindex},   {"wireLen", &__sk_buff::wire_len},  {"gsoSegs", &__sk_buff::gso_segs},
    {"gsoSize", &__sk_buff::gso_size},
};

Napi::Value skbEncode(const Napi::CallbackInfo& info) {
  const Napi::Object fields = info[0].As<Napi::Object>();
  __sk_buff skb{};
  for (const SkbField& field : kSkbFields)
    if (const Napi::Value value = fields.Get(field.name); value.IsNumber()) skb.*field.field = u32Of(value);
  if (const Napi::Value cb = fields.Get("cb"); cb.IsArray()) {
    const Napi::Array words = cb.As<Napi::Array>();
    for (uint32_t i = 0; i < std::min<uint32_t>(words.Length(), 5); i++) skb.cb[i] = u32Of(words.Get(i));
  }
  bool lossless;
  if (const Napi::Value tstamp = fields.Get("tstamp"); tstamp.IsBigInt()) skb.tstamp = tstamp.As<Napi::BigInt>().Uint64Value(&lossless);
  return Napi::Buffer<uint8_t>::Copy(info.Env(), reinterpret_cast<const uint8_t*>(&skb), sizeof(skb));
}

Napi::Value skbDecode(const Napi::CallbackInfo& info) {
  const Bytes bytes = bytesOf(info[0]);
  __sk_buff skb{};
  memcpy(&skb, bytes.data, std::min(bytes.size, sizeof(skb)));
  Napi::Object result = Napi::Object::New(info.Env());
  for (const SkbField& field : kSkbFields) result.Set(field.name, skb.*field.field);
  Napi::Array cb = Napi::Array::New(info.Env(), 5);
  for (uint32_t i = 0; i < 5; i++) cb.Set(i, skb.cb[i]);
  result.Set("cb", cb);
  result.Set("tstamp", Napi::BigInt::New(info.Env(), static_cast<uint64_t>(skb.tstamp)));
  return result;
}

}  // namespace

void defineProgram(Napi::Object exports) {
  define(exports, "programInfo", programInfo);
  define(exports, "programStats", programStats);
  define(exports, "programFdById", programFdById);
  define(exports, "programTestRun", programTestRun);
  define(exports, "skbEncode", skbEncode);
  define(exports, "skbDecode", skbDecode);
}

}  // namespace axoneme
