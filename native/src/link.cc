// SPDX-License-Identifier: Apache-2.0
// BPF links. tcx (Linux 6.6) is newer than Debian's headers and libbpf 1.1: its parts of union bpf_attr are stated here.
#include "support.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace axoneme {

namespace {

constexpr uint32_t kTcxIngress = 46, kTcxEgress = 47;  // BPF_TCX_INGRESS, BPF_TCX_EGRESS
constexpr uint32_t kLinkTypeTcx = 11;                  // BPF_LINK_TYPE_TCX
constexpr size_t kTcxProgramsMax = 64;                 // BPF_MPROG_MAX

struct TcxCreate {  // union bpf_attr, link_create
  uint32_t prog_fd, target_ifindex, attach_type, flags;
  uint32_t relative_fd, padding;
  uint64_t expected_revision;
};

struct TcxQuery {  // union bpf_attr, query
  uint32_t target_ifindex, attach_type, query_flags, attach_flags;
  uint64_t prog_ids;
  uint32_t count, padding;
  uint64_t prog_attach_flags, link_ids, link_attach_flags, revision;
};

struct LinkInfo {  // struct bpf_link_info with the unions of tcx, xdp and cgroup
  uint32_t type, id, prog_id, padding;
  union {
    struct {
      uint32_t ifindex, attach_type;
    } tcx;
    struct {
      uint32_t ifindex;
    } xdp;
    struct {
      uint64_t cgroup_id;
      uint32_t attach_type;
    } cgroup;
    uint8_t room[112];
  };
};

uint32_t tcxType(const std::string& direction) { return direction == "ingress" ? kTcxIngress : kTcxEgress; }

Napi::Value linkInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  LinkInfo link{};
  uint32_t size = sizeof(link);
  if (bpf_obj_get_info_by_fd(intOf(info[0]), &link, &size) < 0) fail(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno, "link");
  Napi::Object result = Napi::Object::New(env);
  const auto describe = [&](const char* type, Napi::Value ifindex, Napi::Value attachType) {
    result.Set("type", type);
    result.Set("ifindex", ifindex);
    result.Set("attachType", attachType);
    result.Set("cgroupId", env.Undefined());
  };
  const auto number = [&](uint32_t value) { return Napi::Number::New(env, value); };
  result.Set("id", link.id);
  result.Set("progId", link.prog_id);
  switch (link.type) {
    case kLinkTypeTcx: describe("tcx", number(link.tcx.ifindex), number(link.tcx.attach_type)); break;
    case BPF_LINK_TYPE_XDP: describe("xdp", number(link.xdp.ifindex), env.Undefined()); break;
    case BPF_LINK_TYPE_CGROUP:
      describe("cgroup", env.Undefined(), number(link.cgroup.attach_type));
      result.Set("cgroupId", Napi::Number::New(env, static_cast<double>(link.cgroup.cgroup_id)));
      break;
    case BPF_LINK_TYPE_PERF_EVENT: describe("perf_event", env.Undefined(), env.Undefined()); break;
    case BPF_LINK_TYPE_RAW_TRACEPOINT: describe("raw_tracepoint", env.Undefined(), env.Undefined()); break;
    case BPF_LINK_TYPE_TRACING: describe("tracing", env.Undefined(), env.Undefined()); break;
    case BPF_LINK_TYPE_NETNS: describe("netns", env.Undefined(), env.Undefined()); break;
    case BPF_LINK_TYPE_ITER: describe("iter", env.Undefined(), env.Undefined()); break;
    default: describe("other", env.Undefined(), env.Undefined());
  }
  return result;
}

Napi::Value linkUpdate(const Napi::CallbackInfo& info) {
  if (bpf_link_update(intOf(info[0]), intOf(info[1]), nullptr) < 0) fail(info.Env(), "bpf(BPF_LINK_UPDATE)", errno, textOf(info[2]));
  return info.Env().Undefined();
}

