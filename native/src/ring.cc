// SPDX-License-Identifier: Apache-2.0
// The BPF ring buffer: on each wake-up its records are copied into one block, with their offsets, and handed over.
#include "watch.h"

#include <bpf/libbpf.h>

namespace axoneme {

namespace {

// Bounds of one hand-over, so that a fast producer cannot hold the event loop; the rest follows on its next turn.
constexpr size_t kRecordsMax = 4096;
constexpr size_t kBytesMax = 4 << 20;
constexpr int kStop = -ECANCELED;

class RingWatch : public Watch {
 public:
  RingWatch(Napi::Env env, Napi::Function callback, int mapFd, const std::string& label) : Watch(env, callback) {
    const LibbpfLog log;
    ring_ = ring_buffer__new(mapFd, onRecord, this, nullptr);
    if (!ring_) fail(env, "ring_buffer__new", errno, label, log.firstLine());
  }
  ~RingWatch() override { onClose(); }

  int fd() const { return ring_buffer__epoll_fd(ring_); }

  // Returns the number of records handed over.
  size_t drain() {
    block_.clear();
    ends_.assign(1, 0);
    const int code = ring_buffer__consume(ring_);
    if (code < 0 && code != kStop) fail(env_, "ring_buffer__consume", -code, "ring buffer");
    const size_t records = ends_.size() - 1;
    if (records == 0) return 0;
    Napi::Uint32Array offsets = Napi::Uint32Array::New(env_, ends_.size());
    memcpy(offsets.Data(), ends_.data(), ends_.size() * sizeof(uint32_t));
    emit({Napi::Buffer<uint8_t>::Copy(env_, block_.data(), block_.size()), offsets});
    return records;
  }

 protected:
  void onReady(Napi::Env) override { drain(); }
  void onClose() override { ring_buffer__free(std::exchange(ring_, nullptr)); }

 private:
  static int onRecord(void* context, void* data, size_t size) {
    auto* self = static_cast<RingWatch*>(context);
    const auto* bytes = static_cast<const uint8_t*>(data);
    self->block_.insert(self->block_.end(), bytes, bytes + size);
    self->ends_.push_back(self->block_.size());
    // libbpf has moved the consumer past this record already, so stopping loses none.
    return self->ends_.size() > kRecordsMax || self->block_.size() >= kBytesMax ? kStop : 0;
  }

  ring_buffer* ring_ = nullptr;
  std::vector<uint8_t> block_;
  std::vector<uint32_t> ends_;
};

Napi::Value ringOpen(const Napi::CallbackInfo& info) {
  auto* ring = new RingWatch(info.Env(), info[2].As<Napi::Function>(), intOf(info[0]), textOf(info[1]));
  return ring->start(ring->fd(), Watch::kReadable, "ring buffer");
}

Napi::Value ringDrain(const Napi::CallbackInfo& info) {
  Watch& watch = watchOf(info[0]);
  size_t total = 0;
  while (watch.isOpen()) {
    const size_t records = static_cast<RingWatch&>(watch).drain();
    if (records == 0) break;
    total += records;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(total));
}

// One hand-over.
Napi::Value ringRead(const Napi::CallbackInfo& info) {
  Watch& watch = watchOf(info[0]);
  const size_t records = watch.isOpen() ? static_cast<RingWatch&>(watch).drain() : 0;
  return Napi::Number::New(info.Env(), static_cast<double>(records));
}

}  // namespace

void defineRing(Napi::Object exports) {
  define(exports, "ringOpen", ringOpen);
  define(exports, "ringDrain", ringDrain);
  define(exports, "ringRead", ringRead);
}

}  // namespace axoneme
