// SPDX-License-Identifier: Apache-2.0
// The types of an opened object as the JSON of btf.ts, and where its variables lie.
#pragma once
#include "support.h"

#include <optional>

struct bpf_object;
struct btf;

namespace axoneme {

struct Variable {
  std::string section;
  uint32_t offset, size;
};

Napi::Value btfJson(Napi::Env env, const bpf_object* object);
std::optional<Variable> findVariable(const btf* types, const std::string& name);

}  // namespace axoneme
