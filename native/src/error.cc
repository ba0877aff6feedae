// SPDX-License-Identifier: Apache-2.0
// Errors as NativeError of error.ts, and libbpf's warnings as their text.
#include "support.h"

#include <bpf/libbpf.h>
#include <cstdarg>

namespace axoneme {

namespace {

constexpr size_t kLogBytesMax = 4 << 20;  // a refused program's verifier log can reach 16 MiB; the end tells the reason
constexpr int kErrnoNotSupported = 524;   // ENOTSUPP of the kernel, unknown to libc
const char kLogBegin[] = "-- BEGIN PROG LOAD LOG --\n";
const char kLogEnd[] = "-- END PROG LOAD LOG --";

thread_local LibbpfLog* currentLog = nullptr;

std::string nameOf(int code) {
  if (code == kErrnoNotSupported) return "ENOTSUPP";
  const char* name = strerrorname_np(code);
  return name ? name : "E" + std::to_string(code);
}

int keepPrint(enum libbpf_print_level level, const char* format, va_list args) {
  if (!currentLog) return 0;
  const bool loadLog = strstr(format, "PROG LOAD LOG") != nullptr;
  if (level == LIBBPF_DEBUG && !(loadLog && currentLog->loadLogs)) return 0;
  va_list copy;
  va_copy(copy, args);
  const int size = vsnprintf(nullptr, 0, format, copy);
  va_end(copy);
  if (size <= 0) return 0;
  std::string line(size + 1, '\0');
  vsnprintf(line.data(), line.size(), format, args);
  line.pop_back();
  std::string& text = currentLog->text;
  text += line;
  if (text.size() > kLogBytesMax) text.erase(0, text.size() - kLogBytesMax);
  return 0;
}

}  // namespace

LibbpfLog::LibbpfLog(bool loadLogs) : loadLogs(loadLogs), outer_(currentLog) { currentLog = this; }
LibbpfLog::~LibbpfLog() { currentLog = outer_; }
void silenceLibbpf() { libbpf_set_print(keepPrint); }

std::string LibbpfLog::firstLine() const {
  const std::string line = text.substr(0, text.find('\n'));
  const char prefix[] = "libbpf: ";
  return line.starts_with(prefix) ? line.substr(sizeof(prefix) - 1) : line;
}

std::string LibbpfLog::verifierLog() const {
  std::string logs;
  size_t at = 0;
  while ((at = text.find(kLogBegin, at)) != std::string::npos) {
    at += sizeof(kLogBegin) - 1;
    const size_t end = text.find(kLogEnd, at);
    logs += text.substr(at, end == std::string::npos ? end : end - at);
  }
  return logs;
}

Napi::Value errorValue(Napi::Env env, const Failure& failure) {
  Napi::Object fields = Napi::Object::New(env);
  const auto text = [&](const char* name, const std::string& value) {
    if (!value.empty()) fields.Set(name, value);
  };
  fields.Set("syscall", failure.syscall);
  fields.Set("errno", failure.code);
  fields.Set("code", nameOf(failure.code));
  fields.Set("detail", !failure.detail.empty() ? failure.detail
                       : failure.code == kErrnoNotSupported ? "Not supported by this kernel"
                                                            : strerror(failure.code));
  text("object", failure.object);
  text("verifierLog", failure.verifierLog);
  if (!failure.differences.empty()) {
    Napi::Array list = Napi::Array::New(env);
    for (const Difference& difference : failure.differences) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("property", difference.property);
      entry.Set("pinned", difference.pinned);
      entry.Set("wanted", difference.wanted);
      list.Set(list.Length(), entry);
    }
    fields.Set("differences", list);
  }
  auto* errorClass = env.GetInstanceData<Napi::FunctionReference>();
  if (!errorClass || errorClass->IsEmpty()) return Napi::Error::New(env, failure.syscall + ": " + nameOf(failure.code)).Value();
  return errorClass->New({fields});
}

void fail(Napi::Env env, const Failure& failure) { throw Napi::Error(env, errorValue(env, failure)); }

void fail(Napi::Env env, const char* syscall, int code, const std::string& object, const std::string& detail) {
  // libbpf's numbers of its own all say that the file is no good.
  fail(env, {.syscall = syscall, .code = code >= __LIBBPF_ERRNO__START ? ENOEXEC : code, .object = object, .detail = detail});
}

}  // namespace axoneme
