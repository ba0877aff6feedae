// SPDX-License-Identifier: Apache-2.0
// BTF to JSON. An object is opened (not loaded) for it, because only libbpf's open fills in variable offsets.
#include "btf_json.h"
#include "map.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

namespace axoneme {

namespace {

bool isAlias(const btf_type* type) {
  return btf_is_typedef(type) || btf_is_mod(type) || btf_is_type_tag(type);
}

class Json {
 public:
  Json(Napi::Env env, const btf* types) : env_(env), types_(types) {}

  // A use of a type: aliases resolved, with the name as C wrote it.
  Napi::Object ref(uint32_t id) const {
    Napi::Object result = Napi::Object::New(env_);
    addRef(result, id);
    return result;
  }

  void addRef(Napi::Object result, uint32_t id) const {
    result.Set("typeName", written(id));
    result.Set("type", resolved(id));
  }

  Napi::Array all() const {
    Napi::Array list = Napi::Array::New(env_);
    for (uint32_t id = 0; id < btf__type_cnt(types_); id++) list.Set(id, type(id));
    return list;
  }

  Napi::Object type(uint32_t id) const {
    Napi::Object result = Napi::Object::New(env_);
    const btf_type* type = id == 0 ? nullptr : btf__type_by_id(types_, id);
    result.Set("id", id);
    if (!type) {
      result.Set("kind", "void");
      return result;
    }
    result.Set("name", name(type));
    switch (btf_kind(type)) {
      case BTF_KIND_INT:
        result.Set("kind", "int");
        result.Set("size", type->size);
        result.Set("signed", (btf_int_encoding(type) & BTF_INT_SIGNED) != 0);
        result.Set("bool", (btf_int_encoding(type) & BTF_INT_BOOL) != 0);
        result.Set("char", (btf_int_encoding(type) & BTF_INT_CHAR) != 0);
        break;
      case BTF_KIND_FLOAT:
        result.Set("kind", "float");
        result.Set("size", type->size);
        break;
      case BTF_KIND_PTR:
        result.Set("kind", "ptr");
        result.Set("to", ref(type->type));
        break;
      case BTF_KIND_ARRAY:
        result.Set("kind", "array");
        result.Set("of", ref(btf_array(type)->type));
        result.Set("count", btf_array(type)->nelems);
        result.Set("size", static_cast<double>(btf__resolve_size(types_, id)));
        break;
      case BTF_KIND_STRUCT:
      case BTF_KIND_UNION:
        result.Set("kind", btf_is_struct(type) ? "struct" : "union");
        result.Set("size", type->size);
        result.Set("members", members(type));
        break;
      case BTF_KIND_ENUM:
      case BTF_KIND_ENUM64:
        result.Set("kind", "enum");
        result.Set("size", type->size);
        result.Set("signed", btf_kflag(type));
        result.Set("values", enumValues(type));
        break;
      default:
        result.Set("kind", aliasKind(type));
        if (isAlias(type)) result.Set("to", ref(type->type));
    }
    return result;
  }

  Napi::Object map(const bpf_map* map) const {
    Napi::Object result = Napi::Object::New(env_);
    result.Set("name", bpf_map__name(map));
    result.Set("type", mapTypeName(bpf_map__type(map)));
    result.Set("keySize", bpf_map__key_size(map));
    result.Set("valueSize", bpf_map__value_size(map));
    result.Set("maxEntries", bpf_map__max_entries(map));
    result.Set("flags", bpf_map__map_flags(map));
    result.Set("key", ref(bpf_map__btf_key_type_id(map)));
    result.Set("value", ref(bpf_map__btf_value_type_id(map)));
    const bpf_map* inner = bpf_map__inner_map(const_cast<bpf_map*>(map));
    result.Set("inner", inner ? Napi::Value(this->map(inner)) : env_.Undefined());
    return result;
  }

  void addVariables(Napi::Array list, const btf_type* section) const {
    const btf_var_secinfo* places = btf_var_secinfos(section);
    for (int i = 0; i < btf_vlen(section); i++) {
      const btf_type* variable = btf__type_by_id(types_, places[i].type);
      if (!btf_is_var(variable)) continue;
      Napi::Object entry = Napi::Object::New(env_);
      entry.Set("name", name(variable));
      entry.Set("section", name(section));
      entry.Set("offset", places[i].offset);
      entry.Set("size", places[i].size);
      addRef(entry, variable->type);
      list.Set(list.Length(), entry);
    }
  }

 private:
  const char* name(const btf_type* type) const { return btf__name_by_offset(types_, type->name_off); }

  std::string tagged(const char* tag, const btf_type* type) const {
    return *name(type) ? std::string(tag) + " " + name(type) : tag;
  }

  uint32_t resolved(uint32_t id) const {
    for (const btf_type* type; id != 0 && isAlias(type = btf__type_by_id(types_, id));) id = type->type;
    return id;
  }

  std::string written(uint32_t id) const {
    const btf_type* type = id == 0 ? nullptr : btf__type_by_id(types_, id);
    if (!type) return "void";
    switch (btf_kind(type)) {
      case BTF_KIND_CONST:
      case BTF_KIND_VOLATILE:
      case BTF_KIND_RESTRICT:
      case BTF_KIND_TYPE_TAG:
        return written(type->type);
      case BTF_KIND_PTR:
        return written(type->type) + " *";
      case BTF_KIND_ARRAY:
        return written(btf_array(type)->type) + "[" + std::to_string(btf_array(type)->nelems) + "]";
      case BTF_KIND_STRUCT:
        return tagged("struct", type);
      case BTF_KIND_UNION:
        return tagged("union", type);
      case BTF_KIND_ENUM:
      case BTF_KIND_ENUM64:
        return tagged("enum", type);
      default:
        return name(type);
    }
  }

