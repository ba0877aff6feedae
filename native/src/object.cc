// SPDX-License-Identifier: Apache-2.0
// Object files: open, set variables and sizes, use pinned maps again, load.
#include "btf_json.h"
#include "layout.h"
#include "map.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <map>

namespace axoneme {

namespace {

struct Object {
  bpf_object* object = nullptr;
  std::string path;
  bool loaded = false;
  bool wantLog = false;
  std::map<std::string, std::string> pins;  // by map name
  std::map<std::string, Fd> templates;      // inner maps of another size than declared, by outer map name
  ~Object() { bpf_object__close(object); }
};

Object& objectOf(const Napi::CallbackInfo& info) {
  Object* object = info[0].As<Napi::External<Object>>().Data();
  if (!object->object) fail(info.Env(), "bpf_object", EBADF, object->path, "used after close");
  return *object;
}

bpf_map* mapOf(const Napi::CallbackInfo& info, Object& object, const std::string& name) {
  bpf_map* map = bpf_object__find_map_by_name(object.object, name.c_str());
  if (!map) fail(info.Env(), "bpf_object__find_map_by_name", ENOENT, "map " + name, "no such map in " + object.path);
  return map;
}

Napi::Value objectOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = textOf(info[0]);
  const uint32_t logLevel = u32Of(info[1]);
  LibbpfLog log;
  LIBBPF_OPTS(bpf_object_open_opts, options, .kernel_log_level = logLevel);
  bpf_object* opened = bpf_object__open_file(path.c_str(), &options);
  if (!opened) fail(env, "bpf_object__open_file", errno, path, log.firstLine());
  bpf_program* program;
  // libbpf 1.1 knows no tcx sections.
  bpf_object__for_each_program(program, opened) {
    if (strncmp(bpf_program__section_name(program), "tcx/", 4) == 0) bpf_program__set_type(program, BPF_PROG_TYPE_SCHED_CLS);
  }
  auto* object = new Object{.object = opened, .path = path, .wantLog = logLevel != 0};
  return Napi::External<Object>::New(env, object, [](Napi::Env, Object* data) { delete data; });
}

Napi::Value objectSetData(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Object& object = objectOf(info);
  const std::string name = textOf(info[1]);
  const Bytes bytes = bytesOf(info[2]);
  const auto refuse = [&](int code, const std::string& why) { fail(env, "bpf_map__initial_value", code, "variable " + name, why); };
  if (object.loaded) refuse(EBUSY, "the object is loaded already");
  const auto variable = findVariable(bpf_object__btf(object.object), name);
  if (!variable) refuse(ENOENT, "no such variable in " + object.path);
  if (bytes.size > variable->size) refuse(E2BIG, std::to_string(bytes.size) + " bytes for a variable of " + std::to_string(variable->size));
  bpf_map* section = mapOf(info, object, variable->section);
  size_t size = 0;
  const auto* initial = static_cast<const uint8_t*>(bpf_map__initial_value(section, &size));
  if (!initial || variable->offset + bytes.size > size) refuse(EINVAL, "section " + variable->section + " has no initial value");
  std::vector<uint8_t> content(initial, initial + size);
  memcpy(content.data() + variable->offset, bytes.data, bytes.size);
  if (bpf_map__set_initial_value(section, content.data(), size) < 0) refuse(errno, "section " + variable->section);
  return env.Undefined();
}

// libbpf 1.1 cannot resize the inner map it declares, but takes a template map in its stead.
void setInnerMaxEntries(const Napi::CallbackInfo& info, Object& object, const std::string& name, uint32_t maxEntries) {
  bpf_map* map = mapOf(info, object, name);
  const bpf_map* inner = bpf_map__inner_map(map);
  if (!inner) fail(info.Env(), "bpf_map__inner_map", EINVAL, "map " + name, "the map declares no inner map");
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = bpf_map__map_flags(inner));
  Fd created(bpf_map_create(bpf_map__type(inner), "inner", bpf_map__key_size(inner), bpf_map__value_size(inner), maxEntries, &options));
  if (!created.valid()) fail(info.Env(), "bpf(BPF_MAP_CREATE)", errno, "inner map of " + name);
  const int code = bpf_map__set_inner_map_fd(map, created.get());
  if (code < 0) fail(info.Env(), "bpf_map__set_inner_map_fd", -code, "map " + name);
  object.templates[name] = std::move(created);
}

Napi::Value objectSetMaxEntries(const Napi::CallbackInfo& info) {
  Object& object = objectOf(info);
  const std::string name = textOf(info[1]);
  const uint32_t maxEntries = u32Of(info[2]);
  if (info[3].As<Napi::Boolean>().Value()) {
    setInnerMaxEntries(info, object, name, maxEntries);
  } else if (const int code = bpf_map__set_max_entries(mapOf(info, object, name), maxEntries); code < 0) {
    fail(info.Env(), "bpf_map__set_max_entries", -code, "map " + name);
  }
  return info.Env().Undefined();
}

Napi::Value objectSetPin(const Napi::CallbackInfo& info) {
  Object& object = objectOf(info);
  const std::string name = textOf(info[1]);
  mapOf(info, object, name);
  object.pins[name] = textOf(info[2]);
  return info.Env().Undefined();
}

