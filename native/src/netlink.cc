// SPDX-License-Identifier: Apache-2.0
// Netlink requests: send, gather the answers, read the kernel's verdict.
#include "netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace axoneme {

namespace {

constexpr size_t kReceiveBytes = 256 << 10;  // the kernel fills at most 32 KiB of a dump into one datagram
constexpr int kBufferBytes = 4 << 20;
constexpr int kAnswerTimeoutSeconds = 10;
constexpr int kDumpTries = 8;
constexpr size_t kBatchMessages = 64, kBatchBytes = 32 << 10;  // acks of one batch fit the receive buffer many times over

struct Protocol {
  const char* name;
  int number;
};
constexpr Protocol kProtocols[] = {
    {"route", NETLINK_ROUTE}, {"generic", NETLINK_GENERIC}, {"xfrm", NETLINK_XFRM}, {"netfilter", NETLINK_NETFILTER}, {"sock_diag", NETLINK_SOCK_DIAG},
};

struct Requests {
  Fd fd;
  std::string protocol;
  uint32_t sequence = 0;
  std::vector<uint8_t> buffer;
};

Requests& requestsOf(const Napi::CallbackInfo& info) { return *info[0].As<Napi::External<Requests>>().Data(); }

nlmsghdr* headerOf(Napi::Env env, std::vector<uint8_t>& bytes, size_t at) {
  if (bytes.size() - at < sizeof(nlmsghdr)) fail(env, "netlink", EINVAL, "", "message shorter than a struct nlmsghdr");
  return reinterpret_cast<nlmsghdr*>(bytes.data() + at);
}

std::string describe(const Requests& requests, const nlmsghdr* header) {
  return "netlink " + requests.protocol + " message type " + std::to_string(header->nlmsg_type);
}

void sendBytes(Napi::Env env, const Requests& requests, const std::vector<uint8_t>& bytes, const std::string& object) {
  ssize_t sent;
  do sent = send(requests.fd.get(), bytes.data(), bytes.size(), 0);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) fail(env, "send", errno, object);
}

// One datagram from the kernel; its size.
size_t receive(Napi::Env env, Requests& requests, const std::string& object) {
  for (;;) {
    sockaddr_nl sender{};
    iovec vector{requests.buffer.data(), requests.buffer.size()};
    msghdr header{.msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &vector, .msg_iovlen = 1};
    const ssize_t size = recvmsg(requests.fd.get(), &header, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) fail(env, "recvmsg", errno == EAGAIN ? ETIMEDOUT : errno, object);
    if (header.msg_flags & MSG_TRUNC) fail(env, "recvmsg", EMSGSIZE, object);
    if (sender.nl_pid == 0) return size;  // other processes may write to us too: ignored
  }
}

// The answers to one sequence number. `interrupted`: the dump is inconsistent.
Napi::Array gather(Napi::Env env, Requests& requests, uint32_t sequence, bool dump, const std::string& object, bool& interrupted) {
  Napi::Array answers = Napi::Array::New(env);
  for (;;) {
    int remaining = static_cast<int>(receive(env, requests, object));
    for (auto* header = reinterpret_cast<nlmsghdr*>(requests.buffer.data()); NLMSG_OK(header, remaining); header = NLMSG_NEXT(header, remaining)) {
      if (header->nlmsg_seq != sequence) continue;  // a late answer to a request that timed out
      if (header->nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
      if (header->nlmsg_type == NLMSG_ERROR || (dump && header->nlmsg_type == NLMSG_DONE)) {
        const Failure failure = ackOf(header, object);
        if (failure.code != 0) fail(env, failure);
        return answers;
      }
      answers.Set(answers.Length(), Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<uint8_t*>(header), header->nlmsg_len));
    }
  }
}

Napi::Value netlinkOpen(const Napi::CallbackInfo& info) {
  const std::string protocol = textOf(info[0]);
  Fd fd = openNetlink(info.Env(), protocol, info[1]);
  const timeval timeout{.tv_sec = kAnswerTimeoutSeconds};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  auto* requests = new Requests{.fd = std::move(fd), .protocol = protocol, .buffer = std::vector<uint8_t>(kReceiveBytes)};
  return Napi::External<Requests>::New(info.Env(), requests, [](Napi::Env, Requests* data) { delete data; });
}

Napi::Value netlinkRequest(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Requests& requests = requestsOf(info);
  const Bytes bytes = bytesOf(info[1]);
  const bool dump = info[2].As<Napi::Boolean>().Value();
  std::vector<uint8_t> message(bytes.data, bytes.data + bytes.size);
  nlmsghdr* header = headerOf(env, message, 0);
  const std::string object = describe(requests, header);
  header->nlmsg_len = message.size();
  header->nlmsg_pid = 0;
  header->nlmsg_flags |= NLM_F_REQUEST | (dump ? NLM_F_DUMP : NLM_F_ACK);
  for (int tries = 0; tries < kDumpTries; tries++) {
    header->nlmsg_seq = ++requests.sequence;
    sendBytes(env, requests, message, object);
    bool interrupted = false;
    Napi::Array answers = gather(env, requests, header->nlmsg_seq, dump, object, interrupted);
    if (!interrupted) return answers;
  }
  fail(env, "netlink(NLM_F_DUMP)", EINTR, object, "the table kept changing while it was listed");
}