  static const char* aliasKind(const btf_type* type) {
    switch (btf_kind(type)) {
      case BTF_KIND_TYPEDEF: return "typedef";
      case BTF_KIND_CONST: return "const";
      case BTF_KIND_VOLATILE: return "volatile";
      case BTF_KIND_RESTRICT: return "restrict";
      case BTF_KIND_TYPE_TAG: return "typeTag";
      default: return "other";
    }
  }

  Napi::Array members(const btf_type* type) const {
    Napi::Array list = Napi::Array::New(env_, btf_vlen(type));
    const btf_member* member = btf_members(type);
    for (int i = 0; i < btf_vlen(type); i++) {
      Napi::Object entry = ref(member[i].type);
      entry.Set("name", btf__name_by_offset(types_, member[i].name_off));
      entry.Set("bitOffset", btf_member_bit_offset(type, i));
      entry.Set("bitFieldSize", btf_member_bitfield_size(type, i));
      list.Set(i, entry);
    }
    return list;
  }

  Napi::Array enumValues(const btf_type* type) const {
    Napi::Array list = Napi::Array::New(env_, btf_vlen(type));
    const bool isSigned = btf_kflag(type);
    for (int i = 0; i < btf_vlen(type); i++) {
      Napi::Object entry = Napi::Object::New(env_);
      uint32_t nameOffset;
      double value;
      if (btf_is_enum64(type)) {
        const struct btf_enum64* item = btf_enum64(type) + i;
        nameOffset = item->name_off;
        value = isSigned ? static_cast<double>(static_cast<int64_t>(btf_enum64_value(item))) : static_cast<double>(btf_enum64_value(item));
      } else {
        const struct btf_enum* item = btf_enum(type) + i;
        nameOffset = item->name_off;
        value = isSigned ? item->val : static_cast<double>(static_cast<uint32_t>(item->val));
      }
      entry.Set("name", btf__name_by_offset(types_, nameOffset));
      entry.Set("value", value);
      list.Set(i, entry);
    }
    return list;
  }

  Napi::Env env_;
  const btf* types_;
};

Napi::Value btfOfObject(const Napi::CallbackInfo& info) {
  const std::string path = textOf(info[0]);
  LibbpfLog log;
  bpf_object* object = bpf_object__open_file(path.c_str(), nullptr);
  if (!object) fail(info.Env(), "bpf_object__open_file", errno, path, log.firstLine());
  struct Closer {
    bpf_object* object;
    ~Closer() { bpf_object__close(object); }
  } closer{object};
  return btfJson(info.Env(), object);
}

// Undefined: the map was made without types, or by a kernel that does not tell.
Napi::Value btfOfMap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bpf_map_info map = readMapInfo(env, intOf(info[0]));
  if (map.btf_id == 0 || map.btf_value_type_id == 0) return env.Undefined();
  btf* types = btf__load_from_kernel_by_id(map.btf_id);
  if (!types) fail(env, "bpf(BPF_BTF_GET_FD_BY_ID)", errno, "BTF of map " + std::string(map.name));
  struct Closer {
    btf* types;
    ~Closer() { btf__free(types); }
  } closer{types};
  const Json json(env, types);
  Napi::Object result = Napi::Object::New(env);
  result.Set("types", json.all());
  result.Set("key", json.ref(map.btf_key_type_id));
  result.Set("value", json.ref(map.btf_value_type_id));
  return result;
}

Napi::Value kernelHasBtf(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), access("/sys/kernel/btf/vmlinux", R_OK) == 0);
}

}  // namespace

Napi::Value btfJson(Napi::Env env, const bpf_object* object) {
  const btf* types = bpf_object__btf(object);
  if (!types) fail(env, "bpf_object__btf", ENOENT, bpf_object__name(object), "compiled without -g: no BTF");
  const Json json(env, types);
  Napi::Array variables = Napi::Array::New(env), maps = Napi::Array::New(env);
  for (uint32_t id = 1; id < btf__type_cnt(types); id++) {
    const btf_type* type = btf__type_by_id(types, id);
    if (type && btf_is_datasec(type)) json.addVariables(variables, type);
  }
  const bpf_map* map;
  bpf_object__for_each_map(map, object) maps.Set(maps.Length(), json.map(map));
  Napi::Object result = Napi::Object::New(env);
  result.Set("types", json.all());
  result.Set("variables", variables);
  result.Set("maps", maps);
  return result;
}

std::optional<Variable> findVariable(const btf* types, const std::string& name) {
  for (uint32_t id = 1; types && id < btf__type_cnt(types); id++) {
    const btf_type* section = btf__type_by_id(types, id);
    if (!btf_is_datasec(section)) continue;
    const btf_var_secinfo* places = btf_var_secinfos(section);
    for (int i = 0; i < btf_vlen(section); i++) {
      const btf_type* variable = btf__type_by_id(types, places[i].type);
      if (btf_is_var(variable) && name == btf__name_by_offset(types, variable->name_off))
        return Variable{btf__name_by_offset(types, section->name_off), places[i].offset, places[i].size};
    }
  }
  return std::nullopt;
}

void defineBtf(Napi::Object exports) {
  define(exports, "btfOfObject", btfOfObject);
  define(exports, "btfOfMap", btfOfMap);
  define(exports, "kernelHasBtf", kernelHasBtf);
}

}  // namespace axoneme