Napi::Value linkDetach(const Napi::CallbackInfo& info) {
  if (bpf_link_detach(intOf(info[0])) < 0) fail(info.Env(), "bpf(BPF_LINK_DETACH)", errno, textOf(info[1]));
  return info.Env().Undefined();
}

std::string onLink(int ifindex, const std::string& what) { return what + " of ifindex " + std::to_string(ifindex); }

Napi::Value attachTcx(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string direction = textOf(info[2]);
  const NetnsGuard netns(env, info[3]);
  const int ifindex = ifindexOf(info, 1);
  TcxCreate create{.prog_fd = u32Of(info[0]), .target_ifindex = static_cast<uint32_t>(ifindex), .attach_type = tcxType(direction)};
  const int fd = static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &create, sizeof(create)));
  if (fd < 0) fail(env, "bpf(BPF_LINK_CREATE)", errno, onLink(ifindex, "tcx " + direction));
  return Napi::Number::New(env, fd);
}

Napi::Value queryTcx(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string direction = textOf(info[1]);
  const NetnsGuard netns(env, info[2]);
  const int ifindex = ifindexOf(info, 0);
  uint32_t programs[kTcxProgramsMax] = {}, links[kTcxProgramsMax] = {};
  TcxQuery query{.target_ifindex = static_cast<uint32_t>(ifindex), .attach_type = tcxType(direction)};
  query.prog_ids = reinterpret_cast<uintptr_t>(programs);
  query.link_ids = reinterpret_cast<uintptr_t>(links);
  query.count = kTcxProgramsMax;
  if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) < 0 && errno != ENOENT)
    fail(env, "bpf(BPF_PROG_QUERY)", errno, onLink(ifindex, "tcx " + direction));
  Napi::Array result = Napi::Array::New(env);
  for (uint32_t i = 0; i < kTcxProgramsMax && programs[i] != 0; i++) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("progId", programs[i]);
    entry.Set("linkId", links[i]);
    result.Set(i, entry);
  }
  return result;
}

// A query of the loopback's tcx list is refused with EINVAL by kernels that have no such list.
Napi::Value supportsTcx(const Napi::CallbackInfo& info) {
  TcxQuery query{.target_ifindex = 1, .attach_type = kTcxIngress};
  const bool known = syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) == 0 || errno == ENOENT;
  if (!known && errno != EINVAL) fail(info.Env(), "bpf(BPF_PROG_QUERY)", errno, "tcx of loopback");
  return Napi::Boolean::New(info.Env(), known);
}

Napi::Value attachXdp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bool generic = info[2].As<Napi::Boolean>().Value();
  const NetnsGuard netns(env, info[3]);
  const int ifindex = ifindexOf(info, 1);
  LIBBPF_OPTS(bpf_link_create_opts, options, .flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
  const int fd = bpf_link_create(intOf(info[0]), ifindex, BPF_XDP, &options);
  if (fd < 0) fail(env, "bpf(BPF_LINK_CREATE)", errno, onLink(ifindex, generic ? "generic xdp" : "native xdp"));
  return Napi::Number::New(env, fd);
}

struct CgroupType {
  const char* name;
  bpf_attach_type type;
};
constexpr CgroupType kCgroupTypes[] = {
    {"cgroup_skb/ingress", BPF_CGROUP_INET_INGRESS},      {"cgroup_skb/egress", BPF_CGROUP_INET_EGRESS},
    {"cgroup/sock_create", BPF_CGROUP_INET_SOCK_CREATE},  {"cgroup/sock_release", BPF_CGROUP_INET_SOCK_RELEASE},
    {"cgroup/post_bind4", BPF_CGROUP_INET4_POST_BIND},    {"cgroup/post_bind6", BPF_CGROUP_INET6_POST_BIND},
    {"cgroup/bind4", BPF_CGROUP_INET4_BIND},              {"cgroup/bind6", BPF_CGROUP_INET6_BIND},
    {"cgroup/connect4", BPF_CGROUP_INET4_CONNECT},        {"cgroup/connect6", BPF_CGROUP_INET6_CONNECT},
    {"cgroup/sendmsg4", BPF_CGROUP_UDP4_SENDMSG},         {"cgroup/sendmsg6", BPF_CGROUP_UDP6_SENDMSG},
    {"cgroup/recvmsg4", BPF_CGROUP_UDP4_RECVMSG},         {"cgroup/recvmsg6", BPF_CGROUP_UDP6_RECVMSG},
    {"cgroup/getpeername4", BPF_CGROUP_INET4_GETPEERNAME}, {"cgroup/getpeername6", BPF_CGROUP_INET6_GETPEERNAME},
    {"cgroup/getsockname4", BPF_CGROUP_INET4_GETSOCKNAME}, {"cgroup/getsockname6", BPF_CGROUP_INET6_GETSOCKNAME},
    {"sockops", BPF_CGROUP_SOCK_OPS},
};