Napi::Value objectSetAutoload(const Napi::CallbackInfo& info) {
  Object& object = objectOf(info);
  bpf_program* program;
  bpf_object__for_each_program(program, object.object) bpf_program__set_autoload(program, false);
  const Napi::Array names = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < names.Length(); i++) {
    const std::string name = textOf(names.Get(i));
    program = bpf_object__find_program_by_name(object.object, name.c_str());
    if (!program) fail(info.Env(), "bpf_object__find_program_by_name", ENOENT, "program " + name, "no such program in " + object.path);
    bpf_program__set_autoload(program, true);
  }
  return info.Env().Undefined();
}

// Takes over maps that are pinned already; returns the names of those still to be pinned.
std::vector<std::string> reusePinned(const Napi::CallbackInfo& info, Object& object) {
  const Napi::Env env = info.Env();
  std::vector<std::string> missing;
  for (const auto& [name, path] : object.pins) {
    const Fd pinned(bpf_obj_get(path.c_str()));
    if (!pinned.valid()) {
      if (errno != ENOENT) fail(env, "bpf(BPF_OBJ_GET)", errno, path);
      missing.push_back(name);
      continue;
    }
    bpf_map* map = mapOf(info, object, name);
    const auto resized = object.templates.find(name);
    const auto inner = resized != object.templates.end() ? layoutOf(readMapInfo(env, resized->second.get())) : layoutOf(bpf_map__inner_map(map));
    const auto differences = compareMaps(env, pinned.get(), *layoutOf(map), inner);
    if (!differences.empty())
      fail(env, {.syscall = "bpf_map__reuse_fd", .code = EEXIST, .object = "map " + name + " at " + path, .detail = describe(differences), .differences = differences});
    const int code = bpf_map__reuse_fd(map, pinned.get());
    if (code < 0) fail(env, "bpf_map__reuse_fd", -code, "map " + name + " at " + path);
  }
  return missing;
}

Napi::Value objectLoad(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Object& object = objectOf(info);
  if (object.loaded) fail(env, "bpf_object__load", EBUSY, object.path, "the object is loaded already");
  const std::vector<std::string> unpinned = reusePinned(info, object);
  LibbpfLog log(object.wantLog);
  const int code = bpf_object__load(object.object);
  if (code < 0)
    fail(env, {.syscall = "bpf_object__load", .code = -code >= __LIBBPF_ERRNO__START ? ENOEXEC : -code, .object = object.path, .detail = log.firstLine(), .verifierLog = log.verifierLog()});
  object.loaded = true;
  for (const std::string& name : unpinned) {
    const std::string& path = object.pins[name];
    makeParents(env, path);
    if (bpf_obj_pin(bpf_map__fd(mapOf(info, object, name)), path.c_str()) < 0) fail(env, "bpf(BPF_OBJ_PIN)", errno, "map " + name + " at " + path);
  }
  return Napi::String::New(env, log.verifierLog());
}

Napi::Value ownDescriptor(Napi::Env env, int fd, const std::string& object) {
  if (fd < 0) fail(env, "bpf_object", EBADF, object, "not loaded");
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) fail(env, "fcntl(F_DUPFD_CLOEXEC)", errno, object);
  return Napi::Number::New(env, copy);
}

Napi::Value objectMapFd(const Napi::CallbackInfo& info) {
  const std::string name = textOf(info[1]);
  return ownDescriptor(info.Env(), bpf_map__fd(mapOf(info, objectOf(info), name)), "map " + name);
}

Napi::Value objectProgramFd(const Napi::CallbackInfo& info) {
  Object& object = objectOf(info);
  const std::string name = textOf(info[1]);
  const bpf_program* program = bpf_object__find_program_by_name(object.object, name.c_str());
  if (!program) fail(info.Env(), "bpf_object__find_program_by_name", ENOENT, "program " + name, "no such program in " + object.path);
  return ownDescriptor(info.Env(), bpf_program__fd(program), "program " + name);
}

Napi::Value objectMaps(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  bpf_map* map;
  bpf_object__for_each_map(map, objectOf(info).object) names.Set(names.Length(), bpf_map__name(map));
  return names;
}

Napi::Value objectPrograms(const Napi::CallbackInfo& info) {
  Napi::Array programs = Napi::Array::New(info.Env());
  bpf_program* program;
  bpf_object__for_each_program(program, objectOf(info).object) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("name", bpf_program__name(program));
    entry.Set("section", bpf_program__section_name(program));
    programs.Set(programs.Length(), entry);
  }
  return programs;
}

Napi::Value objectBtf(const Napi::CallbackInfo& info) { return btfJson(info.Env(), objectOf(info).object); }

Napi::Value objectClose(const Napi::CallbackInfo& info) {
  Object* object = info[0].As<Napi::External<Object>>().Data();
  bpf_object__close(object->object);
  object->object = nullptr;
  return info.Env().Undefined();
}

}  // namespace

void defineObject(Napi::Object exports) {
  define(exports, "objectOpen", objectOpen);
  define(exports, "objectSetData", objectSetData);
  define(exports, "objectSetMaxEntries", objectSetMaxEntries);
  define(exports, "objectSetPin", objectSetPin);
  define(exports, "objectSetAutoload", objectSetAutoload);
  define(exports, "objectLoad", objectLoad);
  define(exports, "objectMapFd", objectMapFd);
  define(exports, "objectProgramFd", objectProgramFd);
  define(exports, "objectMaps", objectMaps);
  define(exports, "objectPrograms", objectPrograms);
  define(exports, "objectBtf", objectBtf);
  define(exports, "objectClose", objectClose);
}

}  // namespace axoneme
