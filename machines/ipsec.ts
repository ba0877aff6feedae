/**
 * The keys of IPsec by number and fingerprint: which are accepted, which is used, and until when.
 *
 * - A key that is no longer in the Secret is accepted for the time of grace: others may still send with it.
 * - A new key is told to others a little after it has come: by then everything that reads it is in place.
 * - Packets of this node's own keys are let in by two policies of each family, whatever node they come from.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts, IpsecKey } from '../cluster/events.ts';
import { type Row, type XfrmPolicyRow, xfrmPolicyKey } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';
import { encryptionOf } from './underlay.ts';

// --- context

interface Context {
  agent: AgentFacts;
  /** The last one is the newest. `untilMs` 0: it is in the Secret. */
  keys: (IpsecKey & { untilMs: number })[];
  /** Number of the newest key that others may know; 0: none. */
  announced: number;
  announceAtMs: number;
  backoff: Backoff;
}

export const ipsecKey = 'ipsec/local';
const ROTATION = `${ipsecKey}/rotation`;

/** Published on the machine's topic. */
export interface IpsecFact {
  /** Accepted, the newest last. */
  keys: readonly IpsecKey[];
  /** Told to others, for what they send; 0: none. */
  announced: number;
}

// --- events

type Event = Hears<'agent.started' | 'local.restored' | 'ipsec.keyed' | 'settled' | 'failed' | 'timer.fired'>;

/** By then an association with each node has its new key, and so has nearly every other node. */
const ANNOUNCE_AFTER_MS = 5_000;

function learnKeys(draft: Context, listed: readonly IpsecKey[], at: number): void {
  const { rotationGraceMs } = encryptionOf(draft.agent);
  // Keys of one number cannot be told apart: the one in the Secret counts.
  const before = draft.keys.filter(({ id }) => !listed.some((key) => key.id === id));
  const isFirst = draft.keys.length === 0;
  draft.keys = [
    ...before.map((key) => ({ ...key, untilMs: key.untilMs || at + rotationGraceMs })),
    ...listed.map((key) => ({ ...key, untilMs: 0 })),
  ];
  const newest = listed.at(-1)?.id ?? 0;
  if (newest === draft.announced) draft.announceAtMs = 0;
  else if (isFirst) draft.announced = newest;
  else draft.announceAtMs = at + Math.min(ANNOUNCE_AFTER_MS, rotationGraceMs / 2);
}

