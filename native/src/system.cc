// SPDX-License-Identifier: Apache-2.0
// Descriptors, pins, clocks, limits: small calls that belong to no other topic.
#include "support.h"

#include <bpf/bpf.h>
#include <ctime>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

namespace axoneme {

namespace {

Napi::Value closeFd(const Napi::CallbackInfo& info) {
  if (close(intOf(info[0])) < 0 && errno != EINTR) fail(info.Env(), "close", errno, "fd " + std::to_string(intOf(info[0])));
  return info.Env().Undefined();
}

Napi::Value dupFd(const Napi::CallbackInfo& info) {
  const int fd = fcntl(intOf(info[0]), F_DUPFD_CLOEXEC, 3);
  if (fd < 0) fail(info.Env(), "fcntl(F_DUPFD_CLOEXEC)", errno);
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value pin(const Napi::CallbackInfo& info) {
  const std::string path = textOf(info[1]);
  makeParents(info.Env(), path);
  if (bpf_obj_pin(intOf(info[0]), path.c_str()) < 0) fail(info.Env(), "bpf(BPF_OBJ_PIN)", errno, textOf(info[2]) + " at " + path);
  return info.Env().Undefined();
}

// A pin does not say what it holds, but its descriptor's name does.
Napi::Value openPinned(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = textOf(info[0]), kind = textOf(info[1]);
  Fd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) fail(env, "bpf(BPF_OBJ_GET)", errno, path);
  char name[64] = {};
  if (readlink(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), name, sizeof(name) - 1) < 0) fail(env, "readlink", errno, path);
  const char* wanted = kind == "map" ? "bpf-map" : kind == "program" ? "bpf-prog" : "bpf";
  if (!strstr(name, wanted) || (kind == "link" && !strstr(name, "link"))) fail(env, "bpf(BPF_OBJ_GET)", EINVAL, path, std::string("the pin holds ") + name + ", not a " + kind);
  return Napi::Number::New(env, fd.release());
}

Napi::Value clockNs(const Napi::CallbackInfo& info) {
  timespec now{};
  clock_gettime(info[0].As<Napi::Boolean>().Value() ? CLOCK_BOOTTIME : CLOCK_MONOTONIC, &now);
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec);
}

Napi::Value mountBpffs(const Napi::CallbackInfo& info) {
  const std::string path = textOf(info[0]);
  makeParents(info.Env(), path + "/");
  struct statfs status {};
  if (statfs(path.c_str(), &status) < 0) fail(info.Env(), "statfs", errno, path);
  if (status.f_type == BPF_FS_MAGIC) return Napi::Boolean::New(info.Env(), false);
  if (mount("bpf", path.c_str(), "bpf", 0, "mode=0700") < 0) fail(info.Env(), "mount(bpf)", errno, path);
  return Napi::Boolean::New(info.Env(), true);
}

Napi::Value setRlimitMemlock(const Napi::CallbackInfo& info) {
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_MEMLOCK, &unlimited) < 0) fail(info.Env(), "setrlimit(RLIMIT_MEMLOCK)", errno);
  return info.Env().Undefined();
}

}  // namespace

void defineSystem(Napi::Object exports) {
  define(exports, "closeFd", closeFd);
  define(exports, "dupFd", dupFd);
  define(exports, "pin", pin);
  define(exports, "openPinned", openPinned);
  define(exports, "clockNs", clockNs);
  define(exports, "mountBpffs", mountBpffs);
  define(exports, "setRlimitMemlock", setRlimitMemlock);
}

}  // namespace axoneme
