/**
 * The node's pod CIDRs, and who holds which address.
 *
 * - An owner holds at most one offset; the same offset is used in both families, so that pairs are easy to read.
 * - Offset 0 is the network, 1 the gateway; the last is kept free as IPv4's broadcast.
 * - An address is not given out again before the cursor has gone round: stale peers of a dead pod meet nobody.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import { addressAt, type Cidr, familyOf, offsetOf, parseCidr, sizeOf } from './cidr.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';

// --- context

interface Context {
  nodeName: string;
  ipv4: boolean;
  ipv6: boolean;
  /** CIDRs in use, '' where the family is off or not known yet. */
  cidr4: string;
  cidr6: string;
  cursor: number;
  /** Owner by offset. */
  held: Record<number, string>;
  /** Addresses restored before the CIDRs were known: owner → addresses. */
  restored: Record<string, string[]>;
  /** Owners that asked before the CIDRs were known. */
  waiting: string[];
}

export const poolKey = 'ip-pool/default';

/** What subscribers of the pool's topic hear. */
export interface PoolFact {
  cidr4: string;
  cidr6: string;
  gateway4: string;
  gateway6: string;
}

// --- events

type Event = Hears<'agent.started' | 'local.restored' | 'kube.upserted' | 'address.request' | 'address.release'>;

const FIRST_OFFSET = 2;

interface NodeSpec {
  podCIDR?: string;
  podCIDRs?: string[];
}

// --- machine

function cidrs(context: Context): Cidr[] {
  return [context.cidr4, context.cidr6].map(parseCidr).filter((cidr) => cidr !== undefined);
}

/** Offsets from FIRST_OFFSET up to, not including, this. */
function endOffset(context: Context): number {
  return Math.min(...cidrs(context).map(sizeOf)) - 1;
}

function learnCidrs(draft: Context, event: Event): void {
  if (event.type !== 'kube.upserted') return;
  const spec = (event.object.spec ?? {}) as NodeSpec;
  const all = spec.podCIDRs ?? (spec.podCIDR ? [spec.podCIDR] : []);
  const first = (family: 4 | 6): string => all.find((cidr) => familyOf(cidr) === family && parseCidr(cidr)) ?? '';
  if (draft.ipv4) draft.cidr4 ||= first(4);
  if (draft.ipv6) draft.cidr6 ||= first(6);
  for (const [owner, addresses] of Object.entries(draft.restored)) {
    for (const cidr of cidrs(draft)) {
      for (const address of addresses) {
        const offset = offsetOf(cidr, address);
        if (offset !== undefined) draft.held[offset] = owner;
      }
    }
  }
}

/** The offset for an owner: the one it holds, or the next free one; undefined when all are held. */
function choose(context: Context, owner: string): number | undefined {
  for (const offset in context.held) if (context.held[offset] === owner) return Number(offset);
  const end = endOffset(context);
  const count = end - FIRST_OFFSET;
  for (let step = 0; step < count; step++) {
    const offset = FIRST_OFFSET + ((context.cursor - FIRST_OFFSET + step) % count);
    if (context.held[offset] === undefined) return offset;
  }
  return undefined;
}

/** Plain copies, not drafts: what is held is as much as there are pods, and looked through. */
function take(context: Context): Partial<Context> {
  const [owner = '', ...waiting] = context.waiting;
  const offset = choose(context, owner);
  if (offset === undefined) return { waiting };
  const cursor = offset + 1 < endOffset(context) ? offset + 1 : FIRST_OFFSET;
  return { waiting, held: { ...context.held, [offset]: owner }, cursor };
}

function release({ context, event }: { context: Context; event: Event }): Partial<Context> {
  if (event.type !== 'address.release') return {};
  const { [event.owner]: _, ...restored } = context.restored;
  const held: Context['held'] = {};
  for (const [offset, owner] of Object.entries(context.held)) if (owner !== event.owner) held[Number(offset)] = owner;
  return { waiting: context.waiting.filter((owner) => owner !== event.owner), restored, held };
}

function granted(context: Context, offset: number): { ipv4: string; ipv6: string } {
  const at = (text: string): string => {
    const cidr = parseCidr(text);
    return cidr ? addressAt(cidr, offset) : '';
  };
  return { ipv4: at(context.cidr4), ipv6: at(context.cidr6) };
}

const known = (context: Context): boolean =>
  (!context.ipv4 || context.cidr4 !== '') && (!context.ipv6 || context.cidr6 !== '');

const machine = setup({
  types: {} as { context: Context; events: Event; input: { nodeName: string; ipv4: boolean; ipv6: boolean } },
  actions: {
    ...speech,
    learnCidrs: assign(recipe(learnCidrs)),
    remember: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type !== 'local.restored') return;
        draft.cursor = event.nextAddress ?? draft.cursor;
        for (const { containerId, ifname, ipv4, ipv6 } of event.endpoints) {
          draft.restored[`endpoint/${containerId}/${ifname}`] = [ipv4, ipv6].filter(Boolean);
        }
      }),
    ),
    queue: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'address.request' && !draft.waiting.includes(event.owner)) draft.waiting.push(event.owner);
      }),
    ),
    release: assign(release),
    take: assign(({ context }) => take(context)),
  },
  guards: {
    known: ({ context }) => known(context),
    asked: ({ context }) => context.waiting.length > 0,
  },
}).createMachine({
  id: 'ip-pool',
  options: { maxIterations: 10_000 },
  context: ({ input }) => ({
    ...input,
    cidr4: '',
    cidr6: '',
    cursor: FIRST_OFFSET,
    held: {},
    restored: {},
    waiting: [],
  }),
  initial: 'waiting',
  on: {
    'local.restored': { actions: 'remember' },
    'kube.upserted': { actions: 'learnCidrs' },
    'address.request': { actions: 'queue' },
    'address.release': { actions: 'release' },
  },
  states: {
    /** No pod CIDR yet: the Node object has none, or has not been seen. */
    waiting: { always: { target: 'serving', guard: 'known' } },
    serving: {
      always: {
        guard: 'asked',
        actions: [
          {
            type: 'tell',
            params: ({ context }) => {
              const owner = context.waiting[0] ?? '';
              const offset = choose(context, owner);
              const cidr = [context.cidr4, context.cidr6].filter(Boolean).join(' and ');
              return {
                to: owner,
                message:
                  offset === undefined
                    ? {
                        type: 'address.refused' as const,
                        reason: `node ${context.nodeName}: pod CIDR ${cidr} is exhausted, all ${Object.keys(context.held).length} addresses are held`,
                      }
                    : { type: 'address.granted' as const, ...granted(context, offset) },
              };
            },
          },
          'take',
        ],
      },
    },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

export const ipPool: Kind = {
  name: 'ip-pool',
  logic: machine,
  births: {
    'agent.started': ({ config: { nodeName, ipv4, ipv6 } }) => [{ key: poolKey, input: { nodeName, ipv4, ipv6 } }],
  },
  topics: ({ context }: AnyMachineSnapshot) => ['local', `nodes/${(context as Context).nodeName}`],
  facts: (snapshot) => {
    const { context, value } = snapshot as Snapshot;
    const gateway = (text: string): string => {
      const cidr = parseCidr(text);
      return cidr ? addressAt(cidr, 1) : '';
    };
    const fact: PoolFact = {
      cidr4: context.cidr4,
      cidr6: context.cidr6,
      gateway4: gateway(context.cidr4),
      gateway6: gateway(context.cidr6),
    };
    return value === 'serving' ? [{ topic: poolKey, value: fact }] : [];
  },
  /** Held addresses survive in the rows of their endpoints. */
  rows: () => [],
};
