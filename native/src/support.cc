// SPDX-License-Identifier: Apache-2.0
// Reading arguments, and the entry point that gathers every topic's functions.
#include "support.h"

#include <net/if.h>
#include <sys/stat.h>

namespace axoneme {

Bytes bytesOf(const Napi::Value& value) {
  if (!value.IsTypedArray()) throw Napi::TypeError::New(value.Env(), "expected a Buffer or Uint8Array");
  Napi::TypedArray array = value.As<Napi::TypedArray>();
  return {static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

std::string textOf(const Napi::Value& value) {
  if (!value.IsString()) throw Napi::TypeError::New(value.Env(), "expected a string");
  return value.As<Napi::String>().Utf8Value();
}

int ifindexOf(const Napi::CallbackInfo& info, size_t argument) {
  if (info[argument].IsNumber()) return intOf(info[argument]);
  const std::string name = textOf(info[argument]);
  const int ifindex = static_cast<int>(if_nametoindex(name.c_str()));
  if (ifindex == 0) fail(info.Env(), "if_nametoindex", errno, "link " + name);
  return ifindex;
}

void makeParents(Napi::Env env, const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string folder = path.substr(0, at);
    if (mkdir(folder.c_str(), 0755) < 0 && errno != EEXIST) fail(env, "mkdir", errno, folder);
  }
}

namespace {

Napi::Value setErrorClass(const Napi::CallbackInfo& info) {
  auto* errorClass = info.Env().GetInstanceData<Napi::FunctionReference>();
  *errorClass = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Napi::FunctionReference());
  silenceLibbpf();
  define(exports, "setErrorClass", setErrorClass);
  defineBtf(exports);
  defineIcmp(exports);
  defineLink(exports);
  defineMap(exports);
  defineMapBatch(exports);
  defineNetlink(exports);
  defineNetlinkEvents(exports);
  defineNetns(exports);
  defineObject(exports);
  defineProgram(exports);
  defineRing(exports);
  defineSockets(exports);
  defineSystem(exports);
  defineTc(exports);
  defineWatch(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(axoneme_native, initialize)

}  // namespace axoneme
