// SPDX-License-Identifier: Apache-2.0
// What every file of the addon shares: errors with their words, owned descriptors, argument readers.
#pragma once
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <napi.h>
#include <unistd.h>

namespace axoneme {

struct Difference {
  const char* property;
  std::string pinned, wanted;
};

// The fields of NativeError in error.ts; empty strings become undefined.
struct Failure {
  std::string syscall;
  int code = 0;  // a positive errno
  std::string object;
  std::string detail;  // default: the errno's text
  std::string verifierLog;
  std::vector<Difference> differences;
};

Napi::Value errorValue(Napi::Env env, const Failure& failure);
[[noreturn]] void fail(Napi::Env env, const Failure& failure);
[[noreturn]] void fail(Napi::Env env, const char* syscall, int code, const std::string& object = "",
                       const std::string& detail = "");

// A descriptor closed at the end of its scope unless released.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// While it lives, what libbpf prints on this thread is kept here instead of going to stderr.
class LibbpfLog {
 public:
  explicit LibbpfLog(bool loadLogs = false);
  ~LibbpfLog();
  std::string firstLine() const;    // libbpf's first warning, without its prefix
  std::string verifierLog() const;  // between libbpf's BEGIN and END marks
  std::string text;
  const bool loadLogs;  // keep the verifier logs of successful loads too

 private:
  LibbpfLog* outer_;
};
void silenceLibbpf();

// While it lives, this thread is in another network namespace. Aborts the process if it cannot return.
class NetnsGuard {
 public:
  NetnsGuard(Napi::Env env, const Napi::Value& path);  // undefined: stay
  ~NetnsGuard();
  NetnsGuard(const NetnsGuard&) = delete;

 private:
  Fd previous_;
};

struct Bytes {
  uint8_t* data;
  size_t size;
};

Bytes bytesOf(const Napi::Value& value);
std::string textOf(const Napi::Value& value);
inline int intOf(const Napi::Value& value) { return value.As<Napi::Number>().Int32Value(); }
inline uint32_t u32Of(const Napi::Value& value) { return value.As<Napi::Number>().Uint32Value(); }

// A link's number from a number or a name, in the thread's present namespace.
int ifindexOf(const Napi::CallbackInfo& info, size_t argument);

// The folders above a path, as `mkdir -p`.
void makeParents(Napi::Env env, const std::string& path);

using Callback = Napi::Value (*)(const Napi::CallbackInfo&);
inline void define(Napi::Object exports, const char* name, Callback callback) {
  exports.Set(name, Napi::Function::New(exports.Env(), callback, name));
}

void defineBtf(Napi::Object exports);
void defineIcmp(Napi::Object exports);
void defineLink(Napi::Object exports);
void defineMap(Napi::Object exports);
void defineMapBatch(Napi::Object exports);
void defineNetlink(Napi::Object exports);
void defineNetlinkEvents(Napi::Object exports);
void defineNetns(Napi::Object exports);
void defineObject(Napi::Object exports);
void defineProgram(Napi::Object exports);
void defineRing(Napi::Object exports);
void defineSockets(Napi::Object exports);
void defineSystem(Napi::Object exports);
void defineTc(Napi::Object exports);
void defineWatch(Napi::Object exports);

}  // namespace axoneme
