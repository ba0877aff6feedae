// SPDX-License-Identifier: Apache-2.0
// The clsact direct-action filter, for kernels without tcx. One fixed handle and priority make attaching again a replacement.
#include "support.h"

#include <bpf/libbpf.h>

namespace axoneme {

namespace {

constexpr uint32_t kHandle = 1, kPriority = 1;

bpf_tc_hook hookOf(int ifindex, const std::string& direction) {
  return {.sz = sizeof(bpf_tc_hook), .ifindex = ifindex, .attach_point = direction == "ingress" ? BPF_TC_INGRESS : BPF_TC_EGRESS};
}

std::string objectOf(const bpf_tc_hook& hook) {
  return std::string("clsact ") + (hook.attach_point == BPF_TC_INGRESS ? "ingress" : "egress") + " of ifindex " + std::to_string(hook.ifindex);
}

// libbpf answers ENOENT when the filter is absent, EINVAL when the qdisc is.
bool isAbsent(int code) { return code == -ENOENT || code == -EINVAL; }

Napi::Value attachTc(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const NetnsGuard netns(env, info[3]);
  bpf_tc_hook hook = hookOf(ifindexOf(info, 1), textOf(info[2]));
  const LibbpfLog log;
  int code = bpf_tc_hook_create(&hook);
  if (code < 0 && code != -EEXIST) fail(env, "netlink(RTM_NEWQDISC)", -code, objectOf(hook), log.firstLine());
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = intOf(info[0]), .flags = BPF_TC_F_REPLACE, .handle = kHandle, .priority = kPriority);
  code = bpf_tc_attach(&hook, &options);
  if (code < 0) fail(env, "netlink(RTM_NEWTFILTER)", -code, objectOf(hook));
  return env.Undefined();
}

Napi::Value detachTc(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const NetnsGuard netns(env, info[2]);
  const bpf_tc_hook hook = hookOf(ifindexOf(info, 0), textOf(info[1]));
  const LibbpfLog log;
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kHandle, .priority = kPriority);
  const int code = bpf_tc_detach(&hook, &options);
  if (code < 0 && !isAbsent(code)) fail(env, "netlink(RTM_DELTFILTER)", -code, objectOf(hook), log.firstLine());
  return Napi::Boolean::New(env, code == 0);
}

Napi::Value queryTc(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const NetnsGuard netns(env, info[2]);
  const bpf_tc_hook hook = hookOf(ifindexOf(info, 0), textOf(info[1]));
  const LibbpfLog log;
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kHandle, .priority = kPriority);
  const int code = bpf_tc_query(&hook, &options);
  if (code < 0 && !isAbsent(code)) fail(env, "netlink(RTM_GETTFILTER)", -code, objectOf(hook), log.firstLine());
  if (code < 0) return env.Undefined();
  return Napi::Number::New(env, options.prog_id);
}

}  // namespace

void defineTc(Napi::Object exports) {
  define(exports, "attachTc", attachTc);
  define(exports, "detachTc", detachTc);
  define(exports, "queryTc", queryTc);
}

}  // namespace axoneme
