// SPDX-License-Identifier: Apache-2.0
// Network namespaces: entering and leaving, creating as `ip netns add` does, names and numbers of links in them.
#include "support.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>

namespace axoneme {

namespace {

const char kThisNetns[] = "/proc/thread-self/ns/net";
constexpr int kSoNetnsCookie = 71;  // SO_NETNS_COOKIE, Linux 5.14

Fd enter(Napi::Env env, const std::string& path) {
  Fd previous(open(kThisNetns, O_RDONLY | O_CLOEXEC));
  if (!previous.valid()) fail(env, "open", errno, kThisNetns);
  const Fd target(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!target.valid()) fail(env, "open", errno, "netns " + path);
  if (setns(target.get(), CLONE_NEWNET) < 0) fail(env, "setns", errno, "netns " + path);
  return previous;
}

void restore(int previous) {
  if (setns(previous, CLONE_NEWNET) == 0) return;
  // Whatever ran next would change the wrong network.
  fprintf(stderr, "axoneme: cannot return to the network namespace: %s\n", strerror(errno));
  abort();
}

/*
 * libuv starts its thread pool on first use, and a thread inherits the namespace of the one that starts it.
 * One empty piece of work starts all of them before the first namespace is entered.
 */
void startThreadPool(Napi::Env env) {
  static thread_local bool started = false;
  if (std::exchange(started, true)) return;
  auto* work = new napi_async_work;
  napi_create_async_work(
      env, nullptr, Napi::String::New(env, "axoneme"), [](napi_env, void*) {},
      [](napi_env environment, napi_status, void* data) {
        auto* done = static_cast<napi_async_work*>(data);
        napi_delete_async_work(environment, *done);
        delete done;
      },
      work, work);
  napi_queue_async_work(env, *work);
}

Napi::Value netnsEnter(const Napi::CallbackInfo& info) {
  startThreadPool(info.Env());
  return Napi::Number::New(info.Env(), enter(info.Env(), textOf(info[0])).release());
}

Napi::Value netnsRestore(const Napi::CallbackInfo& info) {
  const Fd previous(intOf(info[0]));
  restore(previous.get());
  return info.Env().Undefined();
}

// Mounts in the folder must reach other mount namespaces and the other way round, as iproute2 arranges it.
void shareRunNetns(Napi::Env env, const std::string& path) {
  const std::string folder = path.substr(0, path.rfind('/'));
  if (folder != "/run/netns" && folder != "/var/run/netns") return;
  for (bool bound = false; mount("", folder.c_str(), "none", MS_SHARED | MS_REC, nullptr) < 0; bound = true) {
    if (errno != EINVAL || bound) fail(env, "mount(MS_SHARED)", errno, folder);
    if (mount(folder.c_str(), folder.c_str(), "none", MS_BIND | MS_REC, nullptr) < 0) fail(env, "mount(MS_BIND)", errno, folder);
  }
}

struct CreateResult {
  const char* syscall = nullptr;
  int code = 0;
};

CreateResult createHere(const std::string& path, bool loopbackUp) {
  if (unshare(CLONE_NEWNET) < 0) return {"unshare(CLONE_NEWNET)", errno};
  if (loopbackUp) {
    const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    if (!fd.valid() || ioctl(fd.get(), SIOCSIFFLAGS, &request) < 0) return {"ioctl(SIOCSIFFLAGS)", errno};
  }
  if (mount(kThisNetns, path.c_str(), "none", MS_BIND, nullptr) < 0) return {"mount(MS_BIND)", errno};
  return {};
}

Napi::Value netnsCreate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = textOf(info[0]);
  const bool loopbackUp = info[1].As<Napi::Boolean>().Value();
  makeParents(env, path);
  shareRunNetns(env, path);
  const Fd mountPoint(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (!mountPoint.valid()) fail(env, "open", errno, "netns " + path);
  CreateResult result;
  std::thread([&] { result = createHere(path, loopbackUp); }).join();
  if (result.syscall) {
    unlink(path.c_str());
    fail(env, result.syscall, result.code, "netns " + path);
  }
  return env.Undefined();
}

Napi::Value netnsDelete(const Napi::CallbackInfo& info) {
  const std::string path = textOf(info[0]);
  if (umount2(path.c_str(), MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT) fail(info.Env(), "umount2", errno, "netns " + path);
  if (unlink(path.c_str()) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno != ENOENT) fail(info.Env(), "unlink", errno, "netns " + path);
  return Napi::Boolean::New(info.Env(), false);
}

Napi::Value netnsId(const Napi::CallbackInfo& info) {
  const std::string path = textOf(info[0]);
  struct stat status {};
  if (stat(path.c_str(), &status) < 0) fail(info.Env(), "stat", errno, "netns " + path);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("dev", static_cast<double>(status.st_dev));
  result.Set("ino", static_cast<double>(status.st_ino));
  return result;
}

Napi::Value netnsCookie(const Napi::CallbackInfo& info) {
  const NetnsGuard guard(info.Env(), info[0]);
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) fail(info.Env(), "socket", errno);
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (getsockopt(fd.get(), SOL_SOCKET, kSoNetnsCookie, &cookie, &size) < 0) fail(info.Env(), "getsockopt(SO_NETNS_COOKIE)", errno);
  return Napi::BigInt::New(info.Env(), cookie);
}

Napi::Value ifNameToIndex(const Napi::CallbackInfo& info) {
  const NetnsGuard guard(info.Env(), info[1]);
  return Napi::Number::New(info.Env(), ifindexOf(info, 0));
}

Napi::Value ifIndexToName(const Napi::CallbackInfo& info) {
  const NetnsGuard guard(info.Env(), info[1]);
  char name[IF_NAMESIZE];
  if (!if_indextoname(u32Of(info[0]), name)) fail(info.Env(), "if_indextoname", errno, "ifindex " + std::to_string(u32Of(info[0])));
  return Napi::String::New(info.Env(), name);
}

}  // namespace

NetnsGuard::NetnsGuard(Napi::Env env, const Napi::Value& path) {
  if (!path.IsUndefined()) previous_ = enter(env, textOf(path));
}

NetnsGuard::~NetnsGuard() {
  if (previous_.valid()) restore(previous_.get());
}

void defineNetns(Napi::Object exports) {
  define(exports, "netnsEnter", netnsEnter);
  define(exports, "netnsRestore", netnsRestore);
  define(exports, "netnsCreate", netnsCreate);
  define(exports, "netnsDelete", netnsDelete);
  define(exports, "netnsId", netnsId);
  define(exports, "netnsCookie", netnsCookie);
  define(exports, "ifNameToIndex", ifNameToIndex);
  define(exports, "ifIndexToName", ifIndexToName);
}

}  // namespace axoneme
