// SPDX-License-Identifier: Apache-2.0
/** A compiled BPF object file: open, configure, load, take out its maps and programs. */
import { addon, type ObjectPointer } from './addon.ts';
import type { Btf } from './btf.ts';
import { BpfMap } from './map.ts';
import { BpfProgram } from './program.ts';

export interface ObjectMapOptions {
  readonly maxEntries?: number;
  /**
   * Where the map lives under bpffs. A map pinned there is used again when its layout is the wanted one,
   * else `load` throws EEXIST with `differences`; without a pin the new map is pinned there.
   */
  readonly pinPath?: string;
  /** For map-in-map: max_entries of the inner template. */
  readonly innerMaxEntries?: number;
}

export interface OpenObjectOptions {
  /** Initial bytes of global variables, by C name; may be shorter than the variable. */
  readonly rodata?: Readonly<Record<string, Uint8Array>>;
  readonly maps?: Readonly<Record<string, ObjectMapOptions>>;
  /** Only these programs are loaded. Default: all. */
  readonly programs?: readonly string[];
  /** Verifier log of successful loads, returned by `load`: 0 none, 1 or 2 instructions, 4 statistics. */
  readonly kernelLogLevel?: number;
}

/**
 * Order: open, `setRodata`, `load`, then `map` and `program`. Maps and programs taken from the object are
 * closed together with it; `BpfMap.clone` or a pin outlives it. Links keep the kernel's programs alive by themselves.
 */
export class BpfObject {
  readonly path: string;
  #pointer: ObjectPointer;
  #maps = new Map<string, BpfMap>();
  #programs = new Map<string, BpfProgram>();

  constructor(path: string, options: OpenObjectOptions = {}) {
    this.path = path;
    this.#pointer = addon().objectOpen(path, options.kernelLogLevel ?? 0);
    try {
      this.#configure(options);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #configure(options: OpenObjectOptions): void {
    for (const [name, bytes] of Object.entries(options.rodata ?? {})) this.setRodata(name, bytes);
    for (const [name, map] of Object.entries(options.maps ?? {})) {
      if (map.maxEntries !== undefined) addon().objectSetMaxEntries(this.#pointer, name, map.maxEntries, false);
      if (map.innerMaxEntries !== undefined)
        addon().objectSetMaxEntries(this.#pointer, name, map.innerMaxEntries, true);
      if (map.pinPath !== undefined) addon().objectSetPin(this.#pointer, name, map.pinPath);
    }
    if (options.programs !== undefined) addon().objectSetAutoload(this.#pointer, options.programs);
  }

  /** Sets the initial bytes of a global variable (const volatile, .data or .bss), found by name in BTF. Before `load`. */
  setRodata(variable: string, bytes: Uint8Array): void {
    addon().objectSetData(this.#pointer, variable, bytes);
  }

  /** Creates or reuses the maps and loads the programs. A refused program throws with `verifierLog`. Returns the log kernelLogLevel asked for. */
  load(): string {
    return addon().objectLoad(this.#pointer);
  }

  /** After `load`; internal maps by their section: `.rodata`, `.bss`. */
  map(name: string): BpfMap {
    let map = this.#maps.get(name);
    if (map === undefined) {
      map = new BpfMap(addon().objectMapFd(this.#pointer, name));
      this.#maps.set(name, map);
    }
    return map;
  }

  /** After `load`, by the C function's name. */
  program(name: string): BpfProgram {
    let program = this.#programs.get(name);
    if (program === undefined) {
      program = new BpfProgram(addon().objectProgramFd(this.#pointer, name));
      this.#programs.set(name, program);
    }
    return program;
  }

  /** Names of all maps, internal ones (`.rodata`) too. */
  maps(): string[] {
    return addon().objectMaps(this.#pointer);
  }

  /** All programs with their ELF section, loaded or not. */
  programs(): Array<{ readonly name: string; readonly section: string }> {
    return addon().objectPrograms(this.#pointer);
  }

  btf(): Btf {
    return addon().objectBtf(this.#pointer);
  }

  close(): void {
    for (const map of this.#maps.values()) map.close();
    for (const program of this.#programs.values()) program.close();
    this.#maps.clear();
    this.#programs.clear();
    addon().objectClose(this.#pointer);
  }
}

export function openObject(path: string, options: OpenObjectOptions = {}): BpfObject {
  return new BpfObject(path, options);
}