// Sends messages [first, last) as one datagram and stores each one's verdict.
void sendChunk(Napi::Env env, Requests& requests, std::vector<uint8_t>& bytes, std::vector<std::string>& objects, uint32_t first, Napi::Array results) {
  const uint32_t base = requests.sequence - objects.size() + 1;
  sendBytes(env, requests, bytes, "netlink " + requests.protocol + " batch");
  for (size_t pending = objects.size(); pending > 0;) {
    int remaining = static_cast<int>(receive(env, requests, "netlink " + requests.protocol + " batch"));
    for (auto* header = reinterpret_cast<nlmsghdr*>(requests.buffer.data()); NLMSG_OK(header, remaining); header = NLMSG_NEXT(header, remaining)) {
      const uint32_t index = header->nlmsg_seq - base;
      if (header->nlmsg_type != NLMSG_ERROR || index >= objects.size()) continue;
      const Failure failure = ackOf(header, objects[index]);
      results.Set(first + index, failure.code == 0 ? env.Null() : errorValue(env, failure));
      pending--;
    }
  }
  bytes.clear();
  objects.clear();
}

Napi::Value netlinkBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Requests& requests = requestsOf(info);
  const Napi::Array messages = info[1].As<Napi::Array>();
  const uint32_t count = messages.Length();
  Napi::Array results = Napi::Array::New(env, count);
  std::vector<uint8_t> bytes;
  std::vector<std::string> objects;
  for (uint32_t i = 0; i < count; i++) {
    const Bytes message = bytesOf(messages.Get(i));
    if (objects.size() >= kBatchMessages || (!bytes.empty() && bytes.size() + message.size > kBatchBytes))
      sendChunk(env, requests, bytes, objects, i - objects.size(), results);
    const size_t at = bytes.size();
    bytes.insert(bytes.end(), message.data, message.data + message.size);
    nlmsghdr* header = headerOf(env, bytes, at);
    header->nlmsg_len = message.size;
    header->nlmsg_pid = 0;
    header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    header->nlmsg_seq = ++requests.sequence;
    objects.push_back(describe(requests, header));
    bytes.resize(NLMSG_ALIGN(bytes.size()));
  }
  if (!objects.empty()) sendChunk(env, requests, bytes, objects, count - objects.size(), results);
  return results;
}

Napi::Value netlinkClose(const Napi::CallbackInfo& info) {
  requestsOf(info).fd = Fd();
  return info.Env().Undefined();
}

}  // namespace

Fd openNetlink(Napi::Env env, const std::string& protocol, const Napi::Value& netns) {
  for (const Protocol& known : kProtocols) {
    if (protocol != known.name) continue;
    const NetnsGuard guard(env, netns);
    Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, known.number));
    if (!fd.valid()) fail(env, "socket", errno, "netlink " + protocol);
    const int one = 1;
    // Older kernels lack some of these; the protocol works without them.
    setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
    setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
    setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBufferBytes, sizeof(kBufferBytes));
    const sockaddr_nl address{.nl_family = AF_NETLINK};
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) fail(env, "bind", errno, "netlink " + protocol);
    return fd;
  }
  fail(env, "socket", EPROTONOSUPPORT, "netlink " + protocol);
}

Failure ackOf(const nlmsghdr* message, const std::string& object) {
  Failure failure{.syscall = "netlink", .object = object};
  const auto* payload = static_cast<const uint8_t*>(NLMSG_DATA(message));
  const size_t size = message->nlmsg_len - NLMSG_HDRLEN;
  int code = 0;
  if (size < sizeof(code)) return failure;
  memcpy(&code, payload, sizeof(code));
  failure.code = -std::min(code, 0);
  if (failure.code == 0 || !(message->nlmsg_flags & NLM_F_ACK_TLVS)) return failure;
  size_t at = sizeof(int);  // NLMSG_DONE: the attributes follow the number
  if (message->nlmsg_type == NLMSG_ERROR) {
    at = sizeof(nlmsgerr);
    if (!(message->nlmsg_flags & NLM_F_CAPPED)) at += NLMSG_ALIGN(reinterpret_cast<const nlmsgerr*>(payload)->msg.nlmsg_len) - NLMSG_HDRLEN;
  }
  while (at + sizeof(nlattr) <= size) {
    nlattr attribute;
    memcpy(&attribute, payload + at, sizeof(attribute));
    if (attribute.nla_len < sizeof(nlattr) || at + attribute.nla_len > size) break;
    if ((attribute.nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG) {
      const char* text = reinterpret_cast<const char*>(payload + at + NLA_HDRLEN);
      failure.detail.assign(text, strnlen(text, attribute.nla_len - NLA_HDRLEN));
    }
    at += NLA_ALIGN(attribute.nla_len);
  }
  return failure;
}

void defineNetlink(Napi::Object exports) {
  define(exports, "netlinkOpen", netlinkOpen);
  define(exports, "netlinkRequest", netlinkRequest);
  define(exports, "netlinkBatch", netlinkBatch);
  define(exports, "netlinkClose", netlinkClose);
}

}  // namespace axoneme