Napi::Value attachCgroup(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string name = textOf(info[1]), path = textOf(info[2]);
  for (const CgroupType& type : kCgroupTypes) {
    if (name != type.name) continue;
    const Fd cgroup(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!cgroup.valid()) fail(env, "open", errno, path);
    const int fd = bpf_link_create(intOf(info[0]), cgroup.get(), type.type, nullptr);
    if (fd < 0) fail(env, "bpf(BPF_LINK_CREATE)", errno, name + " of " + path);
    return Napi::Number::New(env, fd);
  }
  fail(env, "bpf(BPF_LINK_CREATE)", EINVAL, name, "no such cgroup attach point");
}

Napi::Value attachTracepoint(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string event = textOf(info[1]) + "/" + textOf(info[2]);
  uint64_t id = 0;
  for (const char* root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const Fd file(open((std::string(root) + "/events/" + event + "/id").c_str(), O_RDONLY | O_CLOEXEC));
    char text[32] = {};
    if (file.valid() && read(file.get(), text, sizeof(text) - 1) > 0) id = strtoull(text, nullptr, 10);
    if (id != 0) break;
  }
  if (id == 0) fail(env, "open", ENOENT, "tracepoint " + event, "no such tracepoint, or tracefs is not mounted");
  perf_event_attr attr{.type = PERF_TYPE_TRACEPOINT, .size = sizeof(perf_event_attr), .config = id};
  const Fd perf(static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!perf.valid()) fail(env, "perf_event_open", errno, "tracepoint " + event);
  const int fd = bpf_link_create(intOf(info[0]), perf.get(), BPF_PERF_EVENT, nullptr);
  if (fd < 0) fail(env, "bpf(BPF_LINK_CREATE)", errno, "tracepoint " + event);
  if (ioctl(perf.get(), PERF_EVENT_IOC_ENABLE, 0) < 0) {
    const int code = errno;
    close(fd);
    fail(env, "ioctl(PERF_EVENT_IOC_ENABLE)", code, "tracepoint " + event);
  }
  return Napi::Number::New(env, fd);
}

Napi::Value attachRawTracepoint(const Napi::CallbackInfo& info) {
  const bool named = info[1].IsString();
  const std::string name = named ? textOf(info[1]) : "";
  const int fd = bpf_raw_tracepoint_open(named ? name.c_str() : nullptr, intOf(info[0]));
  if (fd < 0) fail(info.Env(), "bpf(BPF_RAW_TRACEPOINT_OPEN)", errno, "raw tracepoint " + name);
  return Napi::Number::New(info.Env(), fd);
}

}  // namespace

void defineLink(Napi::Object exports) {
  define(exports, "linkInfo", linkInfo);
  define(exports, "linkUpdate", linkUpdate);
  define(exports, "linkDetach", linkDetach);
  define(exports, "attachTcx", attachTcx);
  define(exports, "queryTcx", queryTcx);
  define(exports, "supportsTcx", supportsTcx);
  define(exports, "attachXdp", attachXdp);
  define(exports, "attachCgroup", attachCgroup);
  define(exports, "attachTracepoint", attachTracepoint);
  define(exports, "attachRawTracepoint", attachRawTracepoint);
}

}  // namespace axoneme
