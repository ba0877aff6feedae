/**
 * Table `xdp.attachments`: the program at the XDP hook of a native device, by BPF link.
 *
 * - A link is pinned as `xdp-links/<dev>` and is all that holds the program there: no handle stays open.
 * - A new build replaces the old one in place. Another mode needs a new link: for that moment packets go the way of tc, which does
 *   the same, only later in the stack.
 * - The kernel does not tell a link's mode: what is dumped bears the mode that it was asked for.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { attachXdp, type BpfLink, type BpfProgram, isErrno } from '../../native/index.ts';
import type { XdpAttachmentRow } from '../../state/tables.ts';
import type { LinkNames } from '../codec.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt } from '../errors.ts';
import { openLinkIfPinned } from '../pinned-links.ts';
import { programOrigins } from '../program-origins.ts';

const UNKNOWN = 'unknown';

export interface XdpAttachmentsOptions {
  build: string;
  programs: ReadonlyMap<string, BpfProgram>;
  linksFolder: string;
  programsFolder: string;
  links: LinkNames;
  netns?: string;
}

export class XdpAttachmentsDriver implements Driver {
  readonly tables = ['xdp.attachments'] as const;
  readonly lane = 'kernel';
  readonly #options: XdpAttachmentsOptions;
  readonly #modes = new Map<string, XdpAttachmentRow['mode']>();

  constructor(options: XdpAttachmentsOptions) {
    this.#options = options;
    mkdirSync(options.linksFolder, { recursive: true });
  }

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) => attempt(op, () => this.#apply(op)));
  }

  #apply({ action, key, value, before }: Op): undefined {
    if (action === 'put') this.#put(key, value as XdpAttachmentRow, before as XdpAttachmentRow | undefined);
    else this.#detach(key);
  }

  #put(dev: string, row: XdpAttachmentRow, before: XdpAttachmentRow | undefined): void {
    const { build, links } = this.#options;
    const program = this.#options.programs.get(row.program);
    if (!program) throw new TypeError(`there is no program ${row.program}`);
    if (row.build !== build) throw new TypeError(`build ${row.build} is not loaded, ${build} is`);
    const ifindex = links.indexOf(dev);
    const pinned = openLinkIfPinned(this.#pin(dev));
    try {
      if (pinned && pinned.info.ifindex === ifindex && (this.#modes.get(dev) ?? before?.mode) === row.mode) {
        if (pinned.info.progId !== program.info.id) pinned.update(program);
        this.#modes.set(dev, row.mode);
        return;
      }
    } finally {
      pinned?.close();
    }
    this.#detach(dev);
    const link = this.#attach(ifindex, program, row.mode);
    try {
      link.pin(this.#pin(dev));
    } finally {
      link.close();
    }
    this.#modes.set(dev, row.mode);
  }

  #attach(ifindex: number, program: BpfProgram, mode: XdpAttachmentRow['mode']): BpfLink {
    const { netns } = this.#options;
    const where = { ifindex, program, ...(netns !== undefined && { netns }) };
    if (mode !== 'best-effort') return attachXdp({ ...where, mode });
    try {
      return attachXdp({ ...where, mode: 'native' });
    } catch (error) {
      // Drivers say it in many ways: no XDP, an MTU that is too large, offloads in the way.
      if (isErrno(error, 'ENODEV', 'ENXIO', 'EPERM')) throw error;
      return attachXdp({ ...where, mode: 'generic' });
    }
  }

  #detach(dev: string): void {
    const path = this.#pin(dev);
    const pinned = openLinkIfPinned(path);
    this.#modes.delete(dev);
    if (!pinned) return;
    try {
      if (pinned.info.ifindex) pinned.detach(); // without it the program would run until the last reference is gone
    } finally {
      rmSync(path, { force: true });
      pinned.close();
    }
  }

  dump(_table: string, known: ReadonlyMap<string, unknown> = new Map()): Map<string, XdpAttachmentRow> {
    const origins = programOrigins(this.#options.programsFolder);
    const found = new Map<string, XdpAttachmentRow>();
    for (const name of readdirSync(this.#options.linksFolder)) {
      const dev = decodeURIComponent(name);
      const path = join(this.#options.linksFolder, name);
      const link = openLinkIfPinned(path);
      const { ifindex = 0, progId = 0 } = link?.info ?? {};
      link?.close();
      if (!ifindex) {
        rmSync(path, { force: true });
        continue;
      }
      const isHere = this.#options.links.nameOf(ifindex) === dev;
      const mode = this.#modes.get(dev) ?? (known.get(dev) as XdpAttachmentRow | undefined)?.mode ?? 'best-effort';
      const origin = (isHere ? origins.get(progId) : undefined) ?? { program: UNKNOWN, build: UNKNOWN };
      found.set(dev, { dev, mode, ...origin } as XdpAttachmentRow);
    }
    return found;
  }

  /** bpffs refuses names with dots. */
  #pin(dev: string): string {
    return join(this.#options.linksFolder, dev.replaceAll('%', '%25').replaceAll('.', '%2E'));
  }
}
