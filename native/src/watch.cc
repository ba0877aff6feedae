// SPDX-License-Identifier: Apache-2.0
// Watches on Node's event loop, and the watch that waits for a connect to end.
#include "watch.h"

#include <sys/socket.h>

// libuv as far as it is needed here: handles stay opaque, so no header of the running version is required.
extern "C" {
struct uv_poll_s;
struct uv_handle_s;
size_t uv_handle_size(int type);
int uv_poll_init(uv_loop_s*, uv_poll_s*, int fd);
int uv_poll_start(uv_poll_s*, int events, void (*callback)(uv_poll_s*, int status, int events));
int uv_poll_stop(uv_poll_s*);
void uv_close(uv_handle_s*, void (*callback)(uv_handle_s*));
void uv_unref(uv_handle_s*);
void uv_handle_set_data(uv_handle_s*, void*);
void* uv_handle_get_data(const uv_handle_s*);
}

namespace axoneme {

namespace {
constexpr int kUvPoll = 8;  // UV_POLL of enum uv_handle_type, fixed by libuv's ABI
}

// The libuv side, freed when libuv has let go of it; the watch may be gone by then.
struct PollHandle {
  Watch* watch;
  uv_poll_s* poll;
  napi_async_cleanup_hook_handle hook = nullptr;
  int events = 0;

  uv_handle_s* handle() const { return reinterpret_cast<uv_handle_s*>(poll); }
  // libuv stops a poll at POLLERR, which for netlink only means that messages were lost: it goes on.
  static void onPoll(uv_poll_s* ready, int status, int) {
    PollHandle* handle = PollHandle::of(ready);
    if (handle->watch) handle->watch->dispatch();
    if (status < 0 && handle->watch) uv_poll_start(ready, handle->events, onPoll);
  }
  static PollHandle* of(const void* poll) { return static_cast<PollHandle*>(uv_handle_get_data(static_cast<const uv_handle_s*>(poll))); }
};

Watch::Watch(Napi::Env env, Napi::Function callback) : env_(env), callback_(Napi::Persistent(callback)) {}
Watch::~Watch() { close(); }

Napi::Value Watch::start(int fd, int events, const char* name) {
  Napi::External<Watch> self = Napi::External<Watch>::New(env_, this, [](Napi::Env, Watch* watch) { delete watch; });
  uv_loop_s* loop = nullptr;
  napi_get_uv_event_loop(env_, &loop);
  auto* poll = static_cast<uv_poll_s*>(calloc(1, uv_handle_size(kUvPoll)));
  int code = uv_poll_init(loop, poll, fd);
  if (code < 0) {
    free(poll);
    onClose();
    fail(env_, "uv_poll_init", -code, name);
  }
  poll_ = new PollHandle{.watch = this, .poll = poll};
  uv_handle_set_data(poll_->handle(), poll_);
  self_ = Napi::Reference<Napi::Value>::New(self, 1);
  // Should the environment end first, Node waits until libuv has closed the handle.
  napi_add_async_cleanup_hook(
      env_, [](napi_async_cleanup_hook_handle, void* data) { if (auto* handle = static_cast<PollHandle*>(data); handle->watch) handle->watch->close(); },
      poll_, &poll_->hook);
  poll_->events = events;
  code = uv_poll_start(poll, events, PollHandle::onPoll);
  if (code < 0) {
    close();
    fail(env_, "uv_poll_start", -code, name);
  }
  return self;
}

void Watch::close() {
  if (!poll_) return;
  PollHandle* poll = std::exchange(poll_, nullptr);
  poll->watch = nullptr;
  uv_poll_stop(poll->poll);
  uv_close(poll->handle(), [](uv_handle_s* closed) {
    PollHandle* handle = PollHandle::of(closed);
    if (handle->hook) napi_remove_async_cleanup_hook(handle->hook);
    free(handle->poll);
    delete handle;
  });
  onClose();
  callback_.Reset();
  self_.Reset();
}

void Watch::unref() {
  if (poll_) uv_unref(poll_->handle());
}

void Watch::pause() {
  if (poll_) uv_poll_stop(poll_->poll);
}

void Watch::resume() {
  if (poll_) uv_poll_start(poll_->poll, poll_->events, PollHandle::onPoll);
}

void Watch::dispatch() {
  const Napi::HandleScope scope(env_);
  [[maybe_unused]] const Napi::Value alive = self_.Value();  // a callback that closes must not free what runs here
  try {
    onReady(env_);
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env_, error.Value());
  }
}

void Watch::emit(const std::vector<napi_value>& arguments) {
  if (callback_.IsEmpty()) return;
  const Napi::Function callback = callback_.Value();
  callback.MakeCallback(env_.Global(), arguments);
}

Watch& watchOf(const Napi::Value& value) { return *value.As<Napi::External<Watch>>().Data(); }

namespace {

class ConnectWatch : public Watch {
 public:
  ConnectWatch(Napi::Env env, Napi::Function callback, int fd, std::string label) : Watch(env, callback), fd_(fd), label_(std::move(label)) {}

 protected:
  void onReady(Napi::Env env) override {
    int code = 0;
    socklen_t size = sizeof(code);
    if (getsockopt(fd_, SOL_SOCKET, SO_ERROR, &code, &size) < 0) code = errno;
    emit({code == 0 ? env.Null() : errorValue(env, {.syscall = "connect", .code = code, .object = label_})});
  }

 private:
  int fd_;
  std::string label_;
};

Napi::Value watchConnect(const Napi::CallbackInfo& info) {
  auto* watch = new ConnectWatch(info.Env(), info[2].As<Napi::Function>(), intOf(info[0]), textOf(info[1]));
  return watch->start(intOf(info[0]), Watch::kWritable, "connect");
}

Napi::Value watchClose(const Napi::CallbackInfo& info) {
  watchOf(info[0]).close();
  return info.Env().Undefined();
}

Napi::Value watchUnref(const Napi::CallbackInfo& info) {
  watchOf(info[0]).unref();
  return info.Env().Undefined();
}

Napi::Value watchPause(const Napi::CallbackInfo& info) {
  watchOf(info[0]).pause();
  return info.Env().Undefined();
}

Napi::Value watchResume(const Napi::CallbackInfo& info) {
  watchOf(info[0]).resume();
  return info.Env().Undefined();
}

}  // namespace

void defineWatch(Napi::Object exports) {
  define(exports, "watchConnect", watchConnect);
  define(exports, "watchClose", watchClose);
  define(exports, "watchUnref", watchUnref);
  define(exports, "watchPause", watchPause);
  define(exports, "watchResume", watchResume);
}

}  // namespace axoneme
