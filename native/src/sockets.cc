// SPDX-License-Identifier: Apache-2.0
// TCP and UDP sockets made inside a namespace and handed to Node as descriptors.
#include "support.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace axoneme {

namespace {

constexpr int kBacklog = 511;  // Node's default

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

Address parse(Napi::Env env, const std::string& text, uint32_t port) {
  const addrinfo hints{.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (getaddrinfo(text.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) fail(env, "getaddrinfo", EINVAL, text, "not an IP address and port");
  Address address;
  memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

// The options every socket function shares, read from the JavaScript object.
struct Options {
  Napi::Object object;
  std::string address;
  uint32_t port;

  explicit Options(const Napi::CallbackInfo& info) : object(info[0].As<Napi::Object>()), address(textOf(object.Get("address"))), port(u32Of(object.Get("port"))) {}
  Napi::Value netns() const { return object.Get("netns"); }
  bool flag(const char* name) const { return object.Get(name).ToBoolean(); }
  std::string label(const char* kind) const { return std::string(kind) + " " + address + " port " + std::to_string(port); }
};

Fd openSocket(Napi::Env env, int family, int type, const std::string& label) {
  Fd fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) fail(env, "socket", errno, label);
  return fd;
}

void setFlag(Napi::Env env, const Fd& fd, int level, int option, const char* name, const std::string& label) {
  const int one = 1;
  if (setsockopt(fd.get(), level, option, &one, sizeof(one)) < 0) fail(env, name, errno, label);
}

Fd bound(Napi::Env env, const Options& options, int type, bool reuse, const std::string& label) {
  const Address address = parse(env, options.address, options.port);
  Fd fd = openSocket(env, address.family(), type, label);
  if (reuse) setFlag(env, fd, SOL_SOCKET, SO_REUSEADDR, "setsockopt(SO_REUSEADDR)", label);
  if (address.family() == AF_INET6 && options.flag("v6Only")) setFlag(env, fd, IPPROTO_IPV6, IPV6_V6ONLY, "setsockopt(IPV6_V6ONLY)", label);
  if (bind(fd.get(), address.get(), address.size) < 0) fail(env, "bind", errno, label);
  return fd;
}

Napi::Value listenTcp(const Napi::CallbackInfo& info) {
  const Options options(info);
  const std::string label = options.label("tcp");
  const NetnsGuard guard(info.Env(), options.netns());
  Fd fd = bound(info.Env(), options, SOCK_STREAM, true, label);
  const Napi::Value backlog = options.object.Get("backlog");
  if (listen(fd.get(), backlog.IsNumber() ? intOf(backlog) : kBacklog) < 0) fail(info.Env(), "listen", errno, label);
  return Napi::Number::New(info.Env(), fd.release());
}

Napi::Value bindUdp(const Napi::CallbackInfo& info) {
  const Options options(info);
  const NetnsGuard guard(info.Env(), options.netns());
  return Napi::Number::New(info.Env(), bound(info.Env(), options, SOCK_DGRAM, options.flag("reuse"), options.label("udp")).release());
}

Napi::Value connectTcp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Options options(info);
  const std::string label = options.label("tcp");
  const NetnsGuard guard(env, options.netns());
  const Address address = parse(env, options.address, options.port);
  Fd fd = openSocket(env, address.family(), SOCK_STREAM, label);
  const Napi::Value sourceAddress = options.object.Get("sourceAddress"), sourcePort = options.object.Get("sourcePort");
  if (!sourceAddress.IsUndefined() || !sourcePort.IsUndefined()) {
    const std::string any = address.family() == AF_INET6 ? "::" : "0.0.0.0";
    const Address source = parse(env, sourceAddress.IsUndefined() ? any : textOf(sourceAddress), sourcePort.IsUndefined() ? 0 : u32Of(sourcePort));
    setFlag(env, fd, SOL_SOCKET, SO_REUSEADDR, "setsockopt(SO_REUSEADDR)", label);
    if (bind(fd.get(), source.get(), source.size) < 0) fail(env, "bind", errno, label);
  }
  if (connect(fd.get(), address.get(), address.size) < 0 && errno != EINPROGRESS) fail(env, "connect", errno, label);
  return Napi::Number::New(env, fd.release());
}

Napi::Value localAddress(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Address address;
  address.size = sizeof(address.storage);
  if (getsockname(intOf(info[0]), reinterpret_cast<sockaddr*>(&address.storage), &address.size) < 0) fail(env, "getsockname", errno);
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getnameinfo(address.get(), address.size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    fail(env, "getnameinfo", EAFNOSUPPORT, "", "not an IP socket");
  Napi::Object result = Napi::Object::New(env);
  result.Set("address", host);
  result.Set("port", atoi(port));
  return result;
}

Napi::Value peerCredentials(const Napi::CallbackInfo& info) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(intOf(info[0]), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) fail(info.Env(), "getsockopt(SO_PEERCRED)", errno);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("pid", peer.pid);
  result.Set("uid", peer.uid);
  result.Set("gid", peer.gid);
  return result;
}

}  // namespace

void defineSockets(Napi::Object exports) {
  define(exports, "listenTcp", listenTcp);
  define(exports, "bindUdp", bindUdp);
  define(exports, "connectTcp", connectTcp);
  define(exports, "localAddress", localAddress);
  define(exports, "peerCredentials", peerCredentials);
}

}  // namespace axoneme
