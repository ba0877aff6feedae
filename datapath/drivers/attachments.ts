/**
 * Table `attachments`: which program runs at which hook, by tcx link (Linux 6.6) or clsact filter.
 *
 * - A tcx link is pinned as `links/<dev>-<direction>` and is all that holds the program at its hook: no handle stays open.
 * - An attached program is known by its kernel id, looked up among the programs pinned under `programs/<build>`;
 *   one that is not among them reads `unknown`, and a put replaces it.
 * - A new build replaces the old one in place: no packet passes in between.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  attachTc,
  attachTcx,
  type BpfLink,
  type BpfProgram,
  type Direction,
  detachTc,
  isErrno,
  openPinnedLink,
  openPinnedProgram,
  queryTc,
} from '../../native/index.ts';
import type { AttachmentRow } from '../../state/tables.ts';
import type { LinkNames } from '../codec.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt } from '../errors.ts';
import { RouteSocket } from '../netlink/route-socket.ts';

const directions: readonly Direction[] = ['ingress', 'egress'];
const UNKNOWN = 'unknown';
const NO_PROGRAM = 0;

type ProgramName = AttachmentRow['program'];
interface Origin {
  program: ProgramName;
  build: string;
}

export interface AttachmentsOptions {
  build: string;
  programs: ReadonlyMap<string, BpfProgram>;
  linksFolder: string;
  programsFolder: string;
  links: LinkNames;
  /** tcx, or clsact where the kernel has no tcx. */
  tcx: boolean;
  netns?: string;
}

export class AttachmentsDriver implements Driver {
  readonly tables = ['attachments'] as const;
  readonly lane = 'kernel';
  readonly #options: AttachmentsOptions;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) =>
      attempt(op, () => {
        const { dev, direction } = hookOf(op.key);
        if (op.action === 'put') this.#put(dev, direction, op.value as AttachmentRow);
        else this.#delete(dev, direction);
      }),
    );
  }

  #put(dev: string, direction: Direction, row: AttachmentRow): void {
    const { build, links, tcx } = this.#options;
    const program = this.#options.programs.get(row.program);
    if (!program) throw new TypeError(`there is no program ${row.program}`);
    if (row.build !== build) throw new TypeError(`build ${row.build} is not loaded, ${build} is`);
    const target = { ifindex: links.indexOf(dev), direction, ...this.#netns() };
    if (!tcx) {
      if (queryTc(target) !== program.info.id) attachTc({ ...target, program });
      return;
    }
    const path = this.#pin(dev, direction);
    const pinned = openIfPinned(path);
    try {
      if (pinned && pinned.info.ifindex === target.ifindex) {
        if (pinned.info.progId !== program.info.id) pinned.update(program);
        return;
      }
    } finally {
      pinned?.close();
    }
    // The pin, if any, is of a link that is gone or was detached: it holds nothing at any hook.
    rmSync(path, { force: true });
    const link = attachTcx({ ...target, program });
    try {
      link.pin(path);
    } finally {
      link.close();
    }
  }

  #delete(dev: string, direction: Direction): void {
    const path = this.#pin(dev, direction);
    const pinned = openIfPinned(path);
    if (pinned) {
      rmSync(path, { force: true });
      pinned.close(); // the last reference: detached
      return;
    }
    if (this.#options.tcx) return;
    try {
      const target = { ifindex: this.#options.links.indexOf(dev), direction, ...this.#netns() };
      const progId = queryTc(target);
      if (progId !== undefined && this.#origins().has(progId)) detachTc(target);
    } catch (error) {
      if (!isErrno(error, 'ENODEV', 'ENXIO')) throw error;
    }
  }

  dump(): Map<string, AttachmentRow> {
    const origins = this.#origins();
    const attached = this.#options.tcx ? this.#pinned() : this.#filters(origins);
    const found = new Map<string, AttachmentRow>();
    for (const { dev, direction, progId } of attached) {
      const origin = origins.get(progId);
      const row = { dev, direction, ...(origin ?? { program: UNKNOWN as ProgramName, build: UNKNOWN }) };
      found.set(`${dev}/${direction}`, row);
    }
    this.#forgetBuilds(new Set([...found.values()].map(({ build }) => build)));
    return found;
  }

  /** A pin whose link was detached, or went with its device, is removed. */
  #pinned(): { dev: string; direction: Direction; progId: number }[] {
    const { linksFolder, links } = this.#options;
    return readdirSync(linksFolder).flatMap((name) => {
      const path = join(linksFolder, name);
      const { dev, direction } = hookOfPin(name);
      const link = openIfPinned(path);
      if (!link) return [];
      const { ifindex, progId } = link.info;
      link.close();
      if (!ifindex) {
        rmSync(path, { force: true });
        return [];
      }
      // Of a device that bears another name now: still attached, and to be replaced or deleted.
      return [{ dev, direction, progId: links.nameOf(ifindex) === dev ? progId : NO_PROGRAM }];
    });
  }

  /** clsact filters at our handle and priority; only those that run a program of ours. */
  #filters(origins: ReadonlyMap<number, Origin>): { dev: string; direction: Direction; progId: number }[] {
    using socket = new RouteSocket(this.#options.netns);
    return socket.links().flatMap(({ index, attributes }) =>
      directions.flatMap((direction) => {
        const progId = queryTc({ ifindex: index, direction, ...this.#netns() });
        return progId !== undefined && origins.has(progId) ? [{ dev: attributes.name ?? '', direction, progId }] : [];
      }),
    );
  }

  /** Programs by kernel id, of this build and of earlier ones that may still be attached. */
  #origins(): Map<number, Origin> {
    const { programsFolder } = this.#options;
    const origins = new Map<number, Origin>();
    for (const build of readdirSync(programsFolder)) {
      for (const name of readdirSync(join(programsFolder, build))) {
        const program = openPinnedProgram(join(programsFolder, build, name));
        origins.set(program.info.id, { program: name as ProgramName, build });
        program.close();
      }
    }
    return origins;
  }

  /** Unpins programs of builds that are attached nowhere. */
  #forgetBuilds(attached: ReadonlySet<string>): void {
    const { programsFolder, build } = this.#options;
    for (const old of readdirSync(programsFolder)) {
      if (old !== build && !attached.has(old)) rmSync(join(programsFolder, old), { recursive: true, force: true });
    }
  }

  #pin(dev: string, direction: Direction): string {
    return join(this.#options.linksFolder, `${encodeDev(dev)}-${direction}`);
  }

  #netns(): { netns?: string } {
    return this.#options.netns === undefined ? {} : { netns: this.#options.netns };
  }
}

function hookOf(key: string): { dev: string; direction: Direction } {
  const slash = key.lastIndexOf('/');
  const direction = directions.find((candidate) => candidate === key.slice(slash + 1));
  if (slash < 1 || !direction)
    throw new TypeError(`${JSON.stringify(key)} is no hook, expected dev/ingress or dev/egress`);
  return { dev: key.slice(0, slash), direction };
}

/** bpffs refuses names with dots. */
const encodeDev = (dev: string): string => dev.replaceAll('%', '%25').replaceAll('.', '%2E');

function hookOfPin(name: string): { dev: string; direction: Direction } {
  const dash = name.lastIndexOf('-');
  return hookOf(`${decodeURIComponent(name.slice(0, dash))}/${name.slice(dash + 1)}`);
}

function openIfPinned(path: string): BpfLink | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return openPinnedLink(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
