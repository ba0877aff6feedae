/**
 * Table `cgroup.attachments`: which program runs at which hook of a cgroup, by BPF link.
 *
 * - A link is pinned as `cgroup-links/<hook>` and is all that holds the program at its hook: no handle stays open.
 * - A new build replaces the old one in place; at another cgroup the new link is there before the old one goes. No socket call
 *   passes untranslated in between.
 * - The kernel detaches a link whose cgroup is removed: such a pin holds nothing, and is not dumped.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { attachCgroup, type BpfProgram } from '../../native/index.ts';
import type { CgroupAttachmentRow } from '../../state/tables.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt } from '../errors.ts';
import { openLinkIfPinned } from '../pinned-links.ts';
import { programOrigins } from '../program-origins.ts';
import { isSockHook, type SockHook } from '../sock-hooks.ts';

const UNKNOWN = 'unknown';
const NEXT = '-next';

export interface CgroupAttachmentsOptions {
  build: string;
  programs: ReadonlyMap<string, BpfProgram>;
  linksFolder: string;
  programsFolder: string;
}

export class CgroupAttachmentsDriver implements Driver {
  readonly tables = ['cgroup.attachments'] as const;
  readonly lane = 'kernel';
  readonly #options: CgroupAttachmentsOptions;
  /** A cgroup is known by the inode number of its directory. */
  readonly #paths = new Map<number, string>();

  constructor(options: CgroupAttachmentsOptions) {
    this.#options = options;
    mkdirSync(options.linksFolder, { recursive: true });
  }

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) => attempt(op, () => this.#apply(op)));
  }

  #apply({ action, key, value }: Op): undefined {
    if (!isSockHook(key)) throw new TypeError(`${JSON.stringify(key)} is no hook of a cgroup`);
    if (action === 'put') this.#put(key, value as CgroupAttachmentRow);
    else this.#delete(key);
  }

  #put(hook: SockHook, row: CgroupAttachmentRow): void {
    const { build } = this.#options;
    const program = this.#options.programs.get(row.program);
    if (!program) throw new TypeError(`there is no program ${row.program}`);
    if (row.build !== build) throw new TypeError(`build ${row.build} is not loaded, ${build} is`);
    const path = this.#pin(hook);
    const pinned = openLinkIfPinned(path);
    try {
      if (pinned && pinned.info.cgroupId === this.#learn(row.cgroup)) {
        if (pinned.info.progId !== program.info.id) pinned.update(program);
        return;
      }
      this.#learn(row.cgroup);
      const link = attachCgroup({ program, type: `cgroup/${hook}`, cgroupPath: row.cgroup });
      try {
        rmSync(`${path}${NEXT}`, { force: true });
        link.pin(`${path}${NEXT}`);
        renameSync(`${path}${NEXT}`, path);
      } finally {
        link.close();
      }
      if (pinned?.info.cgroupId) pinned.detach();
    } finally {
      pinned?.close();
    }
  }

  #delete(hook: SockHook): void {
    const path = this.#pin(hook);
    const pinned = openLinkIfPinned(path);
    if (!pinned) return;
    try {
      if (pinned.info.cgroupId) pinned.detach(); // without it the program would run until the last reference is gone
    } finally {
      rmSync(path, { force: true });
      pinned.close();
    }
  }

  /** A cgroup reads as its path where a row or a put of ours named it, else as `#inode`. */
  dump(_table: string, known: ReadonlyMap<string, unknown> = new Map()): Map<string, CgroupAttachmentRow> {
    for (const row of known.values()) this.#learn((row as CgroupAttachmentRow).cgroup);
    const origins = programOrigins(this.#options.programsFolder);
    const found = new Map<string, CgroupAttachmentRow>();
    for (const hook of readdirSync(this.#options.linksFolder)) {
      const path = join(this.#options.linksFolder, hook);
      const link = isSockHook(hook) ? openLinkIfPinned(path) : undefined;
      const info = link?.info;
      link?.close();
      if (!info?.cgroupId) {
        rmSync(path, { force: true });
        continue;
      }
      const cgroup = this.#paths.get(info.cgroupId) ?? `#${info.cgroupId}`;
      found.set(hook, { cgroup, ...(origins.get(info.progId) ?? { program: UNKNOWN, build: UNKNOWN }) });
    }
    return found;
  }

  #learn(path: string): number | undefined {
    const inode = statSync(path, { throwIfNoEntry: false })?.ino;
    if (inode !== undefined) this.#paths.set(inode, path);
    return inode;
  }

  #pin(hook: SockHook): string {
    return join(this.#options.linksFolder, hook);
  }
}
