// SPDX-License-Identifier: Apache-2.0
/** The socket programs at a cgroup of their own, loaded unpinned, for one namespace as the host's; rows are written by hand. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { cgroup2Mount } from '../../datapath/cgroup2.ts';
import { Codecs } from '../../datapath/codec.ts';
import { probeFeatures } from '../../datapath/features.ts';
import { objectPath } from '../../datapath/loader.ts';
import { sockHooks, sockProgram } from '../../datapath/sock-hooks.ts';
import { sockPart } from '../../datapath/sock-part.ts';
import { attachCgroup, type BpfLink, type BpfObject, openObject } from '../../native/index.ts';
import { ServiceRows } from './service-rows.ts';

export class SockPrograms {
  readonly cgroup: string;
  readonly object: BpfObject;
  readonly codecs: Codecs;
  readonly rows: ServiceRows;
  readonly #links: BpfLink[] = [];

  constructor(name: string, hostNetns: string, maxEntries: Readonly<Record<string, number>> = {}) {
    const mount = cgroup2Mount();
    if (mount === undefined) throw new Error('cgroup v2 is not mounted');
    const part = sockPart(sockHooks, probeFeatures(), hostNetns);
    this.object = openObject(objectPath('sock'), {
      rodata: part.rodata ?? {},
      maps: Object.fromEntries(Object.entries(maxEntries).map(([map, entries]) => [map, { maxEntries: entries }])),
    });
    this.cgroup = join(mount, name);
    try {
      this.object.load();
      this.codecs = new Codecs(this.object.btf());
      this.rows = new ServiceRows(this.codecs, (map) => this.object.map(map));
      mkdirSync(this.cgroup);
      for (const hook of sockHooks) {
        const program = this.object.program(sockProgram(hook));
        this.#links.push(attachCgroup({ program, type: `cgroup/${hook}`, cgroupPath: this.cgroup }));
      }
    } catch (error) {
      this.object.close();
      throw error;
    }
  }

  /** When no process is in the cgroup any more. */
  close(): void {
    for (const link of this.#links) link.close();
    this.object.close();
    rmdirSync(this.cgroup);
  }
}
