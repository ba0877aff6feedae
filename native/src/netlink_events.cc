// SPDX-License-Identifier: Apache-2.0
// Netlink multicast: the event loop tells when messages are there; a lost one is told as an overrun.
#include "netlink.h"
#include "watch.h"

#include <sys/socket.h>

namespace axoneme {

namespace {

constexpr size_t kDatagramBytes = 64 << 10;
constexpr int kDatagramsMax = 512;  // per turn of the event loop

class EventsWatch : public Watch {
 public:
  EventsWatch(Napi::Env env, Napi::Function callback, Fd fd) : Watch(env, callback), fd_(std::move(fd)), buffer_(kDatagramBytes) {}
  int fd() const { return fd_.get(); }

 protected:
  void onReady(Napi::Env env) override {
    Napi::Array messages = Napi::Array::New(env);
    bool overrun = false;
    for (int i = 0; i < kDatagramsMax && !overrun; i++) {
      sockaddr_nl sender{};
      iovec vector{buffer_.data(), buffer_.size()};
      msghdr header{.msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &vector, .msg_iovlen = 1};
      const ssize_t size = recvmsg(fd_.get(), &header, MSG_DONTWAIT);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == EAGAIN) break;
      if (size < 0 && errno != ENOBUFS) fail(env, "recvmsg", errno, "netlink events");
      overrun = size < 0 || (header.msg_flags & MSG_TRUNC);
      if (!overrun && sender.nl_pid == 0) split(messages, size);
    }
    if (messages.Length() > 0) tell(env, "messages", messages);
    if (overrun && isOpen()) tell(env, "overrun", env.Undefined());
  }
  void onClose() override { fd_ = Fd(); }

 private:
  void split(Napi::Array messages, ssize_t size) {
    int remaining = static_cast<int>(size);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer_.data()); NLMSG_OK(header, remaining); header = NLMSG_NEXT(header, remaining))
      messages.Set(messages.Length(), Napi::Buffer<uint8_t>::Copy(env_, reinterpret_cast<uint8_t*>(header), header->nlmsg_len));
  }

  void tell(Napi::Env env, const char* kind, Napi::Value messages) {
    Napi::Object event = Napi::Object::New(env);
    event.Set("kind", kind);
    if (!messages.IsUndefined()) event.Set("messages", messages);
    emit({event});
  }

  Fd fd_;
  std::vector<uint8_t> buffer_;
};

Napi::Value netlinkWatch(const Napi::CallbackInfo& info) {
  auto* watch = new EventsWatch(info.Env(), info[2].As<Napi::Function>(), openNetlink(info.Env(), textOf(info[0]), info[1]));
  return watch->start(watch->fd(), Watch::kReadable, "netlink events");
}

Napi::Value netlinkJoin(const Napi::CallbackInfo& info) {
  const int group = intOf(info[1]);
  const int fd = static_cast<EventsWatch&>(watchOf(info[0])).fd();
  if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
    fail(info.Env(), "setsockopt(NETLINK_ADD_MEMBERSHIP)", errno, "netlink group " + std::to_string(group));
  return info.Env().Undefined();
}

}  // namespace

void defineNetlinkEvents(Napi::Object exports) {
  define(exports, "netlinkWatch", netlinkWatch);
  define(exports, "netlinkJoin", netlinkJoin);
}

}  // namespace axoneme
