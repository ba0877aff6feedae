// SPDX-License-Identifier: Apache-2.0
// Echo requests and their replies over raw ICMP sockets: no change to ping_group_range is needed, but CAP_NET_RAW is.
#include "watch.h"

#include <arpa/inet.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>

namespace axoneme {

namespace {

constexpr size_t kPacketBytes = 2048;  // longer replies are cut, which nobody minds
constexpr int kPacketsMax = 256;       // per turn of the event loop
constexpr size_t kHeaderBytes = 8;     // type, code, checksum, identifier, sequence

struct Filter6 {
  uint32_t blocked[8];
};
constexpr int kIcmp6Filter = 1;

uint16_t checksum(const uint8_t* data, size_t size) {
  uint32_t sum = 0;
  for (size_t i = 0; i < size; i++) sum += i % 2 ? data[i] : data[i] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(~sum);
}

// Emits (address, identifier, sequence, payload) of each echo reply that reaches the namespace, of whomever it is.
class EchoWatch : public Watch {
 public:
  EchoWatch(Napi::Env env, Napi::Function callback, Fd fd, int family) : Watch(env, callback), fd_(std::move(fd)), family_(family) {}
  int fd() const { return fd_.get(); }
  int family() const { return family_; }

 protected:
  void onReady(Napi::Env env) override {
    for (int i = 0; i < kPacketsMax && isOpen(); i++) {
      const Napi::HandleScope scope(env);
      uint8_t packet[kPacketBytes];
      sockaddr_storage from{};
      socklen_t fromSize = sizeof(from);
      const ssize_t size = recvfrom(fd_.get(), packet, sizeof(packet), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &fromSize);
      if (size < 0 && errno == EAGAIN) return;
      if (size < 0) continue;  // EINTR, or an error about a packet sent before: its sender will see no reply
      // IPv4 hands over the IP header as well.
      const size_t skip = family_ == AF_INET ? (packet[0] & 0xf) * 4u : 0;
      if (static_cast<size_t>(size) < skip + kHeaderBytes) continue;
      const uint8_t* message = packet + skip;
      if (message[0] != (family_ == AF_INET ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY)) continue;
      char host[NI_MAXHOST];
      if (getnameinfo(reinterpret_cast<sockaddr*>(&from), fromSize, host, sizeof(host), nullptr, 0, NI_NUMERICHOST) != 0) continue;
      const auto number = [&](size_t at) { return Napi::Number::New(env, message[at] << 8 | message[at + 1]); };
      emit({Napi::String::New(env, host), number(4), number(6), Napi::Buffer<uint8_t>::Copy(env, message + kHeaderBytes, size - skip - kHeaderBytes)});
    }
  }
  void onClose() override { fd_ = Fd(); }

 private:
  Fd fd_;
  int family_;
};

Napi::Value echoOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int family = intOf(info[0]) == 6 ? AF_INET6 : AF_INET;
  const NetnsGuard guard(env, info[1]);
  Fd fd(socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP));
  if (!fd.valid()) fail(env, "socket", errno, "raw ICMP");
  int code;
  if (family == AF_INET6) {
    Filter6 filter;
    memset(&filter, 0xff, sizeof(filter));
    filter.blocked[ICMPV6_ECHO_REPLY >> 5] &= ~(1u << (ICMPV6_ECHO_REPLY & 31));
    code = setsockopt(fd.get(), IPPROTO_ICMPV6, kIcmp6Filter, &filter, sizeof(filter));
  } else {
    const icmp_filter filter{.data = ~(1u << ICMP_ECHOREPLY)};
    code = setsockopt(fd.get(), SOL_RAW, ICMP_FILTER, &filter, sizeof(filter));
  }
  if (code < 0) fail(env, "setsockopt(ICMP_FILTER)", errno, "raw ICMP");
  auto* watch = new EchoWatch(env, info[2].As<Napi::Function>(), std::move(fd), family);
  return watch->start(watch->fd(), Watch::kReadable, "raw ICMP");
}

Napi::Value echoSend(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto& watch = static_cast<EchoWatch&>(watchOf(info[0]));
  const std::string text = textOf(info[1]);
  const uint32_t identifier = u32Of(info[2]), sequence = u32Of(info[3]);
  const Bytes payload = bytesOf(info[4]);
  sockaddr_storage to{};
  socklen_t size;
  if (watch.family() == AF_INET6) {
    auto* address = reinterpret_cast<sockaddr_in6*>(&to);
    address->sin6_family = AF_INET6;
    size = sizeof(*address);
    if (inet_pton(AF_INET6, text.c_str(), &address->sin6_addr) != 1) fail(env, "inet_pton", EINVAL, text, "not an IPv6 address");
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&to);
    address->sin_family = AF_INET;
    size = sizeof(*address);
    if (inet_pton(AF_INET, text.c_str(), &address->sin_addr) != 1) fail(env, "inet_pton", EINVAL, text, "not an IPv4 address");
  }
  std::vector<uint8_t> message(kHeaderBytes + payload.size);
  message[0] = watch.family() == AF_INET6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
  const uint16_t words[] = {htons(identifier), htons(sequence)};
  memcpy(&message[4], words, sizeof(words));
  if (payload.size > 0) memcpy(&message[kHeaderBytes], payload.data, payload.size);
  if (watch.family() == AF_INET) {  // of ICMPv6 the kernel computes it
    const uint16_t sum = checksum(message.data(), message.size());
    memcpy(&message[2], &sum, sizeof(sum));
  }
  if (sendto(watch.fd(), message.data(), message.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), size) < 0) fail(env, "sendto", errno, "ICMP " + text);
  return env.Undefined();
}

}  // namespace

void defineIcmp(Napi::Object exports) {
  define(exports, "echoOpen", echoOpen);
  define(exports, "echoSend", echoSend);
}

}  // namespace axoneme