function wake(draft: Context, at: number): void {
  draft.keys = draft.keys.filter(({ untilMs }) => untilMs === 0 || untilMs > at);
  if (draft.announceAtMs === 0 || draft.announceAtMs > at) return;
  draft.announceAtMs = 0;
  draft.announced = draft.keys.findLast(({ untilMs }) => untilMs === 0)?.id ?? 0;
}

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { agent: AgentFacts } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'agent.started') draft.agent = event.config;
        if (event.type === 'ipsec.keyed') learnKeys(draft, event.keys, event.at);
        // It is due when it fires, whatever the clock says by now.
        if (event.type === 'timer.fired' && event.key === ROTATION) wake(draft, Math.max(event.at, dueMs(draft)));
        // What was in the kernel before the start is accepted until the Secret has been read, and as old keys from then on.
        if (event.type === 'local.restored' && draft.keys.length === 0) {
          draft.keys = (event.ipsecKeys ?? []).map((key) => ({ ...key, untilMs: 0 }));
          draft.announced = draft.keys.at(-1)?.id ?? 0;
        }
      }),
    ),
    backOff: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'failed') draft.backoff = failedAgain(draft.backoff, event.at, event.error.message);
      }),
    ),
    calm: assign({ backoff: calm }),
  },
  guards: {
    keyed: ({ context }) => context.keys.length > 0,
    keyless: ({ context }) => context.keys.length === 0,
    rotating: ({ context }) => dueMs(context) > 0,
    steady: ({ context }) => dueMs(context) === 0,
  },
}).createMachine({
  id: 'ipsec',
  options: { maxIterations: 100 },
  context: ({ input }) => ({ ...input, keys: [], announced: 0, announceAtMs: 0, backoff: calm }),
  initial: 'keyless',
  on: {
    'agent.started': { actions: 'learn' },
    'local.restored': { actions: 'learn' },
    'ipsec.keyed': { actions: 'learn' },
    'timer.fired': { actions: 'learn' },
  },
  states: {
    /** The Secret has not been read, or has no key. */
    keyless: { always: { target: 'keyed', guard: 'keyed' } },
    keyed: {
      always: [
        { target: 'keyless', guard: 'keyless' },
        { target: 'rotating', guard: 'rotating' },
      ],
      on: { settled: { actions: 'calm' }, failed: { target: 'failing', actions: 'backOff' } },
    },
    /** An old key is accepted beside the new one, or others do not know of the new one yet. */
    rotating: {
      always: [
        { target: 'keyless', guard: 'keyless' },
        { target: 'keyed', guard: 'steady' },
      ],
      on: { settled: { actions: 'calm' }, failed: { target: 'failing', actions: 'backOff' } },
    },
    failing: {
      always: { target: 'keyless', guard: 'keyless' },
      on: {
        settled: { target: 'keyed', actions: 'calm' },
        'timer.fired': { target: 'keyed', actions: ['learn', { type: 'retry' }] },
      },
    },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

/** When something ends or begins next; 0: never. */
function dueMs({ keys, announceAtMs }: Context): number {
  const all = [announceAtMs, ...keys.map(({ untilMs }) => untilMs)].filter((time) => time > 0);
  return all.length > 0 ? Math.min(...all) : 0;
}

// --- rows

/** reference/datapath.md, section 5: decrypted. */
const DECRYPTED = { mark: 0x0d00, markMask: 0x0f00 };
/** Of all that is ours; the driver dumps and removes nothing else (datapath/PROTOCOL.md). */
export const IPSEC_REQID = 120;

/** Decrypted packets pass, to this node and on to its pods; others pass without having been encrypted. */
function acceptance({ ipv4, ipv6 }: AgentFacts): Row[] {
  const anywhere = [...(ipv4 ? ['0.0.0.0/0'] : []), ...(ipv6 ? ['::/0'] : [])];
  return anywhere.flatMap((all) =>
    (['in', 'fwd'] as const).map((direction): Row => {
      const value: XfrmPolicyRow = {
        direction,
        src: all,
        dst: all,
        ...DECRYPTED,
        action: 'allow',
        templateSrc: '',
        templateDst: '',
        spi: 0,
        reqid: IPSEC_REQID,
        optional: true,
      };
      return { table: 'xfrm.policies', key: xfrmPolicyKey(value), value };
    }),
  );
}

function rows({ context, value }: Snapshot): Row[] {
  if (context.keys.length === 0) return [];
  const due = dueMs(context);
  return [
    ...acceptance(context.agent),
    ...(due > 0 ? [timerRow(ipsecKey, 'rotation', due)] : []),
    ...(value === 'failing' ? [timerRow(ipsecKey, 'retry', context.backoff.dueMs)] : []),
  ];
}

export const ipsec: Kind = {
  name: 'ipsec',
  logic: machine,
  births: {
    'agent.started': ({ config }) =>
      encryptionOf(config).type === 'ipsec' ? [{ key: ipsecKey, input: { agent: config } }] : [],
  },
  topics: (_: AnyMachineSnapshot) => [
    'agent',
    'local',
    'ipsec-keys',
    timerTopic(ipsecKey, 'rotation'),
    timerTopic(ipsecKey, 'retry'),
  ],
  facts: (snapshot) => {
    const { keys, announced } = snapshot.context as Context;
    const fact: IpsecFact = { keys: keys.map(({ id, fingerprint }) => ({ id, fingerprint })), announced };
    return keys.length > 0 ? [{ topic: ipsecKey, value: fact }] : [];
  },
  rows: (snapshot) => rows(snapshot as Snapshot),
};
