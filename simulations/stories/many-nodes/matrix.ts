/**
 * The connectivity matrix: each end asks each other end and each way to the service, over each protocol and family, with payloads of
 * one packet and of several.
 */

import {
  type Asker,
  type Country,
  type End,
  ends,
  isPod,
  localBackends,
  nodeOf,
  nodePorts,
  OUTSIDE_END,
  PORT,
  pods,
  SERVICE_PORT,
} from './country.ts';
import type { Answer, Probe } from './peer.ts';

export interface Question {
  from: Asker;
  /** In words. */
  to: string;
  probe: Probe;
  /** Who may answer; none: nobody is to. */
  by: readonly string[];
}

/** Silence that lasts as long is a drop; who should have answered is asked again with more patience. */
const SILENCE_MS = 1_000;
const PATIENCE = [5, 15];

export const SIZES = [1_400, 9_000] as const;

export interface Choice {
  sizes?: readonly number[];
  askers?: readonly End[];
  /** Node ports of other nodes are asked by pods only. */
  farByPodsOnly?: boolean;
}

const hostEnds = ends.filter((end) => !isPod(end));

/** Everybody asks everybody else. */
export function peerQuestions({ addresses }: Country, { sizes = SIZES, askers = ends }: Choice = {}): Question[] {
  return askers.flatMap((from) =>
    ends
      .filter((to) => to !== from && (isPod(from) || isPod(to)))
      .flatMap((to) =>
        addresses.of[to].flatMap((address) =>
          sizes.flatMap((bytes): Question[] => [
            ...(['TCP', 'UDP'] as const).map((protocol) => ({
              ...{ from, to, by: [to] },
              probe: { protocol, address, port: PORT, bytes },
            })),
            { from, to, by: ['ping'], probe: { protocol: 'ICMP', address, port: 0, bytes } },
          ]),
        ),
      ),
  );
}

/** Everybody asks the service at its address and at its port of each node. */
export function serviceQuestions(
  { addresses }: Country,
  { sizes = SIZES, askers = ends, farByPodsOnly = false }: Choice = {},
): Question[] {
  const local = (end: End): string[] => pods.filter((pod) => nodeOf(pod) === nodeOf(end));
  return askers.flatMap((from) => [
    ...addresses.services.all.flatMap((address) => ask(sizes, from, 'the service', address, SERVICE_PORT, pods)),
    ...addresses.services.inside.flatMap((address) =>
      ask(sizes, from, 'the service of this node’s pods', address, SERVICE_PORT, local(from)),
    ),
    ...addresses.services.close.flatMap((address) =>
      ask(sizes, from, 'the service of this zone’s pods', address, SERVICE_PORT, local(from)),
    ),
    ...hostEnds
      .filter((host) => isPod(from) || from === host || !farByPodsOnly)
      .flatMap((host) =>
        addresses.of[host].flatMap((address) => [
          ...ask(sizes, from, `the node port of ${nodeOf(host)}`, address, nodePorts.all, pods),
          // A node's own pods and processes are led to all backends; to another node they are from outside.
          ...ask(
            ...([sizes, from, `the local node port of ${nodeOf(host)}`, address, nodePorts.local] as const),
            nodeOf(from) === nodeOf(host) ? localBackends : backendsOn(host),
          ),
        ]),
      ),
  ]);
}

const backendsOn = (end: End): End[] => localBackends.filter((pod) => nodeOf(pod) === nodeOf(end));

/** From outside a node port leads to all backends; with `externalTrafficPolicy: Local` only to those of the node, if any. */
export function outsideQuestions({ addresses }: Country, { sizes = SIZES }: Choice = {}): Question[] {
  return hostEnds.flatMap((host) =>
    addresses.of[host].flatMap((address) => [
      ...ask(sizes, OUTSIDE_END, `the node port of ${nodeOf(host)}`, address, nodePorts.all, pods),
      ...ask(
        ...([sizes, OUTSIDE_END, `the local node port of ${nodeOf(host)}`, address, nodePorts.local] as const),
        backendsOn(host),
      ),
    ]),
  );
}

function ask(
  sizes: readonly number[],
  from: Asker,
  to: string,
  address: string,
  port: number,
  by: readonly string[],
): Question[] {
  return sizes.flatMap((bytes) =>
    (['TCP', 'UDP'] as const).map((protocol) => ({ from, to, by, probe: { protocol, address, port, bytes } })),
  );
}

export const questionText = ({ from, to, probe: { protocol, address, bytes } }: Question): string =>
  `${from} → ${to}, ${protocol} ${bytes} bytes (${address.includes(':') ? 'IPv6' : 'IPv4'})`;

/** Questions that were answered otherwise than they should be, in words. */
export async function differences(country: Country, questions: readonly Question[]): Promise<string[]> {
  let wrong = await wrongAmong(country, questions, SILENCE_MS);
  for (const patience of PATIENCE) {
    if (wrong.length === 0) break;
    const again = wrong.map(({ question }) => question);
    wrong = await wrongAmong(country, again, SILENCE_MS * patience);
  }
  return wrong.map(({ question, answer }) => `${questionText(question)}: ${answer.error ?? `${answer.by} answers`}`);
}

interface Wrong {
  question: Question;
  answer: Answer;
}

async function wrongAmong(country: Country, questions: readonly Question[], timeoutMs: number): Promise<Wrong[]> {
  const all = await Promise.all(
    [...Map.groupBy(questions, ({ from }) => from)].map(async ([from, asked]) => {
      const answers = await country.peer(from).ask(
        asked.map(({ probe }) => probe),
        timeoutMs,
      );
      return asked.flatMap((question, i): Wrong[] => {
        const answer = answers[i] ?? { error: 'not asked' };
        const isRight = answer.by === undefined ? question.by.length === 0 : question.by.includes(answer.by);
        return isRight ? [] : [{ question, answer }];
      });
    }),
  );
  return all.flat();
}
