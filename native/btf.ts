// SPDX-License-Identifier: Apache-2.0
/** BTF as plain JSON: every type of a compiled BPF object, so that codecs follow the C source and never repeat an offset. */
import { addon } from './addon.ts';
import type { BpfMap, MapType } from './map.ts';

/**
 * A use of a type. `type` has typedefs, const, volatile and the like resolved away; `typeName` keeps the name
 * as written in C (`__be32`, `__u16`, `struct addr`), which tells byte order where the resolved type cannot.
 */
export interface BtfRef {
  readonly type: number;
  readonly typeName: string;
}

export interface BtfMember extends BtfRef {
  /** Empty for an anonymous struct or union; its members lie at this member's offset. */
  readonly name: string;
  readonly bitOffset: number;
  /** Above 0 only for bit fields. */
  readonly bitFieldSize: number;
}

export type BtfType =
  | { readonly kind: 'void'; readonly id: number }
  | {
      readonly kind: 'int';
      readonly id: number;
      readonly name: string;
      readonly size: number;
      readonly signed: boolean;
      readonly bool: boolean;
      readonly char: boolean;
    }
  | { readonly kind: 'float'; readonly id: number; readonly name: string; readonly size: number }
  | { readonly kind: 'ptr'; readonly id: number; readonly to: BtfRef }
  | { readonly kind: 'array'; readonly id: number; readonly of: BtfRef; readonly count: number; readonly size: number }
  | {
      readonly kind: 'struct' | 'union';
      readonly id: number;
      readonly name: string;
      readonly size: number;
      readonly members: readonly BtfMember[];
    }
  | {
      readonly kind: 'enum';
      readonly id: number;
      readonly name: string;
      readonly size: number;
      readonly signed: boolean;
      readonly values: readonly { readonly name: string; readonly value: number }[];
    }
  | {
      readonly kind: 'typedef' | 'const' | 'volatile' | 'restrict' | 'typeTag';
      readonly id: number;
      readonly name: string;
      readonly to: BtfRef;
    }
  | { readonly kind: 'other'; readonly id: number; readonly name: string };

/** A global variable: where it lies in its section, as `BpfObject.setRodata` writes it. */
export interface BtfVariable extends BtfRef {
  readonly name: string;
  readonly section: string;
  readonly offset: number;
  readonly size: number;
}

/** A map as the object file declares it. Type ids are 0 where the C source names no type. */
export interface BtfMap {
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly key: BtfRef;
  readonly value: BtfRef;
  readonly inner: BtfMap | undefined;
}

export interface Btf {
  /** Indexed by type id; `types[0]` is void. */
  readonly types: readonly BtfType[];
  readonly variables: readonly BtfVariable[];
  readonly maps: readonly BtfMap[];
}

/** The types, variables and maps of a compiled BPF object; the kernel is not asked. */
export function btfOfObject(path: string): Btf {
  return addon().btfOfObject(path);
}

/** What a map in the kernel was made with, whoever made it. */
export interface MapTypes {
  readonly types: readonly BtfType[];
  readonly key: BtfRef;
  readonly value: BtfRef;
}

/** Undefined for a map that was made without types, such as one of maps. */
export function btfOfMap(map: BpfMap): MapTypes | undefined {
  return addon().btfOfMap(map.fd);
}

/** Finds a struct or union by its C name. */
export function btfStruct(
  btf: Pick<Btf, 'types'>,
  name: string,
): Extract<BtfType, { kind: 'struct' | 'union' }> | undefined {
  for (const type of btf.types)
    if ((type.kind === 'struct' || type.kind === 'union') && type.name === name) return type;
  return undefined;
}

/** True when this kernel publishes its own types, which CO-RE programs need. */
export function kernelHasBtf(): boolean {
  return addon().kernelHasBtf();
}
