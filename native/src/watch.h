// SPDX-License-Identifier: Apache-2.0
// A descriptor watched by Node's event loop through libuv's uv_poll, whose functions the node binary exports.
#pragma once
#include "support.h"

namespace axoneme {

struct PollHandle;

/*
 * - An open watch keeps itself and its callback alive; close() lets both go, the garbage collector frees the rest.
 * - onReady runs on the JavaScript thread and calls back through emit(); what the callback throws becomes an
 *   uncaughtException, as with any of Node's own events.
 */
class Watch {
 public:
  static constexpr int kReadable = 1, kWritable = 2;

  Watch(Napi::Env env, Napi::Function callback);
  virtual ~Watch();
  Watch(const Watch&) = delete;

  // Starts watching and returns the JavaScript value that stands for this watch, which owns it from then on.
  Napi::Value start(int fd, int events, const char* name);
  void close();
  void unref();
  // Does not listen any more, until it is told to again; what comes meanwhile waits.
  void pause();
  void resume();
  bool isOpen() const { return poll_ != nullptr; }
  void dispatch();

 protected:
  virtual void onReady(Napi::Env env) = 0;
  virtual void onClose() {}
  void emit(const std::vector<napi_value>& arguments);
  Napi::Env env_;

 private:
  Napi::FunctionReference callback_;
  Napi::Reference<Napi::Value> self_;
  PollHandle* poll_ = nullptr;
};

Watch& watchOf(const Napi::Value& value);

}  // namespace axoneme
