/**
 * Table `attachments`: which program runs at which hook, by tcx link (Linux 6.6) or clsact filter.
 *
 * - A tcx link is pinned as `links/<dev>-<direction>` and is all that holds the program at its hook: no handle stays open.
 * - An attached program is known by its kernel id, looked up among the programs pinned under `programs/<build>`;
 *   one that is not among them reads `unknown`, and a put replaces it.
 * - A new build replaces the old one in place: no packet passes in between.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import {
  attachTc,
  attachTcx,
  type BpfProgram,
  type Direction,
  detachTc,
  isErrno,
  queryTc,
} from '../../native/index.ts';
import type { AttachmentRow } from '../../state/tables.ts';
import type { LinkNames } from '../codec.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt } from '../errors.ts';
import { RouteSocket } from '../netlink/route-socket.ts';
import { openLinkIfPinned } from '../pinned-links.ts';
import { type Origin, programOrigins } from '../program-origins.ts';

const directions: readonly Direction[] = ['ingress', 'egress'];
const UNKNOWN = 'unknown';
const NO_PROGRAM = 0;
/** Looked at before the event loop gets a turn. */
const HOOKS_PER_TURN = 32;
/** How long a link that was unpinned may take to go. */
const GOING_TRIES = 10;
const GOING_MS = 20;

type ProgramName = AttachmentRow['program'];
interface Hook {
  dev: string;
  direction: Direction;
}
interface Attached extends Hook {
  progId: number;
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

  /** The kernel takes some 10 ms for a link (it waits for all readers), so the event loop gets a turn after each. */
  async apply(ops: readonly Op[]): Promise<OpResult[]> {
    const results: OpResult[] = [];
    for (const op of ops) {
      if (results.length > 0) await setImmediate();
      let result = attempt(op, () => this.#apply(op));
      // The kernel frees an unpinned link a little later, and takes no program twice at one hook.
      for (let tries = 0; result?.errno === 'EEXIST' && tries < GOING_TRIES; tries++) {
        await sleep(GOING_MS);
        result = attempt(op, () => this.#apply(op));
      }
      results.push(result?.errno === 'EEXIST' ? { ...result, retryable: true } : result);
    }
    return results;
  }

  #apply(op: Op): undefined {
    const { dev, direction } = hookOf(op.key);
    if (op.action === 'put') this.#put(dev, direction, op.value as AttachmentRow);
    else this.#delete(dev, direction);
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
    const pinned = openLinkIfPinned(path);
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
    const pinned = openLinkIfPinned(path);
    if (pinned) {
      try {
        pinned.detach(); // without it the hook would be free only some time after the last reference is gone
      } finally {
        rmSync(path, { force: true });
        pinned.close();
      }
      return;
    }
    if (this.#options.tcx) return;
    try {
      const target = { ifindex: this.#options.links.indexOf(dev), direction, ...this.#netns() };
      const progId = queryTc(target);
      if (progId !== undefined && programOrigins(this.#options.programsFolder).has(progId)) detachTc(target);
    } catch (error) {
      if (!isErrno(error, 'ENODEV', 'ENXIO')) throw error;
    }
  }

  async dump(): Promise<Map<string, AttachmentRow>> {
    const origins = programOrigins(this.#options.programsFolder);
    const attached = this.#options.tcx ? await this.#pinned() : await this.#filters(origins);
    const found = new Map<string, AttachmentRow>();
    for (const { dev, direction, progId } of attached) {
      const origin = origins.get(progId);
      const { program, build } = origin ?? { program: UNKNOWN, build: UNKNOWN };
      found.set(`${dev}/${direction}`, { dev, direction, program: program as ProgramName, build });
    }
    this.#forgetBuilds(new Set([...found.values()].map(({ build }) => build)));
    return found;
  }

  /** A pin whose link was detached, or went with its device, is removed. */
  async #pinned(): Promise<Attached[]> {
    const { linksFolder } = this.#options;
    const attached: Attached[] = [];
    for (const [i, name] of readdirSync(linksFolder).entries()) {
      if (i % HOOKS_PER_TURN === HOOKS_PER_TURN - 1) await setImmediate();
      const path = join(linksFolder, name);
      const found = this.#pinnedAt(path, hookOfPin(name));
      if (found) attached.push(found);
      else rmSync(path, { force: true });
    }
    return attached;
  }

  #pinnedAt(path: string, { dev, direction }: Hook): Attached | undefined {
    const link = openLinkIfPinned(path);
    if (!link) return undefined;
    const { ifindex, progId } = link.info;
    link.close();
    if (!ifindex) return undefined;
    // Of a device that bears another name now: still attached, and to be replaced or deleted.
    return { dev, direction, progId: this.#options.links.nameOf(ifindex) === dev ? progId : NO_PROGRAM };
  }

  /** clsact filters at our handle and priority; only those that run a program of ours. */
  async #filters(origins: ReadonlyMap<number, Origin>): Promise<Attached[]> {
    using socket = new RouteSocket(this.#options.netns);
    const attached: Attached[] = [];
    for (const [i, { index, attributes }] of socket.links().entries()) {
      if (i % HOOKS_PER_TURN === HOOKS_PER_TURN - 1) await setImmediate();
      for (const direction of directions) {
        const progId = this.#filterAt(index, direction);
        if (progId !== undefined && origins.has(progId))
          attached.push({ dev: attributes.name ?? '', direction, progId });
      }
    }
    return attached;
  }

  #filterAt(ifindex: number, direction: Direction): number | undefined {
    try {
      return queryTc({ ifindex, direction, ...this.#netns() });
    } catch (error) {
      if (isErrno(error, 'ENODEV', 'ENXIO')) return undefined; // it went since it was listed
      throw error;
    }
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

function hookOf(key: string): Hook {
  const slash = key.lastIndexOf('/');
  const direction = directions.find((candidate) => candidate === key.slice(slash + 1));
  if (slash < 1 || !direction)
    throw new TypeError(`${JSON.stringify(key)} is no hook, expected dev/ingress or dev/egress`);
  return { dev: key.slice(0, slash), direction };
}

/** bpffs refuses names with dots. */
const encodeDev = (dev: string): string => dev.replaceAll('%', '%25').replaceAll('.', '%2E');

function hookOfPin(name: string): Hook {
  const dash = name.lastIndexOf('-');
  return hookOf(`${decodeURIComponent(name.slice(0, dash))}/${name.slice(dash + 1)}`);
}
